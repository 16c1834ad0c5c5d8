"""Events of other servers: checked, placed in their room, and told like our own.

The doors. What is behind them: `checking` (form, signatures, hash), `stored_events` (what is here),
`state_sets` (state where the room forks), `fetching`, `patience` and `outliers` (what is missing),
`unproven` and `proving` (what nobody could verify at first), `intake` and `forking` (live events), `joining`,
`partial`, `replaying` and `rewriting` (our own joins of rooms elsewhere), `past` (history), `outside`
(invites to rooms we are not in), `closing` and `newcomers` (dummy events that close forks).
https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import MatrixError, NotFound
from homeserver.protocol.events import Event, parse_pdu
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.checking import Checking
from homeserver.services.rooms.receiving.closing import Closing
from homeserver.services.rooms.receiving.fetching import Fetching, Parts
from homeserver.services.rooms.receiving.forking import Forking, Source
from homeserver.services.rooms.receiving.intake import Intake, SoftFailed
from homeserver.services.rooms.receiving.joining import Joining, RemoteJoin
from homeserver.services.rooms.receiving.newcomers import Newcomers
from homeserver.services.rooms.receiving.outliers import Outliers
from homeserver.services.rooms.receiving.outside import Outside
from homeserver.services.rooms.receiving.partial import PartialRooms
from homeserver.services.rooms.receiving.past import Past
from homeserver.services.rooms.receiving.patience import Patience
from homeserver.services.rooms.receiving.ports import (
    CannotJudge,
    Keys,
    NotInRoomHere,
    Remote,
)
from homeserver.services.rooms.receiving.proving import Proving
from homeserver.services.rooms.receiving.rewriting import Rewriting
from homeserver.services.rooms.receiving.state_sets import StateSets
from homeserver.services.rooms.receiving.stored_events import StoredEvents
from homeserver.services.rooms.receiving.unproven import UnprovenEvents
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.rooms.writer import RoomWriter
from homeserver.storage.received_rooms import OutsideMembership

__all__ = [
    "CannotJudge",
    "Gap",
    "Keys",
    "NotInRoomHere",
    "Receiving",
    "Remote",
    "RemoteJoin",
    "RoomParts",
    "SoftFailed",
]

Pdu = Mapping[str, Json]

MOST_OPEN = 20
"""Forward extremities that are left open until somebody of ours speaks."""


class Gap(NamedTuple):
    """An event we do not have, though one that we have follows it: `depth` and `nid` are of that one."""

    event_id: EventId
    depth: int
    nid: int


class RoomParts(NamedTuple):
    """The parts of rooms that receiving works on."""

    rooms: Rooms
    events: Events
    writer: RoomWriter
    user_rooms: UserRooms


class Receiving:
    """Every event that this server did not make itself comes in here."""

    def __init__(self, ground: RoomGround, room_parts: RoomParts, *, keys: Keys, remote: Remote) -> None:
        rooms, events, writer, user_rooms = room_parts
        self._rooms = rooms
        self._stores = ground.stores
        self._database = ground.database
        self._checking = checking = Checking(keys, ground.clock)
        self._stored = stored = StoredEvents(ground.database, ground.stores)
        outliers = Outliers(ground.database, stored)
        self._sets = sets = StateSets(ground.database, ground.stores, stored)
        patience = Patience(ground.clock, ground.tasks)
        self._unproven = unproven = UnprovenEvents(ground, keys)
        parts = Parts(remote, checking, stored, outliers, sets, ground.clock, patience, unproven)
        fetching = Fetching(parts)
        forking = Forking(ground, rooms, events, writer, sets=sets, fetching=fetching, stored=stored)
        self._intake = intake = Intake(
            ground, rooms, events, writer, stored=stored, forking=forking, unproven=unproven
        )
        rewriting = Rewriting(ground, rooms, events, sets)
        self._partial = PartialRooms(
            ground, rooms, fetching=fetching, sets=sets, stored=stored, rewriting=rewriting,
            turns=intake.turns,
        )  # fmt: skip
        proving = Proving(ground, rooms, parts, partial=self._partial, rewriting=rewriting, intake=intake)
        unproven.prove = proving.prove
        self._joining = Joining(ground, rooms, writer, intake=intake, parts=parts, partial=self._partial)
        self._past = Past(ground, events, parts, fetching=fetching, forking=forking)
        self._outside = Outside(ground, rooms, user_rooms, stored)
        self._closing = Closing(ground, rooms, events, intake=intake, forking=forking, parts=parts)
        writer.forks = self._closing
        forking.on_fork = Newcomers(ground, self._closing, parts).note

    async def start(self) -> None:
        """Go on with joins that were not complete when the server stopped."""
        await self._stored.ready()
        await self._partial.start()
        await self._unproven.start()

    async def receive(
        self, room_id: RoomId, pdus: Sequence[Pdu], *, origin: ServerName
    ) -> dict[EventId, MatrixError | None]:
        """Live events of one room, in any order: what became of each.

        None: accepted, or known already, or soft failed (stored and not shown). AuthFailure, BadPdu,
        BadSignature...: refused for good. CannotJudge: nothing was stored, try again later.
        An entry that is no event at all (it has no ID) is left out. Raises NotInRoomHere.
        """
        room = await self._intake.room(room_id)
        checked = await self._checking.check(room.version, room_id, pdus)
        outcomes = dict(checked.problems)
        taken = await self._intake.take(room_id, checked.events, Source(origin))
        known = self._rooms.find(room_id)
        if known is not None and len(known.heads) > MOST_OPEN:
            await self._closing.close(room_id)
        return {**outcomes, **taken}

    async def accept_signed(self, room_id: RoomId, pdu: Pdu, *, origin: ServerName) -> Event:
        """One finished event that a server hands to us as resident: send_join, send_leave, send_knock, an
        invite to one of our users in a room we are in. We pass it on to the other servers.

        All checks, signatures included; the caller has checked what the event is. Raises what is wrong with
        it: also SoftFailed. The state before it: `state_before`.
        """
        room = await self._intake.room(room_id)
        checked = await self._checking.check(room.version, room_id, [pdu])
        for problem in checked.problems.values():
            raise problem
        event = parse_pdu(room.version, pdu) if not checked.events else checked.events[0]
        taken = await self._intake.take(room_id, [event], Source(origin, besides=origin))
        outcome = taken.get(event.event_id)
        if outcome is not None:
            raise outcome
        return event

    async def state_before(self, event_id: EventId) -> list[EventId]:
        """The IDs of the state before an event of a room we are in. Raises NotFound."""
        known = (await self._stored.known([event_id])).get(event_id)
        if known is None or known.state_nid is None:
            raise NotFound(f"{event_id} is not known here, or not the state before it")
        return await self._sets.ids(known.state_nid)

    async def accept_join(self, joined: RemoteJoin) -> Room:
        """Our own join of a room elsewhere, as send_join answered it: afterwards we are in the room.

        Raises AuthFailure, BadPdu, BadSignature, BadState..., with nothing but outliers kept.
        """
        return await self._joining.accept(joined)

    async def accept_outside(
        self, room_id: RoomId, version: RoomVersion, pdu: Pdu, *, stripped: Sequence[JsonObject]
    ) -> None:
        """A membership event of a local user in a room that this server is not in.

        An invite as it came in (its signatures were checked, ours was added), a knock that was accepted, or a
        leave (invite refused, knock taken back, or kick). `stripped` is shown to the user in sync.
        """
        await self._outside.accept(room_id, version, parse_pdu(version, pdu), stripped)

    async def leave_outside(self, room_id: RoomId, user_id: UserId) -> None:
        """Forget an invite or knock although no other server could be told."""
        await self._outside.leave(room_id, user_id)

    async def outside(self, room_id: RoomId, user_id: UserId) -> OutsideMembership | None:
        """What the user was shown of a room that this server is not in."""
        return await self._database.read(self._stores.received_rooms.outside, room_id, user_id)

    async def backfilled(
        self, room_id: RoomId, pdus: Sequence[Pdu], *, origin: ServerName
    ) -> list[TimelineEvent]:
        """History from before what we have, as /backfill answered it: those accepted, oldest first.

        Never changes the present. Raises CannotJudge when the state at its beginning cannot be had, or the
        room is still partial.
        """
        room = await self._intake.room(room_id)
        if self.is_partial(room_id):
            raise CannotJudge("The room's members are still being fetched")
        checked = await self._checking.check(room.version, room_id, pdus)
        async with self._intake.turns.hold(room_id):
            return await self._past.take(await self._intake.room(room_id), checked.events, origin)

    async def gaps(self, room_id: RoomId, *, upto_depth: int, limit: int = 20) -> list[Gap]:
        """Where history is missing at or below a depth, nearest first: what to backfill from."""
        room = await self._rooms.load(room_id)
        found = await self._past.gaps(room, upto_depth=upto_depth, limit=limit) if room.has_gaps else []
        return [Gap(*missing) for missing in found]

    def is_partial(self, room_id: RoomId) -> bool:
        """Are the room's members still being fetched?"""
        return self._partial.is_partial(room_id)

    async def complete(self, room_id: RoomId, *, within_s: float) -> bool:
        """Wait until all members are known, or for so long. False: they are not."""
        return await self._partial.wait(room_id, within_s)
