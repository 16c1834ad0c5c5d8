"""Uploading filters, and reading them back.

https://spec.matrix.org/latest/client-server-api/#filtering
"""

from typing import Protocol

from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.filters import Filters


class HasFilters(Protocol):
    @property
    def filters(self) -> Filters: ...


async def upload(services: HasFilters, request: Request, user_id: UserId) -> JsonObject:
    request.require_self(user_id)
    return {"filter_id": await services.filters.upload(user_id, request.json_object())}


async def get(services: HasFilters, request: Request, user_id: UserId, filter_id: str) -> RawJson:
    request.require_self(user_id)
    return RawJson(await services.filters.definition(user_id, filter_id))
