"""An event beside others: the state before it, the state where it meets the other heads, the writing of both.

States are read and resolved while the room goes on; what came of it is used only if the room still stands
where it stood.
https://spec.matrix.org/latest/server-server-api/#room-state-resolution
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import orjson

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import REDACTION
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.runtime.concurrency import Gate
from homeserver.runtime.database import Transaction
from homeserver.services.push.evaluation import PushOutcome
from homeserver.services.rooms.built import Advance, Built, records, replaced_by
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.outbox import Outbox, Outgoing
from homeserver.services.rooms.receiving.fetching import Fetching
from homeserver.services.rooms.receiving.judging import admits, check_by_state, keys_needed, refusal
from homeserver.services.rooms.receiving.move_writing import MoveWriting
from homeserver.services.rooms.receiving.patience import Turn
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.state_sets import NEW_EVENT, Branch, Resolved, StateSets
from homeserver.services.rooms.receiving.stored_events import SOFT_FAILED, Aside, Stored, StoredEvents
from homeserver.services.rooms.redactions import Redactions
from homeserver.services.rooms.room import Move, Room, Standing, hash_changed, hash_replacing
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.timeline_event import Replaced
from homeserver.services.rooms.writer import RoomWriter

ATTEMPTS = 8
HOLD_AFTER = 3
"""Attempts, after which our own writers wait until the event is in."""
MOST_BRANCHES = 200
"""Forward extremities of a room, even where nobody here may close them."""
MOST_STATES_FETCHED = 5
"""For one event and what lies before it."""

OnFork: TypeAlias = Callable[[Room, int, bool], object]
"""The room, the state set before the event, and whether the event lets servers in: see `newcomers`."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from, and what may be asked of that server."""

    origin: ServerName
    besides: ServerName | None = None
    """The server that hands us the event for us to pass on."""
    may_fill: bool = True
    is_local: bool = False
    txn: str | None = None
    """Of a local one: the transaction of the device that asked for it."""
    states_fetched: list[EventId] = field(default_factory=list)
    turn: Turn = field(default_factory=Turn)


class Judged(NamedTuple):
    """What is known of an event beside itself. `absent`: of those it follows the ones that are not here.

    `is_followed`: by an event that has its place already, with the state that came of both.
    """

    source: Source
    auth: Mapping[EventId, Stored]
    absent: Sequence[EventId]
    problem: AuthFailure | None
    is_followed: bool = False

    @property
    def auth_events(self) -> list[Event]:
        return [stored.event for stored in self.auth.values()]


class _Meeting(NamedTuple):
    """Where the room would be after the event: found out at one moment, good while the room stands there."""

    room: Room
    standing: tuple[int, frozenset[tuple[EventId, int]]]
    heads: Mapping[EventId, int]
    """The others, which stay."""
    state: Resolved
    """Against the present state."""
    events: Mapping[int, Event]
    """What is changed, as far as it is stored."""
    is_head: bool
    """Is the event one of the heads then?"""

    def changed(self, event: Event) -> list[Event]:
        """The state that stands differently then."""
        return [event if nid == NEW_EVENT else self.events[nid] for nid in self.state.changed.values()]


class _Before(NamedTuple):
    """The state set before the event, and what holds its key there."""

    state_nid: int
    state_hash: int
    replaced: Stored | None


class _Telling(NamedTuple):
    """The event's numbers, and who is to hear of it."""

    nid: int
    position: int
    outcome: PushOutcome | None
    outgoing: Outgoing | None

    @property
    def notify(self) -> int:
        return 0 if self.outcome is None else self.outcome.notify


