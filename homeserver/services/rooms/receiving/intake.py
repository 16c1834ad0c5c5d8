"""Live events: judged, and appended to their room.

An event after all heads of its room, which is nearly every one, is judged by the room in memory and applied
at once; many share a write. Any other goes the long way (`forking`): what is missing is fetched, states are
resolved. In a room one thing is received at a time; our own events may be written meanwhile, so what was
looked at before waiting is looked at again before it is acted on.
https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import orjson

from homeserver.protocol.auth_rules.power_levels import CREATE_KEY
from homeserver.protocol.errors import AuthFailure, Forbidden, MatrixError
from homeserver.protocol.event_types import REDACTION
from homeserver.protocol.events import BadPdu, Event
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.room_versions import EventIdFormat
from homeserver.runtime.concurrency import KeyedLock
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.policy import PolicySignatures, is_recommended
from homeserver.services.rooms.receiving.fetching import Fetching
from homeserver.services.rooms.receiving.forking import Forking, Judged, Source
from homeserver.services.rooms.receiving.judging import (
    check_by_own,
    check_by_state,
    in_order,
    keys_needed,
    named_create,
    refusal,
)
from homeserver.services.rooms.receiving.outliers import RoomKey
from homeserver.services.rooms.receiving.ports import CannotJudge, NotInRoomHere
from homeserver.services.rooms.receiving.stored_events import (
    OUTLIER,
    REJECTED,
    SOFT_FAILED,
    Aside,
    Stored,
    StoredEvents,
)
from homeserver.services.rooms.receiving.unproven import UnprovenEvents
from homeserver.services.rooms.redactions import Redactions
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.writer import Advance, Built, RoomWriter, StaleRoom
from homeserver.storage.received_events import KnownEvent

ATTEMPTS = 4
FILLED_AT_ONCE = 100
"""Events of a gap that are taken together."""

Outcomes = dict[EventId, MatrixError | None]


class SoftFailed(Forbidden):
    """The event is allowed where it was made, but not by the room's present state."""


class Batch:
    """Events applied to the room in memory that are still to be written together."""

    def __init__(self) -> None:
        self.room: Room | None = None
        self.expected_tip = 0
        self.built: list[Built] = []
        self.asides: list[Aside] = []

    def begin(self, room: Room) -> None:
        """Note where the room was before the first of them."""
        if self.room is None:
            self.room, self.expected_tip = room, room.tip


