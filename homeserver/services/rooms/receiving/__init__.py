"""Events of other servers: checked, placed in their room, and told like our own.

The doors. What is behind them: `checking` (form, signatures, hash), `known_events` (what is stored),
`state_sets` (state where the room forks), `fetching` (what is missing), `intake` (live events),
`joining` and `partial` (our own joins of rooms elsewhere), `past` (history), `outside` (invites to rooms
we are not in), `closing` (dummy events that close forks).
https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.rooms.receiving.ports import CannotJudge, Keys, NoRemote, NotInRoomHere, Remote
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.timeline_event import TimelineEvent

__all__ = ["CannotJudge", "Gap", "Keys", "NoRemote", "NotInRoomHere", "Receiving", "Remote", "RemoteJoin"]

Pdu = Mapping[str, Json]


class Gap(NamedTuple):
    """An event we do not have, though one that we have follows it: `depth` and `nid` are of that one."""

    event_id: EventId
    depth: int
    nid: int


class RemoteJoin(NamedTuple):
    """What send_join answered. `join`: our user's join, as it was signed in the end.

    `is_partial`: the memberships were left out (`members_omitted`); they are fetched afterwards, from any of
    `servers_in_room`, by work that survives restarts.
    """

    room_id: RoomId
    version: RoomVersion
    join: Pdu
    state: Sequence[Pdu]
    auth_chain: Sequence[Pdu]
    origin: ServerName
    servers_in_room: Sequence[ServerName] = ()
    is_partial: bool = False


class Receiving:
    """Every event that this server did not make itself comes in here."""

    async def start(self) -> None:
        """Go on with joins that were not complete when the server stopped."""

    async def receive(
        self, room_id: RoomId, pdus: Sequence[Pdu], *, origin: ServerName
    ) -> dict[EventId, MatrixError | None]:
        """Live events of one room, in any order: what became of each.

        None: accepted, or known already, or soft failed (stored and not shown). AuthFailure, BadPdu,
        BadSignature...: refused for good. CannotJudge: nothing was stored, try again later.
        An entry that is no event at all (it has no ID) is left out. Raises NotInRoomHere.
        """
        raise NotImplementedError

    async def accept_signed(self, room_id: RoomId, pdu: Pdu, *, origin: ServerName) -> Event:
        """One finished event that a server hands to us as resident: send_join, send_leave, send_knock, an
        invite to one of our users in a room we are in.

        All checks, signatures included; the caller has checked what the event is. Raises what is wrong with
        it: also Forbidden when it is soft failed. The state before it: `state_before`.
        """
        raise NotImplementedError

    async def state_before(self, event_id: EventId) -> list[EventId]:
        """The IDs of the state before an event of a room we are in. Raises NotFound."""
        raise NotImplementedError

    async def accept_join(self, joined: RemoteJoin) -> Room:
        """Our own join of a room elsewhere, as send_join answered it: afterwards we are in the room.

        Raises AuthFailure, BadPdu, BadSignature..., with nothing but outliers kept.
        """
        raise NotImplementedError

    async def accept_outside(
        self, room_id: RoomId, version: RoomVersion, pdu: Pdu, *, stripped: Sequence[JsonObject]
    ) -> None:
        """A membership event of a local user in a room that this server is not in.

        An invite as it came in (its signatures were checked, ours was added), a knock that was accepted, or a
        leave (invite refused, knock taken back, or kick). `stripped` is shown to the user in sync.
        """
        raise NotImplementedError

    async def leave_outside(self, room_id: RoomId, user_id: UserId) -> None:
        """Forget an invite or knock although no other server could be told."""
        raise NotImplementedError

    async def backfilled(
        self, room_id: RoomId, pdus: Sequence[Pdu], *, origin: ServerName
    ) -> list[TimelineEvent]:
        """History from before what we have, as /backfill answered it: those accepted, oldest first.

        Never changes the present. Raises CannotJudge when the state at its beginning cannot be had.
        """
        raise NotImplementedError

    async def gaps(self, room_id: RoomId, *, upto_depth: int, limit: int = 20) -> list[Gap]:
        """Where history is missing at or below a depth, nearest first: what to backfill from."""
        raise NotImplementedError

    def is_partial(self, room_id: RoomId) -> bool:
        """Are the room's members still being fetched?"""
        raise NotImplementedError

    async def complete(self, room_id: RoomId, *, within_s: float) -> bool:
        """Wait until all members are known, or for so long. False: they are not."""
        raise NotImplementedError

    async def close_forks(self, room_id: RoomId) -> None:
        """Write dummy events until at most ten forward extremities are left, if a local member may."""
        raise NotImplementedError
