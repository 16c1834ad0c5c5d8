"""Rooms: everything that happens in one."""

from dataclasses import dataclass

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.errors import NotFound
from homeserver.protocol.ids import ServerName, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.services.account_data import AccountData
from homeserver.services.profiles import Profiles
from homeserver.services.push.evaluation import PushEvaluation
from homeserver.services.rooms.aliases import RoomAliases
from homeserver.services.rooms.creation import RoomCreation
from homeserver.services.rooms.directory import RoomDirectory
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.facts import RoomFacts
from homeserver.services.rooms.history import RoomHistory
from homeserver.services.rooms.membership import RoomMembership
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.sending import RoomSending
from homeserver.services.rooms.state import RoomState
from homeserver.services.rooms.transactions import Transactions
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.rooms.visibility import Visibility
from homeserver.services.rooms.writer import RoomWriter
from homeserver.services.streams import Streams
from homeserver.storage.room_stores import RoomStores


@dataclass(frozen=True, slots=True)
class RoomGround:
    """What the services of rooms stand on."""

    server_name: ServerName
    key: SigningKey
    default_version: str
    clock: Clock
    database: Database
    stores: RoomStores
    streams: Streams
    profiles: Profiles
    account_data: AccountData
    push: PushEvaluation


@dataclass(frozen=True, slots=True)
class RoomServices:
    """What the API and the other services ask of rooms."""

    rooms: Rooms
    events: Events
    writer: RoomWriter
    user_rooms: UserRooms
    facts: RoomFacts
    transactions: Transactions
    visibility: Visibility
    membership: RoomMembership
    creation: RoomCreation
    sending: RoomSending
    state: RoomState
    history: RoomHistory
    aliases: RoomAliases
    directory: RoomDirectory

    async def renew_profile(self, user_id: UserId) -> None:
        """Say the user's present name and picture in all their rooms."""
        for room_id in await self.user_rooms.joined(user_id):
            await self.membership.renew_profile(user_id, room_id)

    async def leave_all(self, user_id: UserId, _erase: bool) -> None:
        """Leave every room and turn down every invite: the account was closed."""
        for room_id, place in list((await self.user_rooms.load(user_id)).items()):
            if place.membership in ("join", "invite", "knock"):
                await self.membership.leave(user_id, room_id)


def room_services(ground: RoomGround) -> RoomServices:
    """All parts, built bottom-up."""
    database, stores, streams, server_name = (
        ground.database,
        ground.stores,
        ground.streams,
        ground.server_name,
    )
    rooms = Rooms(database, (stores.rooms, stores.state, stores.events), server_name)
    events = Events(database, stores.events)
    writer = RoomWriter(
        database=database, stores=stores, streams=streams, rooms=rooms, events=events, push=ground.push,
        clock=ground.clock, server_name=server_name, key=ground.key,
    )  # fmt: skip
    user_rooms = UserRooms(database, stores.rooms)
    writer.follow(user_rooms.note)
    shown = _Shown(ground)
    membership = RoomMembership(
        writer=writer, rooms=rooms, user_rooms=user_rooms, database=database, store=stores.rooms,
        server_name=server_name, profile_of=shown.profile_of, blocks=shown.blocks,
    )  # fmt: skip
    creation = RoomCreation(
        writer=writer, membership=membership, store=stores.rooms, profile_of=shown.profile_of,
        server_name=server_name, default_version=ground.default_version,
    )  # fmt: skip
    transactions = Transactions(database, stores.events, ground.clock)
    sending = RoomSending(
        writer=writer, rooms=rooms, events=events, transactions=transactions, membership=membership,
        database=database, store=stores.rooms, relations=stores.relations, server_name=server_name,
    )  # fmt: skip
    visibility = Visibility(database, stores.events)
    state = RoomState(
        database=database,
        rooms=rooms,
        events=events,
        visibility=visibility,
        store=stores.state,
        streams=streams,
    )
    history = RoomHistory(
        database=database, store=stores.events, relations=stores.relations, rooms=rooms, events=events,
        visibility=visibility, state=state, streams=streams,
    )  # fmt: skip
    aliases = RoomAliases(
        database=database, store=stores.rooms, rooms=rooms, sending=sending, server_name=server_name
    )
    return RoomServices(
        rooms, events, writer, user_rooms, RoomFacts(rooms, user_rooms, events, ground.clock), transactions,
        visibility, membership, creation, sending, state, history, aliases,
        RoomDirectory(database, stores.rooms, rooms),
    )  # fmt: skip


class _Shown:
    """What rooms take from accounts."""

    def __init__(self, ground: RoomGround) -> None:
        self._ground = ground

    async def profile_of(self, user_id: UserId) -> JsonObject:
        """{displayname?, avatar_url?} of a local user."""
        shown = await self._ground.database.look_up(self._ground.profiles.shown, user_id)
        content: JsonObject = {}
        if shown.display_name is not None:
            content["displayname"] = shown.display_name
        if shown.avatar_url is not None:
            content["avatar_url"] = shown.avatar_url
        return content

    async def blocks(self, user_id: UserId, _sender: UserId) -> bool:
        """https://spec.matrix.org/latest/client-server-api/#invite-permission"""
        try:
            content = await self._ground.account_data.get(user_id, event_types.INVITE_PERMISSION_CONFIG)
        except NotFound:
            return False
        config = orjson.loads(content)
        return isinstance(config, dict) and config.get("default_action") == "block"
