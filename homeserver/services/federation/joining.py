"""The resident's side of coming and going: others ask for a template, complete and sign it, hand it in.

https://spec.matrix.org/latest/server-server-api/#joining-rooms
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol import event_types
from homeserver.protocol.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
)
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.signatures import sign_event
from homeserver.runtime.database import Transaction
from homeserver.services.federation.asking import AskingServers, servers_in
from homeserver.services.federation.handed_in import (
    HandedIn,
    check_own_user,
    looking_at_signatures,
    membership_event,
)
from homeserver.services.rooms.drafting import Drafting
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.heroes import names_other_than
from homeserver.services.rooms.restricted_joins import AUTHORISED_VIA, RestrictedJoins, Verdict
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.stripped_state import STRIPPED
from homeserver.services.rooms.writer import Proposal
from homeserver.storage.event_graph import EventGraphStore, StoredPdu

_NOT_IN_TEMPLATES = ("event_id", "hashes", "signatures", "unsigned")


class TakesSigned(Protocol):
    """`Receiving`."""

    async def accept_signed(self, room_id: RoomId, pdu: Mapping[str, Json], *, origin: ServerName) -> Event:
        """All checks, signatures included. Raises what is wrong with the event."""


class Template(NamedTuple):
    """An event to be completed and signed by who asked."""

    room_version: str
    event: JsonObject


class Joined(NamedTuple):
    """The room before the join. `servers_in_room` is given when members were left out."""

    event: Event
    state: list[StoredPdu]
    auth_chain: list[StoredPdu]
    members_omitted: bool
    servers_in_room: list[ServerName]


class Joining:
    """Answers make_join, send_join, make_leave, send_leave, make_knock and send_knock."""

    def __init__(
        self, ground: RoomGround, graph: EventGraphStore, asking: AskingServers, drafting: Drafting,
        restricted: RestrictedJoins, receiving: TakesSigned,
    ) -> None:  # fmt: skip
        self._database = ground.database
        self._server_name = ground.server_name
        self._key = ground.key
        self._graph = graph
        self._asking = asking
        self._drafting = drafting
        self._restricted = restricted
        self._receiving = receiving

    async def make_join(
        self, origin: ServerName, room_id: RoomId, user_id: UserId, versions: Collection[str]
    ) -> Template:
        """Raises NotFound, IncompatibleRoomVersion, Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin."""
        check_own_user(origin, user_id)
        room = await self._asking.complete_room(origin, room_id)
        _check_version(room, versions)
        content: JsonObject = {"membership": "join"}
        if self._restricted.needs_condition(room, user_id):
            content[AUTHORISED_VIA] = await self._authoriser(room, user_id)
        return await self._template(room, user_id, content)

    async def send_join(self, handed_in: HandedIn, *, omit_members: bool) -> Joined:
        """Take the join into the room, signed by us where needed. Raises as `make_join`, and InvalidParam."""
        room = await self._asking.complete_room(handed_in.origin, handed_in.room_id)
        event = membership_event(room.version, handed_in, "join")
        servers = servers_in(room)
        pdu = handed_in.pdu
        if await self._needs_our_signature(room, event):
            pdu = sign_event(room.version, pdu, self._server_name, self._key)
        with looking_at_signatures():
            accepted = await self._receiving.accept_signed(room.room_id, pdu, origin=handed_in.origin)
        await self._check_standing(handed_in, event, "join")
        shown = names_other_than(event.sender, room) if omit_members and not _is_named(room) else ()
        state, chain = await self._database.read(self._before, event.event_id, omit_members, tuple(shown))
        return Joined(accepted, state, chain, omit_members, servers if omit_members else [])

    async def make_leave(self, origin: ServerName, room_id: RoomId, user_id: UserId) -> Template:
        """To leave, refuse an invite or take back a knock. Raises NotFound, Forbidden."""
        check_own_user(origin, user_id)
        room = await self._asking.complete_room(origin, room_id)
        return await self._template(room, user_id, {"membership": "leave"})

    async def send_leave(self, handed_in: HandedIn) -> None:
        """Raises NotFound, Forbidden, InvalidParam."""
        await self._take(handed_in, "leave")

    async def make_knock(
        self, origin: ServerName, room_id: RoomId, user_id: UserId, versions: Collection[str]
    ) -> Template:
        """Raises NotFound, IncompatibleRoomVersion, Forbidden."""
        check_own_user(origin, user_id)
        room = await self._asking.complete_room(origin, room_id)
        _check_version(room, versions)
        return await self._template(room, user_id, {"membership": "knock"})

    async def send_knock(self, handed_in: HandedIn) -> list[bytes]:
        """Take the knock; the events that describe the room to who stands before it, as signed."""
        room = await self._take(handed_in, "knock")
        described = await self._drafting.recall(room, [(type_, "") for type_ in STRIPPED])
        return [event.raw for event in described.values()]

    async def _take(self, handed_in: HandedIn, membership: str) -> Room:
        room = await self._asking.complete_room(handed_in.origin, handed_in.room_id)
        event = membership_event(room.version, handed_in, membership)
        with looking_at_signatures():
            await self._receiving.accept_signed(room.room_id, handed_in.pdu, origin=handed_in.origin)
        if membership != "leave":
            await self._check_standing(handed_in, event, membership)
        return room

    async def _check_standing(self, handed_in: HandedIn, event: Event, membership: str) -> None:
        """Raises Forbidden unless the event made its sender what they are: it may be an old one once more."""
        room = await self._asking.room(handed_in.origin, handed_in.room_id)
        if room.membership(event.sender) != membership:
            raise Forbidden(f"{event.sender} is no longer what {event.event_id} made them in {room.room_id}")

    async def _template(self, room: Room, user_id: UserId, content: JsonObject) -> Template:
        event = await self._drafting.draft(
            room, Proposal(event_types.MEMBER, user_id, content, state_key=user_id)
        )
        pdu = {name: value for name, value in event.pdu.items() if name not in _NOT_IN_TEMPLATES}
        pdu["origin"] = self._server_name  # the specification wants it here, if no longer in events
        return Template(room.version.version, pdu)

    async def _authoriser(self, room: Room, user_id: UserId) -> UserId:
        """A user of ours who can let this one in, who meets a condition."""
        verdict = await self._restricted.verdict(room, user_id)
        if verdict is Verdict.UNKNOWN:
            raise UnableToAuthoriseJoin(f"This server cannot tell whether {user_id} meets a condition")
        if verdict is Verdict.NOT_MET:
            raise Forbidden(f"{user_id} is in none of the rooms whose members may join {room.room_id}")
        authoriser = self._restricted.authoriser(room)
        if authoriser is None:
            raise UnableToGrantJoin(f"Nobody of this server may invite to {room.room_id}")
        return authoriser

    async def _needs_our_signature(self, room: Room, event: Event) -> bool:
        """Is it a restricted join that one of our users vouches for? Then the conditions must hold now."""
        authoriser = event.content.get(AUTHORISED_VIA)
        if not room.version.restricted or not isinstance(authoriser, str) or ":" not in authoriser:
            return False
        if domain_of(authoriser) != self._server_name:
            return False
        if self._restricted.needs_condition(room, event.sender):
            await self._authoriser(room, event.sender)
        if room.membership(UserId(authoriser)) != "join":
            raise Forbidden(f"{authoriser}, who is to authorise the join, is not in the room")
        return True

    def _before(
        self, txn: Transaction, event_id: EventId, omit_members: bool, shown: Sequence[UserId]
    ) -> tuple[list[StoredPdu], list[StoredPdu]]:
        """State and auth chain as send_join answers them."""
        (join,) = self._graph.by_ids(txn, [event_id])
        if not omit_members:
            state = self._graph.state_at(txn, join.state_nid or 0)
            return state, self._graph.auth_chain(txn, [*state, join])
        state = self._graph.described_at(txn, join.state_nid or 0, shown)
        chain = self._graph.auth_chain(txn, [*state, join])
        in_state = {pdu.event_id for pdu in state}
        return state, [pdu for pdu in chain if pdu.event_id not in in_state]


def _check_version(room: Room, versions: Collection[str]) -> None:
    if room.version.version not in versions:
        raise IncompatibleRoomVersion(
            f"{room.room_id} has room version {room.version.version}, which your server does not name",
            room_version=room.version.version,
        )


def _is_named(room: Room) -> bool:
    name = room.content_of(event_types.NAME).get("name")
    return bool(name or room.content_of(event_types.CANONICAL_ALIAS).get("alias"))
