"""One room in memory, as its writer sees it: current state, members, forward extremities.

The writer builds each event on this without asking the database, and may build the next while
the last is being committed; so what is here can be ahead of what is stored by the events in
`pending`. Readers that must not see those ask `state_upto`.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.relations import aggregated_with
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.concurrency import Gate
from homeserver.services.rooms.timeline_event import TimelineEvent

RECENT = 60  # committed events kept at hand for sync
MEMBER_EVENTS = 2_000

MOST_CAME = 20
CREATE: StateKey = (event_types.CREATE, "")
POWER_LEVELS: StateKey = (event_types.POWER_LEVELS, "")
JOIN_RULES: StateKey = (event_types.JOIN_RULES, "")
HISTORY_VISIBILITY: StateKey = (event_types.HISTORY_VISIBILITY, "")


class Standing(NamedTuple):
    """The event that holds a state key, and since which position: its own, but where a fork was resolved."""

    nid: int
    event_id: EventId
    since: int


class Membership(NamedTuple):
    """A user's membership and the event that began it."""

    membership: str
    since: int


class PendingState(NamedTuple):
    """A state event not yet committed, and what it replaces."""

    nid: int
    key: StateKey
    before: Standing | None


class Move(NamedTuple):
    """From the room's present state to another: what stands differently, and what does not stand any more."""

    state_nid: int
    state_hash: int
    changed: Sequence[tuple[Event, Standing]]
    removed: Sequence[StateKey]
    branches: Mapping[EventId, int]
    """The new heads, and the state set after each."""
    depth: int

    @property
    def members(self) -> list[UserId]:
        """Whose membership stands differently."""
        keys = [*(event.key for event, _ in self.changed), *self.removed]
        return [UserId(key[1]) for key in keys if key[0] == event_types.MEMBER]


