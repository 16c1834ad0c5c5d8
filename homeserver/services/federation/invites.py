"""Invites from other servers to users of ours, and third-party invites that others ask us to complete.

https://spec.matrix.org/latest/server-server-api/#inviting-to-a-room
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol import event_types
from homeserver.protocol.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    InviteBlocked,
    MatrixError,
)
from homeserver.protocol.events import Event, parse_pdu
from homeserver.protocol.ids import RoomId, ServerName, UserId, domain_of, is_user_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signatures import sign_event
from homeserver.remote.errors import RemoteError
from homeserver.services.federation.asking import AskingServers
from homeserver.services.federation.handed_in import HandedIn, looking_at_signatures, membership_event
from homeserver.services.rate_limits import RateLimits
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import InviteBlocks, RoomUnreachable
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.stripped_state import MOST_STRIPPED, stripped
from homeserver.services.rooms.third_party_invites import Proof
from homeserver.storage.accounts import AccountStore

logger = logging.getLogger(__name__)

MOST_SERVERS_DESCRIBING = 10
"""Whose events may describe one room: each may mean a request for keys."""


class Keys(Protocol):
    """`KeyRing`."""

    async def check_event(self, version: RoomVersion, pdu: Mapping[str, Json]) -> None:
        """Raises unless all required servers have signed the event."""

    async def check_events(
        self, version: RoomVersion, pdus: Sequence[Mapping[str, Json]]
    ) -> Sequence[MatrixError | None]:
        """What is wrong with each."""


class TakesInvites(Protocol):
    """`Receiving`."""

    async def accept_outside(
        self,
        room_id: RoomId,
        version: RoomVersion,
        pdu: Mapping[str, Json],
        *,
        stripped: Sequence[JsonObject],
    ) -> None:
        """A membership of a local user in a room this server is not in."""


class CompletesInvites(Protocol):
    """`ThirdPartyInvites`."""

    async def complete(self, room_id: RoomId, target: UserId, proof: Proof) -> None:
        """Invite a user for whom an identity server has signed."""


class NotNow(MatrixError):
    """What others have to say is missing. Status 500 and above would tell that this server is not well."""

    status, errcode = 400, "M_CONNECTION_FAILED"


class Bound(NamedTuple):
    """An invite that waited for an address to be somebody's."""

    room_id: RoomId
    proof: Proof


class Ports(NamedTuple):
    """What invites need of other services."""

    keys: Keys
    receiving: TakesInvites
    third_party_invites: CompletesInvites
    accounts: AccountStore
    blocks: InviteBlocks
    limits: RateLimits


