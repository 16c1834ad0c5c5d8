"""Profiles.

https://spec.matrix.org/latest/client-server-api/#profiles
"""

from typing import Protocol

from homeserver.api.client.asking_elsewhere import KnowsPeople, count_strangers
from homeserver.http.request import Request
from homeserver.protocol.errors import GuestAccessForbidden, MissingParam
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.profiles import DISPLAY_NAME, Profiles, check_key


class HasProfiles(KnowsPeople, Protocol):
    @property
    def profiles(self) -> Profiles: ...


async def profile(services: HasProfiles, request: Request, user_id: UserId) -> JsonObject:
    await _count(services, request, user_id)
    return await services.profiles.profile(user_id)


async def field(services: HasProfiles, request: Request, user_id: UserId, key: str) -> JsonObject:
    await _count(services, request, user_id)
    return {key: await services.profiles.field(user_id, key)}


async def _count(services: HasProfiles, request: Request, user_id: UserId) -> None:
    if services.profiles.asks_elsewhere(user_id):
        await count_strangers(services, request)


async def put_field(services: HasProfiles, request: Request, user_id: UserId, key: str) -> JsonObject:
    _require_may_change(request, user_id, key)
    check_key(key)
    body = request.json_object()
    if key not in body:
        raise MissingParam(f"The body has no {key!r}")
    await services.profiles.put(user_id, key, body[key])
    return {}


async def delete_field(services: HasProfiles, request: Request, user_id: UserId, key: str) -> JsonObject:
    _require_may_change(request, user_id, key)
    await services.profiles.remove(user_id, key)
    return {}


def _require_may_change(request: Request, user_id: UserId, key: str) -> None:
    request.require_self(user_id)
    if request.requester.is_guest and key != DISPLAY_NAME:
        raise GuestAccessForbidden("Guests may change their display name only")