class Forking:
    """For one room at a time: `Intake` sees to that."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, events: Events, writer: RoomWriter, *,
        sets: StateSets, fetching: Fetching, stored: StoredEvents,
    ) -> None:  # fmt: skip
        self._ground = ground
        self._database = ground.database
        self._streams = ground.streams
        self._rooms = rooms
        self._events = events
        self._writer = writer
        self._sets = sets
        self.fetching = fetching
        self._stored = stored
        self._outbox = Outbox(ground.stores.outgoing, ground.server_name)
        self._redactions = Redactions(ground.stores)
        self._writing = MoveWriting(ground.stores)
        self.on_fork: OnFork = lambda _room, _state_nid, _is_admitting: None
        """Called when an event is put beside others."""

    async def state_before(self, room: Room, event: Event, judged: Judged) -> int | None:
        """The state set before it; None for a rejected one whose place is not known. Raises CannotJudge."""
        if not judged.absent:
            known = await self._stored.known_in_room(room.nid, event.prev_event_ids)
            nids = [known[id_].state_after or 0 for id_ in event.prev_event_ids]
            return await self._sets.set_of(room, nids) if nids else None
        if judged.problem is not None:
            return None
        fetched = judged.source.states_fetched
        if len(fetched) >= MOST_STATES_FETCHED:
            raise CannotJudge("Too much is missing before these events")
        fetched.append(event.event_id)
        source = judged.source
        return await self.fetching.state_before(room, event.event_id, source.origin, source.turn)

    async def check_before(
        self, room: Room, event: Event, state_nid: int, judged: Judged
    ) -> AuthFailure | None:
        """Is it allowed by the state before it?"""
        ids = await self._sets.pick(state_nid, keys_needed(event))
        found = await self._stored.load(room.version, ids)
        state = {stored.event.key: stored.event for stored in found.values()}
        try:
            is_partial = bool(room.partial_servers) or room.has_late
            check_by_state(event, state, judged.auth_events, is_partial=is_partial)
        except AuthFailure as error:
            return refusal(event, error)
        return None

    async def put_aside(self, room: Room, event: Event, status: int, state_nid: int | None) -> None:
        """Keep an event that does not move the room."""
        await self._stored.ready()
        known = await self._stored.standing(room.nid, event)
        hash_: bytes | None = None
        if status == SOFT_FAILED and event.is_state and state_nid is not None:
            before = await self._before(room, event, state_nid)
            hash_ = _hash_after(before, event).to_bytes(16, "little")
        nid = self._stored.past_nids(1)[0] if known is None else known.nid
        aside = Aside(event, nid, status, state_nid, hash_, was_outlier=known is not None)
        await self._database.write(self._put_aside, room, aside)

    def _put_aside(self, txn: Transaction, room: Room, aside: Aside) -> None:
        self._stored.keep_aside(txn, room.nid, [aside])
        if room.has_gaps:
            self._ground.stores.received_events.note_found(txn, room.nid, [aside.event.event_id])

    async def after(self, room: Room, event: Event, state_nid: int) -> tuple[int, int | None]:
        """(hash of the state after it, the event that it replaced)."""
        before = await self._before(room, event, state_nid)
        return _hash_after(before, event), None if before.replaced is None else before.replaced.known.nid

    async def append(self, room_id: RoomId, event: Event, state_nid: int, judged: Judged) -> bool:
        """Put it beside the other heads. False: the present state does not allow it. Raises CannotJudge."""
        await self._stored.ready()
        held: Room | None = None
        try:
            for attempt in range(ATTEMPTS):
                room = self._rooms.find(room_id) or await self._rooms.load(room_id)
                if attempt == HOLD_AFTER:
                    held = room
                    room.held = Gate()
                if len(room.heads) >= MOST_BRANCHES and not set(room.heads) & set(event.prev_event_ids):
                    raise CannotJudge(f"{room_id} has forked too often, and nobody here may close it")
                before = await self._before(room, event, state_nid)
                known = await self._stored.standing(room.nid, event)
                meeting = await self._meet(room, event, state_nid, is_followed=judged.is_followed)
                if meeting is None or not self._is_current(meeting):
                    await self._database.write(_nothing)
                    continue
                if not self._allows(room, event, judged):
                    return False
                await self._apply(meeting, event, before, judged, old_nid=known.nid if known else None)
                return True
            raise CannotJudge(f"{room_id} is too busy for {event.event_id} at the moment")
        finally:
            if held is not None and held.held is not None:
                gate, held.held = held.held, None
                gate.open()

    # Finding out

    async def _before(self, room: Room, event: Event, state_nid: int) -> _Before:
        hash_ = (await self._sets.info(state_nid)).hash
        replaced = None
        if event.state_key is not None:
            for event_id in await self._sets.pick(state_nid, [event.key]):
                replaced = (await self._stored.load(room.version, [event_id])).get(event_id)
        return _Before(state_nid, hash_, replaced)

    async def _meet(self, room: Room, event: Event, state_nid: int, *, is_followed: bool) -> _Meeting | None:
        """Where the room would be. None: it moved on meanwhile, or has not in memory what decides."""
        missing = room.missing(keys_needed(event))
        if missing:
            for found in (await self._events.signed([one.event_id for one in missing])).values():
                standing = room.state.get(found.key)
                if standing is not None and standing.event_id == found.event_id:
                    room.remember(found)
        if room.pending:  # by events of ours whose state sets are not stored yet
            return None
        standing_at = _standing(room)
        heads = {head: nid for head, nid in room.state_sets.items() if head not in event.prev_event_ids}
        branches = [Branch(nid) for nid in heads.values()]
        if not is_followed:
            branches.append(Branch(state_nid, event if event.is_state else None))
        state = await self._sets.resolved(room, branches, base_nid=room.state_nid)
        if _standing(room) != standing_at:
            return None
        events = await self._load(room, [nid for nid in state.changed.values() if nid != NEW_EVENT])
        return _Meeting(room, standing_at, heads, state, events, is_head=not is_followed)

    async def _load(self, room: Room, nids: Sequence[int]) -> dict[int, Event]:
        if not nids:
            return {}
        ids = await self._database.read(self._ground.stores.received_events.ids, nids)
        found = await self._stored.load(room.version, list(ids.values()))
        return {stored.known.nid: stored.event for stored in found.values()}

    def _is_current(self, meeting: _Meeting) -> bool:
        room = meeting.room
        return self._rooms.find(room.room_id) is room and _standing(room) == meeting.standing

    def _allows(self, room: Room, event: Event, judged: Judged) -> bool:
        """Does the present state allow it? Otherwise it is soft failed."""
        state = {key: found for key in keys_needed(event) if (found := room.event(key)) is not None}
        try:
            check_by_state(event, state, judged.auth_events, is_partial=bool(room.partial_servers))
        except AuthFailure:
            return False
        return True

    # Moving: nothing is awaited between the first change of the room in memory and the write

    async def _apply(
        self, meeting: _Meeting, event: Event, before: _Before, judged: Judged, *, old_nid: int | None
    ) -> None:
        room, source = meeting.room, judged.source
        outcome = None if old_nid is not None else self._ground.push.evaluate(room, event)
        outgoing = None
        if source.is_local or source.besides is not None:
            outgoing = self._outbox.address(room, event, besides=source.besides)
        is_admitting = admits(room.servers, meeting.changed(event))
        position = self._streams.draw()
        telling = _Telling(position if old_nid is None else old_nid, position, outcome, outgoing)
        try:
            built, also, advance = self._moved(meeting, event, before, judged, telling)
        except BaseException:
            self._streams.complete(position)
            self._rooms.discard(room)
            raise
        emptied: list[EventId] = []

        def all_of_it(txn: Transaction) -> None:
            also(txn)
            emptied[:] = self._redactions.redact_early(txn, room.version, {event.event_id: built.new.nid})

        await self._writer.keep(room, [built], advance, all_of_it)
        for event_id in emptied:
            await self._writer.forget_redacted(room, event_id)
        if len(room.heads) > 1:
            self.on_fork(room, before.state_nid, is_admitting)

    def _moved(
        self, meeting: _Meeting, event: Event, before: _Before, judged: Judged, telling: _Telling
    ) -> tuple[Built, Callable[[Transaction], None], Advance]:
        """Move the room in memory: the event as it is kept, what else is, and where the room is then."""
        room, source = meeting.room, judged.source
        nid, position = telling.nid, telling.position
        expected_tip, parent_nid = room.tip, room.state_nid
        move, is_new = self._move(meeting, event, before, nid=nid, position=position)
        levels = PowerLevels(dict(room.events)) if event.type == REDACTION else None
        room.move(position, move, self._ground.server_name)
        if judged.absent:
            room.last_gap, room.has_gaps = position, True
        moved = tuple(self._writer.member(room, user, position) for user in move.members)
        timeline, new, relation = records(
            event, nid=nid, state_nid=before.state_nid, notify=telling.notify, txn=source.txn,
            replaced=_replaced(before),
        )  # fmt: skip
        built = Built(
            event, timeline, new, telling.outcome, relation, None,
            _hash_after(before, event).to_bytes(16, "little"),
            event.redacts if event.type == REDACTION else None, telling.outgoing, source.is_local,
            is_current=False, moved=moved, levels=levels, placed_at=0 if nid == position else position,
        )  # fmt: skip
        advance = Advance(expected_tip, position, orjson.dumps(room.heads), room.depth, room.state_nid)

        def also(txn: Transaction) -> None:
            if is_new:
                self._writing.state_set(txn, room, move, parent_nid)
            self._writing.move(txn, room, move, built)
            if judged.absent:
                self._writing.gap(txn, room, built, judged.absent)
            self._ground.stores.received_events.note_found(txn, room.nid, [event.event_id])

        return built, also, advance

    def _move(
        self, meeting: _Meeting, event: Event, before: _Before, *, nid: int, position: int
    ) -> tuple[Move, bool]:
        """(the move, whether its state set is a new one that is to be stored)."""
        room = meeting.room
        changed: list[tuple[Event, Standing]] = []
        for event_nid in meeting.state.changed.values():
            if event_nid == NEW_EVENT:
                changed.append((event, Standing(nid, event.event_id, position)))
            else:
                other = meeting.events[event_nid]
                changed.append((other, Standing(event_nid, other.event_id, position)))
        removed = meeting.state.removed
        gone = [room.state[one.key].event_id for one, _ in changed if one.key in room.state]
        gone += [room.state[key].event_id for key in removed]
        hash_ = hash_changed(room.state_hash, gone, [one.event_id for one, _ in changed])
        own = nid if event.is_state else before.state_nid
        heads = {**meeting.heads, event.event_id: own} if meeting.is_head else meeting.heads
        is_new = False
        if not changed and not removed:
            state_nid = room.state_nid
        elif hash_ == _hash_after(before, event):
            state_nid = own
        else:
            state_nid, is_new = self._stored.past_nids(1)[0], True
        depth = max(room.depth, event.depth)
        return Move(state_nid, hash_, changed, removed, heads, depth), is_new


def _nothing(txn: Transaction) -> None:
    """Behind all writes that were asked for before."""


def _standing(room: Room) -> tuple[int, frozenset[tuple[EventId, int]]]:
    """Where the room stands: changes whenever its state or heads do."""
    return room.state_nid, frozenset(room.state_sets.items())


def _hash_after(before: _Before, event: Event) -> int:
    """Of the state after the event."""
    if not event.is_state:
        return before.state_hash
    replaced = before.replaced
    old = None if replaced is None else Standing(replaced.known.nid, replaced.event.event_id, 0)
    return hash_replacing(before.state_hash, old, event.event_id)


def _replaced(before: _Before) -> Replaced | None:
    stored = before.replaced
    if stored is None:
        return None
    return replaced_by(Standing(stored.known.nid, stored.event.event_id, 0), stored.event)
