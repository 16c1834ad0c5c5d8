"""An event that passed, with everything that is stored and told about it."""

from typing import NamedTuple

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId
from homeserver.protocol.relations import Relation, relation_of
from homeserver.services.push.evaluation import PushOutcome
from homeserver.services.rooms.outbox import Outgoing
from homeserver.services.rooms.room import Standing
from homeserver.services.rooms.timeline_event import Replaced, TimelineEvent, accepted_as, from_event
from homeserver.storage.events import ACCEPTED, NewEvent
from homeserver.storage.rooms import Member


class Built(NamedTuple):
    """An event that passed, with all that is stored beside it."""

    event: Event
    timeline: TimelineEvent
    new: NewEvent
    outcome: PushOutcome | None
    relation: Relation | None
    member: Member | None
    state_hash: bytes
    redacts: EventId | None
    outgoing: Outgoing | None = None
    is_local: bool = True
    """Made here, not by another server."""
    is_current: bool = True
    """If it is state, it holds its key: otherwise `also` of `RoomWriter.keep` says what does."""
    moved: tuple[Member, ...] = ()
    """Memberships that resolving a fork changed."""
    levels: PowerLevels | None = None
    """Of a redaction: the power levels that decide whether it may."""
    placed_at: int = 0
    """Of an outlier that found its place: when. Its nid is older, so timelines do not show it."""

    @property
    def position(self) -> int:
        """Where it stands among all changes."""
        return self.placed_at or self.new.nid

    @property
    def members(self) -> tuple[Member, ...]:
        """Every membership that is different now."""
        return self.moved if self.member is None else (self.member, *self.moved)


class Advance(NamedTuple):
    """Where a batch takes the room."""

    expected_tip: int
    tip: int
    heads: bytes
    depth: int
    state_nid: int


def records(
    event: Event, *, nid: int, state_nid: int, notify: int, txn: str | None, replaced: Replaced | None
) -> tuple[TimelineEvent, NewEvent, Relation | None]:
    """An accepted event as it is shown and as it is stored. `state_nid`: the state set before it."""
    status = accepted_as(event)
    relation = relation_of(event.content) if status == ACCEPTED else None
    thread_root = relation.event_id if relation is not None and relation.rel_type == "m.thread" else None
    timeline = from_event(
        event, nid=nid, state_nid=state_nid, notify=notify, thread_root=thread_root, txn=txn,
        replaced=replaced,
    )  # fmt: skip
    new = NewEvent(
        nid, event.event_id, event.type, event.state_key, event.sender, event.depth,
        event.origin_server_ts, state_nid, replaced.nid if replaced else None, status, notify,
        thread_root, txn, event.raw,
    )  # fmt: skip
    return timeline, new, relation


def replaced_by(standing: Standing | None, before: Event | None) -> Replaced | None:
    """What a state event replaced."""
    if standing is None or before is None:
        return None
    return Replaced(standing.nid, before.event_id, before.sender, before.content)
