"""Account data and room tags.

https://spec.matrix.org/latest/client-server-api/#client-config
"""

from typing import Protocol

import orjson

from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.account_data import AccountData


class HasAccountData(Protocol):
    @property
    def account_data(self) -> AccountData: ...


async def get(services: HasAccountData, request: Request, user_id: UserId, type_: str) -> RawJson:
    request.require_self(user_id)
    return RawJson(await services.account_data.get(user_id, type_))


async def put(services: HasAccountData, request: Request, user_id: UserId, type_: str) -> JsonObject:
    request.require_self(user_id)
    await services.account_data.put(user_id, type_, orjson.dumps(request.json_object()))
    return {}


async def get_of_room(
    services: HasAccountData, request: Request, user_id: UserId, room_id: RoomId, type_: str
) -> RawJson:
    request.require_self(user_id)
    return RawJson(await services.account_data.get(user_id, type_, room_id))


async def put_of_room(
    services: HasAccountData, request: Request, user_id: UserId, room_id: RoomId, type_: str
) -> JsonObject:
    request.require_self(user_id)
    content = orjson.dumps(request.json_object())
    await services.account_data.put(user_id, type_, content, room_id=room_id)
    return {}


async def tags(services: HasAccountData, request: Request, user_id: UserId, room_id: RoomId) -> JsonObject:
    request.require_self(user_id)
    return {"tags": await services.account_data.tags(user_id, room_id)}


async def put_tag(
    services: HasAccountData, request: Request, user_id: UserId, room_id: RoomId, tag: str
) -> JsonObject:
    request.require_self(user_id)
    info = request.json_object(allow_empty=True)
    await services.account_data.add_tag(user_id, room_id, tag, info=info)
    return {}


async def delete_tag(
    services: HasAccountData, request: Request, user_id: UserId, room_id: RoomId, tag: str
) -> JsonObject:
    request.require_self(user_id)
    await services.account_data.remove_tag(user_id, room_id, tag)
    return {}