class Invites:
    """Takes invites, or refuses them."""

    def __init__(self, ground: RoomGround, rooms: Rooms, asking: AskingServers, ports: Ports) -> None:
        self._database = ground.database
        self._server_name = ground.server_name
        self._key = ground.key
        self._rooms = rooms
        self._asking = asking
        self._ports = ports

    async def take(
        self, handed_in: HandedIn, version_name: str, room_state: Sequence[JsonObject]
    ) -> JsonObject:
        """The invite with our signature.

        Raises IncompatibleRoomVersion, InvalidParam, Forbidden, InviteBlocked, LimitExceeded.
        """
        limits = self._ports.limits
        limits.spend("invites_from_server", handed_in.origin)
        version = ROOM_VERSIONS.get(version_name)
        if version is None:
            raise IncompatibleRoomVersion(
                f"Room version {version_name[:64]!r} is not supported here", room_version=version_name[:64]
            )
        event = membership_event(version, handed_in, "invite")
        await self._check_target(event)
        limits.spend("invites_into_room", (handed_in.origin, event.room_id))
        limits.spend("invites_to_user", str(event.state_key))
        with looking_at_signatures():
            await self._ports.keys.check_event(version, handed_in.pdu)
        described = await self._described(version, event, room_state)
        signed = sign_event(version, handed_in.pdu, self._server_name, self._key)
        if not await self._is_in(handed_in.origin, event.room_id):
            await self._ports.receiving.accept_outside(event.room_id, version, signed, stripped=described)
        return signed

    async def exchange(self, origin: ServerName, room_id: RoomId, body: JsonObject) -> None:
        """A third-party invite of one of ours was accepted: invite in their name.

        Raises InvalidParam, Forbidden; NotNow when the key cannot be checked, or the user's server not asked.
        """
        await self._asking.room(origin, room_id)
        sender, target, content = body.get("sender"), body.get("state_key"), body.get("content")
        if body.get("type") != event_types.MEMBER or body.get("room_id") != room_id:
            raise InvalidParam(f"This is no membership event of {room_id}")
        if not isinstance(content, dict) or content.get("membership") != "invite":
            raise InvalidParam("This is not an invite")
        invite = content.get("third_party_invite")
        signed = invite.get("signed") if isinstance(invite, dict) else None
        if not isinstance(signed, dict):
            raise InvalidParam("content.third_party_invite.signed is missing")
        if not _is_user(sender) or not _is_user(target):
            raise InvalidParam("sender and state_key are user IDs")
        if domain_of(str(target)) != origin:
            raise Forbidden(f"{target} is not a user of {origin}")
        if domain_of(str(sender)) != self._server_name:
            raise Forbidden(f"{sender} is not a user of this server")
        proof = Proof(UserId(str(sender)), signed)
        try:
            await self._ports.third_party_invites.complete(room_id, UserId(str(target)), proof)
        except RemoteError as error:
            raise NotNow(error.message) from error

    async def bind(self, user_id: UserId, invites: Sequence[Bound]) -> None:
        """An identity server says that an address is the user's, for whom invites wait.

        Nobody has signed that, but each invite is signed. Raises InvalidParam; RemoteError when one of them
        is to be tried again: identity servers do.
        """
        if domain_of(user_id) != self._server_name:
            raise InvalidParam(f"{user_id} is not a user of this server")
        account = await self._database.look_up(self._ports.accounts.account, user_id)
        if account is None or account.is_deactivated:
            return
        failure: RemoteError | None = None
        for room_id, proof in invites:
            try:
                await self._ports.third_party_invites.complete(room_id, user_id, proof)
            except MatrixError as error:
                logger.info("%s is not invited to %s after all: %s", user_id, room_id, error)
                if isinstance(error, RemoteError | RoomUnreachable):
                    failure = RemoteError(error.message)
        if failure is not None:
            raise failure

    async def _check_target(self, event: Event) -> None:
        """Is the invite for a user of ours, who takes invites from the sender?"""
        target = str(event.state_key)
        if not is_user_id(target) or domain_of(target) != self._server_name:
            raise InvalidParam(f"{target[:300]!r} is not a user of this server")
        account = await self._database.look_up(self._ports.accounts.account, UserId(target))
        if account is None or account.is_deactivated:
            raise Forbidden(f"There is no user {target}")
        if await self._ports.blocks(UserId(target), event.sender):
            raise InviteBlocked(f"{target} does not accept invites from {event.sender}")

    async def _is_in(self, origin: ServerName, room_id: RoomId) -> bool:
        """Is this server in the room? Then the invite comes with other events, and is judged there."""
        try:
            room = await self._rooms.load(room_id)
        except RoomNotFound:
            return False
        if room.joined_local:
            self._asking.check_acl(room, origin)
        return bool(room.joined_local)

    async def _described(
        self, version: RoomVersion, invite: Event, room_state: Sequence[JsonObject]
    ) -> list[JsonObject]:
        """The stripped state to show. From version 12 on its events must be whole and signed."""
        if len(room_state) > MOST_STRIPPED:
            raise InvalidParam(f"invite_room_state has at most {MOST_STRIPPED} events")
        if version.room_id_is_create_hash:
            await self._check_described(version, invite, room_state)
        described = [entry for event in room_state if (entry := stripped(event)) is not None]
        if not any(entry["type"] == event_types.CREATE for entry in described):
            logger.info("The invite %s came without the create event of its room", invite.event_id)
        return described

    async def _check_described(
        self, version: RoomVersion, invite: Event, room_state: Sequence[JsonObject]
    ) -> None:
        """Everything that costs nothing comes first: who invites chooses whose keys are fetched."""
        try:
            events = [parse_pdu(version, pdu) for pdu in room_state]
        except MatrixError as error:
            raise InvalidParam(f"An event in invite_room_state is not valid: {error}") from error
        for event in events:
            if event.room_id != invite.room_id:
                raise InvalidParam(f"An event in invite_room_state is of {event.room_id}")
        if not any((event.type, event.state_key) == (event_types.CREATE, "") for event in events):
            raise InvalidParam("invite_room_state lacks the create event")
        if len({domain_of(event.sender) for event in events}) > MOST_SERVERS_DESCRIBING:
            raise InvalidParam(f"invite_room_state has events of more than {MOST_SERVERS_DESCRIBING} servers")
        for problem in await self._ports.keys.check_events(version, [event.pdu for event in events]):
            if problem is not None:
                raise InvalidParam(f"An event in invite_room_state is not valid: {problem}")


def _is_user(value: Json) -> bool:
    return isinstance(value, str) and is_user_id(value)
