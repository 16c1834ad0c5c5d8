"""What administrators see of accounts and do to them.

https://spec.matrix.org/latest/client-server-api/#server-administration
"""

import msgspec

from homeserver.api.client.account import HasAccounts
from homeserver.api.client.devices import HasDevices
from homeserver.http.request import Request
from homeserver.protocol.errors import Forbidden
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.storage.devices import Device


class Lock(msgspec.Struct):
    locked: bool


class Suspend(msgspec.Struct):
    suspended: bool


async def who_is(services: HasDevices, request: Request, user_id: UserId) -> JsonObject:
    """For administrators, and for users about themselves."""
    if not request.requester.is_admin and request.requester.user_id != user_id:
        raise Forbidden("Only administrators may look up others")
    devices = await services.devices.of_user(user_id)
    return {"user_id": user_id, "devices": {device.device_id: _sessions(device) for device in devices}}


async def is_locked(services: HasAccounts, request: Request, user_id: UserId) -> JsonObject:
    return {"locked": await services.accounts.moderation.is_locked(request.requester, user_id)}


async def lock(services: HasAccounts, request: Request, user_id: UserId) -> JsonObject:
    locked = request.json(Lock).locked
    await services.accounts.moderation.lock(request.requester, user_id, is_locked=locked)
    return {"locked": locked}


async def is_suspended(services: HasAccounts, request: Request, user_id: UserId) -> JsonObject:
    return {"suspended": await services.accounts.moderation.is_suspended(request.requester, user_id)}


async def suspend(services: HasAccounts, request: Request, user_id: UserId) -> JsonObject:
    suspended = request.json(Suspend).suspended
    await services.accounts.moderation.suspend(request.requester, user_id, is_suspended=suspended)
    return {"suspended": suspended}


def _sessions(device: Device) -> JsonObject:
    if device.last_seen_ms is None:
        return {"sessions": [{"connections": []}]}
    connection: JsonObject = {
        "ip": device.last_seen_ip,
        "last_seen": device.last_seen_ms,
        "user_agent": device.last_seen_user_agent or "",
    }
    return {"sessions": [{"connections": [connection]}]}
