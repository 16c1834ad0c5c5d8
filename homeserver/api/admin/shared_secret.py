"""Registering with the shared secret, as tools written for Synapse do it.

https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

import msgspec

from homeserver.api.client.account import HasAccounts, registered, wanted_device
from homeserver.http.request import Request
from homeserver.protocol.json_values import JsonObject
from homeserver.services.accounts.sessions import DeviceWish
from homeserver.services.accounts.shared_secret import SignedApplication


class SignedRegister(msgspec.Struct):
    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    user_type: str | None = None
    displayname: str | None = None
    inhibit_login: bool = False
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False


async def nonce(services: HasAccounts, request: Request) -> JsonObject:
    return {"nonce": services.accounts.shared_secret.nonce()}


async def register(services: HasAccounts, request: Request) -> JsonObject:
    body = request.json(SignedRegister)
    session = DeviceWish(
        wanted_device(body.device_id), body.initial_device_display_name, refreshes=body.refresh_token
    )
    application = SignedApplication(
        body.nonce,
        body.username,
        body.password,
        body.mac,
        is_admin=body.admin,
        user_type=body.user_type,
        display_name=body.displayname,
        session=None if body.inhibit_login else session,
    )
    return registered(await services.accounts.shared_secret.register(application))
