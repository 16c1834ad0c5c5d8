"""History from before what is here: placed below the present, which it never changes.

https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import AuthFailure, MatrixError
from homeserver.protocol.event_types import CREATE
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, ServerName
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.fetching import Fetching, Parts
from homeserver.services.rooms.receiving.forking import Forking, Judged, Source
from homeserver.services.rooms.receiving.judging import auth_ids, check_by_own, in_order, named_create
from homeserver.services.rooms.receiving.outliers import RoomKey
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.stored_events import (
    OUTLIER,
    REJECTED,
    Aside,
    Stored,
)
from homeserver.services.rooms.redactions import Redactions
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.timeline_event import TimelineEvent, accepted_as
from homeserver.storage.received_events import MissingEvent

MOST_EVENTS = 1_000
MOST_GAPS = 1_000


class _Placed(NamedTuple):
    """Judged, with what it is to be kept with. `absent`: of those it follows the ones that are not here."""

    aside: Aside
    absent: Sequence[EventId]


class Past:
    """One batch at a time for each room: `Intake.turns` is held."""

    def __init__(
        self, ground: RoomGround, events: Events, parts: Parts, *, fetching: Fetching, forking: Forking
    ) -> None:
        self._database = ground.database
        self._stores = ground.stores
        self._events = events
        self._stored = parts.stored
        self._fetching = fetching
        self._forking = forking
        self._redactions = Redactions(ground.stores)

    async def gaps(self, room: Room, *, upto_depth: int, limit: int) -> list[MissingEvent]:
        """What is missing before events at or below a depth, nearest first."""
        return await self._database.read(
            self._stores.received_events.missing, room.nid, upto_depth=upto_depth, limit=limit
        )

    async def take(self, room: Room, events: Sequence[Event], origin: ServerName) -> list[TimelineEvent]:
        """Place those that lead up to a gap: the accepted ones, oldest first. Raises CannotJudge."""
        await self._stored.ready()
        wanted = await self._leading_to_gaps(room, in_order(events[:MOST_EVENTS]))
        known = await self._stored.known([event.event_id for event in wanted])
        fresh = [
            event
            for event in wanted
            if event.event_id not in known or known[event.event_id].status == OUTLIER
        ]
        nids = self._stored.past_nids(len(fresh))
        accepted: list[EventId] = []
        problem: MatrixError | None = None
        source = Source(origin, may_fill=False, turn=self._fetching.patience.begin((room.room_id, origin)))
        for event, nid in zip(fresh, nids, strict=True):
            try:
                placed = await self._place(room, event, source, nid)
                old = await self._stored.standing(room.nid, event)
            except MatrixError as error:
                problem = problem or error
                continue
            if old is not None:  # perhaps only since a moment: what was missing may have brought it
                placed = placed._replace(aside=placed.aside._replace(nid=old.nid, was_outlier=True))
            await self._keep(room, placed)
            if placed.aside.status != REJECTED:
                accepted.append(event.event_id)
        if problem is not None and not accepted:
            raise problem
        found = await self._events.by_ids(accepted)
        return [found[event_id] for event_id in accepted if event_id in found]

    async def _leading_to_gaps(self, room: Room, ordered: Sequence[Event]) -> list[Event]:
        """Events that nobody's missing event rests on have no place in what we know of the room."""
        gaps = await self.gaps(room, upto_depth=2**63 - 1, limit=MOST_GAPS)
        wanted = {gap.event_id for gap in gaps}
        chosen: list[Event] = []
        for event in reversed(ordered):
            if event.event_id in wanted:
                chosen.append(event)
                wanted.update(event.prev_event_ids)
        return chosen[::-1]

    async def _place(self, room: Room, event: Event, source: Source, nid: int) -> _Placed:
        key = RoomKey(room.room_id, room.nid, room.version)
        auth = await self._fetching.auth_events(key, event, source.origin, source.turn)
        known = await self._stored.known_in_room(room.nid, event.prev_event_ids)
        absent = [id_ for id_ in event.prev_event_ids if id_ not in known or not known[id_].is_placed]
        judged = Judged(source, auth, absent, _problem(event, auth))
        state_nid: int | None = 0
        if event.type != CREATE:
            state_nid = await self._forking.state_before(room, event, judged)
        if judged.problem is not None:
            return _Placed(Aside(event, nid, REJECTED, state_nid), [])
        if state_nid is None:
            raise CannotJudge(f"The state before {event.event_id} is not known")
        refusal = None
        if event.type != CREATE:
            refusal = await self._forking.check_before(room, event, state_nid, judged)
        if refusal is not None and absent:  # by a state that is the word of one server
            raise refusal
        if refusal is not None:
            return _Placed(Aside(event, nid, REJECTED, state_nid), [])
        hash_, replaces_nid = await self._forking.after(room, event, state_nid)
        packed = hash_.to_bytes(16, "little") if event.is_state else None
        return _Placed(Aside(event, nid, accepted_as(event), state_nid, packed, replaces_nid), absent)

    async def _keep(self, room: Room, placed: _Placed) -> None:
        emptied = await self._database.write(self._write, room, placed)
        for event_id in emptied:
            await self._events.read_again(event_id)
        if placed.aside.was_outlier:
            await self._events.read_again(placed.aside.event.event_id)

    def _write(self, txn: Transaction, room: Room, placed: _Placed) -> list[EventId]:
        aside, event = placed.aside, placed.aside.event
        store = self._stores.received_events
        self._stored.keep_aside(txn, room.nid, [aside])
        store.note_found(txn, room.nid, [event.event_id])
        if placed.absent:
            store.note_missing(txn, room.nid, placed.absent, depth=event.depth, follower_nid=aside.nid)
        if aside.status == REJECTED:
            return []
        return self._redactions.redact_early(txn, room.version, {event.event_id: aside.nid})


def _problem(event: Event, auth: Mapping[EventId, Stored]) -> AuthFailure | None:
    """What is wrong with it by what it names itself."""
    own = [auth[event_id] for event_id in event.auth_event_ids]
    create_id = named_create(event)
    create = auth[create_id].event if create_id is not None and create_id in auth_ids(event) else None
    rejected = {stored.event.event_id for stored in own if stored.is_rejected}
    try:
        check_by_own(event, [stored.event for stored in own], rejected, create)
    except AuthFailure as error:
        return error
    return None