class Room:
    """Loaded by `Rooms`, changed by the writer alone."""

    __slots__ = (
        "auth_memo",
        "branches",
        "came",
        "depth",
        "events",
        "fragments",
        "has_gaps",
        "has_late",
        "heads",
        "held",
        "invited",
        "is_public",
        "joined",
        "joined_local",
        "last_gap",
        "member_events",
        "members",
        "nid",
        "others",
        "partial_servers",
        "pending",
        "recent",
        "recent_from",
        "reference_hashes",
        "remote_members",
        "resolved_at",
        "room_id",
        "servers",
        "state",
        "state_hash",
        "state_nid",
        "tip",
        "told_servers",
        "version",
        "visibility_changes",
    )

    def __init__(self, room_id: RoomId, version: RoomVersion, nid: int) -> None:
        self.room_id = room_id
        self.version = version
        self.nid = nid
        self.is_public = False
        self.heads: tuple[EventId, ...] = ()
        self.branches: dict[EventId, int] = {}  # the state set after each head, where there are several
        self.depth = 0
        self.tip = 0
        self.state_nid = 0
        self.state_hash = 0
        self.state: dict[StateKey, Standing] = {}
        self.events: dict[StateKey, Event] = {}  # the state that is not memberships
        self.member_events: dict[StateKey, Event] = {}  # of those who act here
        self.members: dict[UserId, Membership] = {}
        self.joined: set[UserId] = set()
        self.joined_local: set[UserId] = set()
        self.servers: Counter[ServerName] = Counter()  # of the joined members
        self.came: tuple[UserId, ...] = ()  # those with whom other servers came in lately
        self.remote_members = 0  # of other servers, whatever their membership is or was
        self.invited = 0
        self.others: frozenset[ServerName] | None = None  # see `other_servers`
        self.told_servers: frozenset[ServerName] | None = None  # of the last outgoing event; see `Outbox`
        self.pending: list[PendingState] = []
        self.recent: deque[TimelineEvent] = deque(maxlen=RECENT)
        self.recent_from = 0  # `recent` holds every event after this position
        self.auth_memo: dict[tuple[str, str], tuple[EventId, ...]] = {}
        self.visibility_changes: tuple[tuple[int, str], ...] | None = None
        self.fragments: dict[object, object] = {}  # what sync made of it lately
        self.resolved_at = 0  # the last position at which state changed otherwise than by its own event
        self.last_gap = 0  # the newest event before which something is missing
        self.has_gaps = False  # is there any event that is named as previous and not here?
        self.has_late = False  # may states since our join lack somebody whose keys were not to be had?
        self.held: Gate | None = None  # closed: nobody may write now
        self.reference_hashes: dict[EventId, str] = {}  # of heads, in room versions that write them down
        self.partial_servers: frozenset[ServerName] = frozenset()  # known while members are being fetched

    @property
    def was_shared(self) -> bool:
        """Did anybody of another server ever have to do with it? Then it may have forked."""
        return self.remote_members > 0

    @property
    def state_sets(self) -> dict[EventId, int]:
        """The state set after each forward extremity."""
        return self.branches if self.branches else dict.fromkeys(self.heads, self.state_nid)

    def membership(self, user_id: UserId) -> str | None:
        member = self.members.get(user_id)
        return member.membership if member else None

    @property
    def is_shared(self) -> bool:
        """Has it members on other servers?"""
        return len(self.joined) != len(self.joined_local) or bool(self.partial_servers)

    def other_servers(self) -> frozenset[ServerName]:
        """The other servers with members in the room."""
        if self.others is None:
            here = {domain_of(user_id) for user_id in islice(self.joined_local, 1)}
            self.others = frozenset(self.servers) - here | self.partial_servers
        return self.others

    def event(self, key: StateKey) -> Event | None:
        """The current state event, if it is in memory: all but some memberships are."""
        return self.events.get(key) or self.member_events.get(key)

    def content_of(self, type_: str, state_key: str = "") -> JsonObject:
        """The content of a state event other than a membership; {} when there is none."""
        event = self.events.get((type_, state_key))
        return event.content if event is not None else {}

    def missing(self, keys: Iterable[StateKey]) -> list[Standing]:
        """The current events of `keys` that are not in memory."""
        return [
            standing
            for key in keys
            if (standing := self.state.get(key)) is not None and self.event(key) is None
        ]

    def remember(self, event: Event) -> None:
        """Keep a current state event at hand."""
        key = event.key
        if key[0] != event_types.MEMBER:
            self.events[key] = event
            return
        if len(self.member_events) >= MEMBER_EVENTS and key not in self.member_events:
            del self.member_events[next(iter(self.member_events))]
        self.member_events[key] = event

    def state_upto(self, position: int) -> dict[StateKey, Standing]:
        """The current state as committed at `position`; not to be changed."""
        late = [change for change in self.pending if change.nid > position]
        if not late:
            return self.state
        state = dict(self.state)
        for change in reversed(late):
            if change.before is None:
                state.pop(change.key, None)
            else:
                state[change.key] = change.before
        return state

    def apply(self, event: Event, nid: int, server_name: str) -> Standing | None:
        """Move on by an event after all heads; returns what it replaced when it is state."""
        self.heads = (event.event_id,)
        if self.branches:
            self.branches = {}
        self.depth = max(self.depth, event.depth)
        self.tip = nid
        if event.state_key is None:
            return None
        key = event.key
        before = self.state.get(key)
        self.pending.append(PendingState(nid, key, before))
        self.state[key] = Standing(nid, event.event_id, nid)
        self.state_hash = hash_replacing(self.state_hash, before, event.event_id)
        self.state_nid = nid
        self.auth_memo.clear()
        self.remember(event)
        if key[0] == event_types.MEMBER:
            self._note_member(UserId(key[1]), str(event.content.get("membership")), nid, server_name)
        elif key == HISTORY_VISIBILITY:
            self.visibility_changes = None
        return before

    def move(self, position: int, move: Move, server_name: str) -> None:
        """Move on by an event beside others: to these heads, and to the state that was resolved for them."""
        self.heads = tuple(move.branches)
        self.branches = dict(move.branches) if len(move.branches) > 1 else {}
        self.depth = max(self.depth, move.depth)
        self.tip = position
        self.state_nid, self.state_hash = move.state_nid, move.state_hash
        if not move.changed and not move.removed:
            return
        self.resolved_at = position
        self.auth_memo.clear()
        self.fragments.clear()
        self.visibility_changes = None
        for changed, standing in move.changed:
            self.pending.append(PendingState(position, changed.key, self.state.get(changed.key)))
            self.state[changed.key] = standing
            self.remember(changed)
            if changed.type == event_types.MEMBER:
                self._note_member(
                    UserId(changed.key[1]), changed.membership or "leave", position, server_name
                )
        for key in move.removed:
            self.pending.append(PendingState(position, key, self.state.pop(key)))
            self.events.pop(key, None)
            self.member_events.pop(key, None)
            if key[0] == event_types.MEMBER:
                self._note_member(UserId(key[1]), "leave", position, server_name)

    def committed(self, events: Sequence[TimelineEvent], last: int) -> None:
        """The events, applied before, are now stored, and all else up to position `last`."""
        if self.pending:
            self.pending = [change for change in self.pending if change.nid > last]
        for event in events:
            if len(self.recent) == RECENT:
                self.recent_from = self.recent[0].nid
            parent_id = aggregated_with(event.content)
            if parent_id is not None:
                for earlier in self.recent:
                    earlier.has_children = earlier.has_children or earlier.event_id == parent_id
            self.recent.append(event)

    def set_member(self, user_id: UserId, membership: Membership, *, local: bool) -> None:
        """Put a membership as it was loaded."""
        before = self.members.get(user_id)
        if before is not None:
            self._discount(user_id, before)
        elif not local:
            self.remote_members += 1
        self.others = None
        self.members[user_id] = membership
        if membership.membership == "join":
            self.joined.add(user_id)
            self.servers[domain_of(user_id)] += 1
            if local:
                self.joined_local.add(user_id)
        elif membership.membership == "invite":
            self.invited += 1

    def _note_member(self, user_id: UserId, membership: str, nid: int, server_name: str) -> None:
        """A change of name keeps the position since which they are what they are."""
        before = self.members.get(user_id)
        since = before.since if before is not None and before.membership == membership else nid
        domain = domain_of(user_id)
        if membership == "join" and domain != server_name and not self.servers[domain]:
            self.came = (*self.came, user_id)[-MOST_CAME:]
        self.set_member(user_id, Membership(membership, since), local=domain == server_name)

    def _discount(self, user_id: UserId, before: Membership) -> None:
        if before.membership == "join":
            self.joined.discard(user_id)
            self.joined_local.discard(user_id)
            server = domain_of(user_id)
            self.servers[server] -= 1
            if not self.servers[server]:
                del self.servers[server]
        elif before.membership == "invite":
            self.invited -= 1


def hash_replacing(hash_: int, before: Standing | None, after: EventId) -> int:
    """The order-independent hash of a state set, one member of which changed."""
    if before is not None:
        hash_ -= _hash_one(before.event_id)
    return (hash_ + _hash_one(after)) % (1 << 128)


def hash_of(event_ids: Iterable[EventId]) -> int:
    """The hash of a state set."""
    return sum(map(_hash_one, event_ids)) % (1 << 128)


def hash_changed(hash_: int, gone: Iterable[EventId], come: Iterable[EventId]) -> int:
    """The hash of a state set, some members of which changed."""
    return (hash_ - hash_of(gone) + hash_of(come)) % (1 << 128)


def _hash_one(event_id: EventId) -> int:
    return int.from_bytes(sha256(event_id.encode()).digest()[:16], "little")