class Intake:
    """Takes events whose form, signatures and hash were checked."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, events: Events, writer: RoomWriter, *,
        stored: StoredEvents, forking: Forking, unproven: UnprovenEvents,
    ) -> None:  # fmt: skip
        self._database = ground.database
        self._store = ground.stores.received_events
        self._rooms = rooms
        self._events = events
        self._writer = writer
        self._stored = stored
        self._forking = forking
        self._fetching: Fetching = forking.fetching
        self._unproven = unproven
        self._redactions = Redactions(ground.stores)
        self._policy = PolicySignatures(ground.client)
        self.turns = KeyedLock()

    async def take(self, room_id: RoomId, events: Sequence[Event], source: Source) -> Outcomes:
        """What became of each. Raises NotInRoomHere."""
        for attempt in range(ATTEMPTS):
            await self._unproven.before_events(room_id)
            async with self.turns.hold(room_id):
                turn = self._fetching.patience.begin((room_id, source.origin))
                try:
                    return await self._take(room_id, events, replace(source, turn=turn))
                except StaleRoom:
                    if attempt == ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    async def _take(self, room_id: RoomId, events: Sequence[Event], source: Source) -> Outcomes:
        outcomes: Outcomes = {}
        ordered = in_order(events)
        room = await self.room(room_id)
        await self._stored.ready()
        ids = [event.event_id for event in ordered]
        outcomes |= await self._stored.clashing(room.nid, room.version, ordered)
        ordered = [event for event in ordered if event.event_id not in outcomes]
        known, auth = await self._look_up(room, ordered)
        batch = Batch()
        try:
            for event in ordered:
                before = known.get(event.event_id)
                if before is not None and before.status != OUTLIER:
                    outcomes[event.event_id] = _known_outcome(before, source)
                    continue
                if before is None:
                    done, outcome = self._append(batch, room_id, event, auth, source)
                    if done:
                        outcomes[event.event_id] = outcome
                        continue
                await self._flush(batch)
                outcomes[event.event_id] = await self._long_way(room_id, event, source)
                known = await self._stored.known(ids)  # some may have come with what was missing
        except BaseException:
            self._give_up(batch)
            raise
        await self._flush(batch)
        return outcomes

    def _give_up(self, batch: Batch) -> None:
        """What was applied will not be written: nobody may build on it, or wait for it."""
        if batch.room is not None:
            self._rooms.discard(batch.room)
            self._writer.abandon(batch.built)

    async def room(self, room_id: RoomId) -> Room:
        """The room, if somebody of this server is in it. Raises NotInRoomHere."""
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotInRoomHere(f"{room_id} is not known here") from None
        if not room.joined_local:
            raise NotInRoomHere(f"Nobody of this server is in {room_id}")
        return room

    async def _look_up(
        self, room: Room, events: Sequence[Event]
    ) -> tuple[dict[EventId, KnownEvent], dict[EventId, Stored]]:
        """Which of the events are here, and what authorises them as far as it is not in the present state."""
        known = await self._stored.known([event.event_id for event in events])
        await self._recall(room, events)
        present = {event.event_id for event in (*room.events.values(), *room.member_events.values())}
        named = {id_ for event in events for id_ in event.auth_event_ids} - present
        auth = await self._stored.load(room.version, named) if named else {}
        return known, {id_: one for id_, one in auth.items() if one.known.room_nid == room.nid}

    async def _recall(self, room: Room, events: Iterable[Event]) -> None:
        missing = room.missing(dict.fromkeys(key for event in events for key in keys_needed(event)))
        if missing:
            found = await self._events.signed([standing.event_id for standing in missing])
            for standing in missing:
                event = found.get(standing.event_id)
                if event is not None and room.state.get(event.key) == standing:
                    room.remember(event)

    # The short way: nothing is awaited

    def _append(
        self, batch: Batch, room_id: RoomId, event: Event, auth: Mapping[EventId, Stored], source: Source
    ) -> tuple[bool, MatrixError | None]:
        """(was it dealt with?, what became of it): not if it forks the room or something is not in memory."""
        room = batch.room or self._rooms.find(room_id)
        if room is None or room.held is not None or set(event.prev_event_ids) != set(room.heads):
            return False, None
        if not is_recommended(room, event):
            return False, None
        if not self._is_as_before(room, event):
            judged = self._judge_here(room, event, auth)
            if judged is None:
                return False, None
            if isinstance(judged, AuthFailure):
                batch.begin(room)
                batch.asides.append(Aside(event, 0, REJECTED, room.state_nid))
                return True, judged
        batch.begin(room)
        batch.built.append(self._writer.applied(room, event, is_local=False, besides=source.besides))
        return True, None

    def _is_as_before(self, room: Room, event: Event) -> bool:
        """Did the same sender send the same type by the same state? Then it is allowed again."""
        if event.state_key is not None or event.type == REDACTION:
            return False
        memo = room.auth_memo.get((event.sender, event.type))
        named = event.auth_event_ids
        return memo is not None and len(memo) == len(named) and set(memo) == set(named)

    def _judge_here(
        self, room: Room, event: Event, auth: Mapping[EventId, Stored]
    ) -> AuthFailure | bool | None:
        """By the room in memory: what is wrong, or True; None when memory does not suffice."""
        keys = keys_needed(event)
        if room.missing(keys):
            return None
        state = {key: found for key in keys if (found := room.event(key)) is not None}
        present = {found.event_id: found for found in state.values()}
        own: list[Event] = []
        rejected: set[EventId] = set()
        for event_id in event.auth_event_ids:
            if event_id in present:
                own.append(present[event_id])
            elif (stored := auth.get(event_id)) is not None:
                own.append(stored.event)
                if stored.is_rejected:
                    rejected.add(event_id)
            else:
                return None
        create = room.event(CREATE_KEY) if named_create(event) else None
        try:
            check_by_own(event, own, rejected, create)
            check_by_state(event, state, own, is_partial=bool(room.partial_servers))
        except AuthFailure as error:
            return refusal(event, error)
        if event.state_key is None and event.type != REDACTION and not _names_hashes(room):
            wanted = {found.event_id for key, found in state.items() if key != CREATE_KEY or create is None}
            if wanted == set(event.auth_event_ids):
                room.auth_memo[event.sender, event.type] = event.auth_event_ids
        return True

    async def _flush(self, batch: Batch) -> None:
        """Write what was applied. Raises StaleRoom."""
        room, built, asides = batch.room, batch.built, batch.asides
        expected_tip = batch.expected_tip
        batch.room, batch.built, batch.asides, batch.expected_tip = None, [], [], 0
        if room is None:
            return
        advance = Advance(expected_tip, room.tip, orjson.dumps(room.heads), room.depth, room.state_nid)
        emptied: list[EventId] = []
        nids = self._stored.past_nids(len(asides))
        asides = [aside._replace(nid=nid) for aside, nid in zip(asides, nids, strict=True)]

        def also(txn: Transaction) -> None:
            self._stored.keep_aside(txn, room.nid, asides)
            if room.has_gaps:
                self._store.note_found(txn, room.nid, [one.event.event_id for one in built])
            new = {one.event.event_id: one.new.nid for one in built}
            emptied[:] = self._redactions.redact_early(txn, room.version, new)

        if built:
            await self._writer.keep(room, built, advance, also)
        else:
            await self._database.write(also)
        for event_id in emptied:
            await self._writer.forget_redacted(room, event_id)

    # The long way

    async def _long_way(self, room_id: RoomId, event: Event, source: Source) -> MatrixError | None:
        if (
            not event.prev_event_ids
        ):  # only the first event follows none, and rooms have it when they are known
            return BadPdu(f"{event.event_id} follows no event")
        try:
            room = await self.room(room_id)
            absent = await self._absent(room, event)
            if (
                absent and source.may_fill
            ):  # before all else: what is fetched otherwise is never shown as news
                await self._fill(room, event, source)
                absent = await self._absent(room, event)
            key = RoomKey(room_id, room.nid, room.version)
            auth = await self._fetching.auth_events(key, event, source.origin, source.turn)
            problem = _by_own(event, auth)
            is_followed = await self._is_followed(room, event)
            return await self._place(room_id, event, Judged(source, auth, absent, problem, is_followed))
        except StaleRoom:
            raise
        except MatrixError as error:
            return error

    async def _absent(self, room: Room, event: Event) -> list[EventId]:
        """Of the events it follows those that have no place in the room."""
        known = await self._stored.known_in_room(room.nid, event.prev_event_ids)
        return [id_ for id_ in event.prev_event_ids if id_ not in known or not known[id_].is_placed]

    async def _is_followed(self, room: Room, event: Event) -> bool:
        """Does anything placed follow it? Then it was noted as missing."""
        return room.has_gaps and await self._database.read(self._store.is_missing, room.nid, event.event_id)

    async def _fill(self, room: Room, event: Event, source: Source) -> None:
        """Get what lies between, and take it first; not for an event that is refused anyway."""
        auth = await self._fetching.auth_events_here(RoomKey(room.room_id, room.nid, room.version), event)
        if auth is not None and _by_own(event, auth) is not None:
            return
        found = await self._fetching.missing_events(room, event, source.origin, source.turn)
        between = in_order(found)
        inner = replace(source, besides=None, may_fill=False)
        for start in range(0, len(between), FILLED_AT_ONCE):
            await self._take(room.room_id, between[start : start + FILLED_AT_ONCE], inner)

    async def _place(self, room_id: RoomId, event: Event, judged: Judged) -> MatrixError | None:
        room = await self.room(room_id)
        state_nid = await self._forking.state_before(room, event, judged)
        if judged.problem is not None:
            await self._forking.put_aside(room, event, REJECTED, state_nid)
            return judged.problem
        if state_nid is None:
            raise CannotJudge(f"The state before {event.event_id} is not known")
        problem = await self._forking.check_before(room, event, state_nid, judged)
        if problem is not None:
            if not judged.absent:  # else that state is the word of one server, and others may know better
                await self._forking.put_aside(room, event, REJECTED, state_nid)
            return problem
        signed = await self._policy.recommended(room, event)
        if signed is None or not await self._forking.append(room_id, signed, state_nid, judged):
            if self._unproven.has_news_for(room_id):  # with what was missing came keys: who spoke may be in
                raise StaleRoom
            await self._forking.put_aside(room, signed or event, SOFT_FAILED, state_nid)
            if judged.source.besides is not None:
                return SoftFailed(f"{event.event_id} is not allowed by the room as it is now")
        return None


def _known_outcome(known: KnownEvent, source: Source) -> MatrixError | None:
    if known.status == REJECTED:
        return AuthFailure("", f"{known.event_id} was rejected before")
    if known.status == SOFT_FAILED and source.besides is not None:
        return SoftFailed(f"{known.event_id} was not allowed by the room when it came")
    return None


def _by_own(event: Event, auth: Mapping[EventId, Stored]) -> AuthFailure | None:
    own = [auth[event_id] for event_id in event.auth_event_ids]
    create_id = named_create(event)
    create = auth[create_id].event if create_id is not None and create_id in auth else None
    try:
        rejected = {stored.event.event_id for stored in own if stored.is_rejected}
        check_by_own(event, [stored.event for stored in own], rejected, create)
    except AuthFailure as error:
        return refusal(event, error)
    return None


def _names_hashes(room: Room) -> bool:
    return room.version.event_id_format is EventIdFormat.EXPLICIT
