"""Making rooms, their aliases, and the directory.

https://spec.matrix.org/latest/client-server-api/#rooms-1
"""

from typing import Any, Literal, Protocol

import msgspec

from homeserver.api.client.asking_elsewhere import KnowsPeople, count_strangers, require_user
from homeserver.api.client.events import HasRooms
from homeserver.api.client.third_party_invites import ByAddress, HasThirdPartyInvites, count
from homeserver.api.room_directory import listing_query, search_query, shown
from homeserver.http.request import Request
from homeserver.protocol.ids import (
    RoomAlias,
    RoomId,
    ServerName,
    domain_of,
    parse_room_id,
    parse_server_name,
)
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.creation import NewRoom, StateItem
from homeserver.services.rooms.directory import DirectoryQuery

JsonDict = dict[str, Any]


class HasDirectory(HasRooms, KnowsPeople, Protocol):
    """Rooms, and who may ask others about theirs."""


class InitialState(msgspec.Struct):
    type: str
    content: JsonDict
    state_key: str = ""


class CreateRoom(msgspec.Struct):
    """Null stands for absent, as some clients send it."""

    visibility: Literal["public", "private"] | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] | None = None
    invite_3pid: list[ByAddress] | None = None
    room_version: str | None = None
    creation_content: JsonDict | None = None
    initial_state: list[InitialState] | None = None
    preset: Literal["private_chat", "public_chat", "trusted_private_chat"] | None = None
    is_direct: bool | None = None
    power_level_content_override: JsonDict | None = None


class NewAlias(msgspec.Struct):
    room_id: str


class Upgrade(msgspec.Struct):
    new_version: str
    additional_creators: list[str] = []


class Listing(msgspec.Struct):
    visibility: Literal["public", "private"] = "public"


async def create(services: HasThirdPartyInvites, request: Request) -> JsonObject:
    body = request.json(CreateRoom, allow_empty=True)
    wanted = NewRoom(
        visibility=body.visibility or "private",
        room_alias_name=body.room_alias_name,
        name=body.name,
        topic=body.topic,
        invite=body.invite or (),
        invite_3pid=[invited.wanted() for invited in body.invite_3pid or ()],
        room_version=body.room_version,
        creation_content=body.creation_content or {},
        initial_state=[
            StateItem(item.type, item.content, item.state_key) for item in body.initial_state or ()
        ],
        preset=body.preset,
        is_direct=bool(body.is_direct),
        power_level_content_override=body.power_level_content_override or {},
    )
    here = f":{services.rooms.aliases.server_name}"
    others = [user_id for user_id in wanted.invite if not user_id.endswith(here)]
    if others:  # each of them means asking another server, as an invite does
        services.rate_limits.spend("invites", request.requester.user_id, len(others))
    for invited in wanted.invite_3pid:
        services.rooms.third_party_invites.check_trusted(invited.server)
    if wanted.invite_3pid:
        count(services, request, len(wanted.invite_3pid))
    return {"room_id": await services.rooms.creation.create(request.requester.user_id, wanted)}


async def upgrade(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json(Upgrade)
    new = await services.rooms.upgrades.upgrade(
        request.requester.user_id, room_id, body.new_version, body.additional_creators
    )
    return {"replacement_room": new}


async def alias(services: HasDirectory, request: Request, room_alias: RoomAlias) -> JsonObject:
    if domain_of(room_alias) != services.rooms.aliases.server_name:
        await count_strangers(services, request)
    located = await services.rooms.aliases.locate(room_alias)
    return {"room_id": located.room_id, "servers": list(located.servers)}


async def put_alias(services: HasRooms, request: Request, room_alias: RoomAlias) -> JsonObject:
    room_id = parse_room_id(request.json(NewAlias).room_id)
    await services.rooms.aliases.add(request.requester.user_id, room_alias, room_id)
    return {}


async def delete_alias(services: HasRooms, request: Request, room_alias: RoomAlias) -> JsonObject:
    requester = request.requester
    await services.rooms.aliases.remove(requester.user_id, room_alias, is_admin=requester.is_admin)
    return {}


async def room_aliases(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    return {"aliases": await services.rooms.aliases.of_room(request.requester.user_id, room_id)}


async def visibility(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    return {"visibility": await services.rooms.directory.visibility(room_id)}


async def put_visibility(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    public = request.json(Listing, allow_empty=True).visibility == "public"
    requester = request.requester
    await services.rooms.directory.set_visibility(
        requester.user_id, room_id, public=public, is_admin=requester.is_admin
    )
    return {}


async def public_rooms(services: HasDirectory, request: Request) -> JsonObject:
    return await _page(services, request, listing_query(request))


async def search_public_rooms(services: HasDirectory, request: Request) -> JsonObject:
    return await _page(services, request, search_query(request))


def _search(query: DirectoryQuery) -> JsonObject:
    """The query as another server takes it."""
    search: JsonObject = {}
    if query.limit is not None:
        search["limit"] = query.limit
    if query.since is not None:
        search["since"] = query.since
    filter_: JsonObject = {}
    if query.search:
        filter_["generic_search_term"] = query.search
    if query.room_types is not None:
        filter_["room_types"] = list(query.room_types)
    if filter_:
        search["filter"] = filter_
    return search


async def _page(services: HasDirectory, request: Request, query: DirectoryQuery) -> JsonObject:
    server = request.query_one("server")
    if server is not None and parse_server_name(server) != services.rooms.aliases.server_name:
        await require_user(services, request)
        return await services.rooms.remote_directory.public_rooms(ServerName(server), _search(query))
    return shown(await services.rooms.directory.page(query))
