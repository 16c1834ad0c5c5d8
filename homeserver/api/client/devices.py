"""Devices of the requester.

https://spec.matrix.org/latest/client-server-api/#device-management
"""

from typing import Protocol

import msgspec

from homeserver.api.client.account import action_of
from homeserver.http.request import Request
from homeserver.protocol.ids import DeviceId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.devices.devices import Devices
from homeserver.storage.devices import Device


class HasDevices(Protocol):
    @property
    def devices(self) -> Devices: ...


class Rename(msgspec.Struct):
    display_name: str | None = None


class DeleteDevices(msgspec.Struct):
    devices: list[str]


async def devices(services: HasDevices, request: Request) -> JsonObject:
    return {
        "devices": [_shown(device) for device in await services.devices.of_user(request.requester.user_id)]
    }


async def device(services: HasDevices, request: Request, device_id: DeviceId) -> JsonObject:
    return _shown(await services.devices.device(request.requester.user_id, device_id))


async def rename(services: HasDevices, request: Request, device_id: DeviceId) -> JsonObject:
    body = request.json(Rename)
    await services.devices.rename(request.requester.user_id, device_id, body.display_name)
    return {}


async def delete(services: HasDevices, request: Request, device_id: DeviceId) -> JsonObject:
    await services.devices.delete(request.requester.user_id, [device_id], action_of(request))
    return {}


async def delete_many(services: HasDevices, request: Request) -> JsonObject:
    device_ids = [DeviceId(device_id) for device_id in request.json(DeleteDevices).devices]
    await services.devices.delete(request.requester.user_id, device_ids, action_of(request))
    return {}


def _shown(device: Device) -> JsonObject:
    """A device as its owner sees it: what is not known is left out."""
    shown: JsonObject = {"device_id": device.device_id}
    if device.display_name is not None:
        shown["display_name"] = device.display_name
    if device.last_seen_ms is not None:
        shown["last_seen_ts"] = device.last_seen_ms
        shown["last_seen_ip"] = device.last_seen_ip
    return shown
