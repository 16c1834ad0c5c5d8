"""Questions about aliases, public rooms, spaces and users, asked by other servers.

https://spec.matrix.org/latest/server-server-api/#querying-for-information
"""

from typing import Protocol

import msgspec

from homeserver.api.room_directory import listing_query, search_query, shown
from homeserver.http.request import Request
from homeserver.protocol.errors import MissingToken, NotFound
from homeserver.protocol.ids import RoomId, ServerName, UserId, parse_room_alias, parse_user_id
from homeserver.protocol.json_values import JsonObject
from homeserver.services.accounts import AccountServices
from homeserver.services.federation.answering import Answering


class HasAnswering(Protocol):
    @property
    def answering(self) -> Answering: ...

    @property
    def accounts(self) -> AccountServices: ...


class KeyQuery(msgspec.Struct):
    device_keys: dict[str, list[str]]


class KeyClaim(msgspec.Struct):
    one_time_keys: dict[str, dict[str, str]]


async def public_rooms(services: HasAnswering, request: Request) -> JsonObject:
    return shown(await services.answering.queries.public_rooms(listing_query(request)))


async def search_public_rooms(services: HasAnswering, request: Request) -> JsonObject:
    return shown(await services.answering.queries.public_rooms(search_query(request)))


async def hierarchy(services: HasAnswering, request: Request, room_id: RoomId) -> JsonObject:
    suggested_only = request.query_bool("suggested_only")
    return await services.answering.queries.hierarchy(
        ServerName(request.origin), room_id, suggested_only=suggested_only
    )


async def directory(services: HasAnswering, request: Request) -> JsonObject:
    answer = await services.answering.queries.alias(parse_room_alias(request.query_required("room_alias")))
    return {"room_id": answer.room_id, "servers": list(answer.servers)}


async def profile(services: HasAnswering, request: Request) -> JsonObject:
    user_id = parse_user_id(request.query_required("user_id"))
    return await services.answering.queries.profile(user_id, request.query_one("field"))


async def query(services: HasAnswering, request: Request, query_type: str) -> JsonObject:
    """Kinds of queries that the specification leaves open."""
    raise NotFound(f"This server knows no query of the kind {query_type[:100]!r}")


async def devices(services: HasAnswering, request: Request, user_id: UserId) -> JsonObject:
    return await services.answering.queries.devices(ServerName(request.origin), user_id)


async def query_keys(services: HasAnswering, request: Request) -> JsonObject:
    return await services.answering.queries.keys(request.json(KeyQuery).device_keys)


async def claim_keys(services: HasAnswering, request: Request) -> JsonObject:
    request.json(KeyClaim)
    return await services.answering.queries.claim()


async def openid_userinfo(services: HasAnswering, request: Request) -> JsonObject:
    """Whose OpenID token it is: the token is all that the asking service needs to show."""
    token = request.query_one("access_token")
    if not token:
        raise MissingToken("access_token is missing")
    return {"sub": await services.accounts.openid.user_of(token)}
