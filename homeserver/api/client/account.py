"""Registering, and what owners do with their account.

https://spec.matrix.org/latest/client-server-api/#legacy-account-registration
"""

from typing import Protocol

import msgspec

from homeserver.http.request import Request
from homeserver.protocol.errors import BadJson
from homeserver.protocol.ids import DeviceId, domain_of, parse_device_id
from homeserver.protocol.json_values import JsonObject
from homeserver.services.accounts import AccountServices
from homeserver.services.accounts.registration import Application, Registered
from homeserver.services.accounts.sessions import DeviceWish, Grant, Tokens
from homeserver.services.accounts.stages import Action
from homeserver.services.capabilities import Capabilities


class HasAccounts(Protocol):
    @property
    def accounts(self) -> AccountServices: ...


class HasCapabilities(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...


class Register(msgspec.Struct):
    """Null stands for absent, as some clients send it."""

    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None
    guest_access_token: str | None = None


class NewPassword(msgspec.Struct):
    new_password: str
    logout_devices: bool = True


class Deactivate(msgspec.Struct):
    erase: bool | None = None


async def register(services: HasAccounts, request: Request) -> JsonObject:
    kind = request.query_choice("kind", ("user", "guest"), "user")
    registration = services.accounts.registration
    if kind == "guest":
        return registered(
            await registration.register_guest(device_name=_guest_device_name(request), ip=request.client_ip)
        )
    body = request.json(Register)
    session = DeviceWish(
        wanted_device(body.device_id), body.initial_device_display_name, refreshes=bool(body.refresh_token)
    )
    application = Application(
        body.username, body.password, None if body.inhibit_login else session, body.guest_access_token
    )
    return registered(await registration.register(application, action_of(request)))


async def is_name_available(services: HasAccounts, request: Request) -> JsonObject:
    await services.accounts.registration.check_available(request.query_required("username"))
    return {"available": True}


async def is_registration_token_valid(services: HasAccounts, request: Request) -> JsonObject:
    token = request.query_required("token")
    return {"valid": await services.accounts.registration.is_token_valid(token)}


async def whoami(services: object, request: Request) -> JsonObject:
    requester = request.requester
    answer: JsonObject = {"user_id": requester.user_id, "is_guest": requester.is_guest}
    if requester.device_id is not None:
        answer["device_id"] = requester.device_id
    return answer


async def capabilities(services: HasCapabilities, request: Request) -> JsonObject:
    return {"capabilities": services.capabilities.of(request.requester)}


async def change_password(services: HasAccounts, request: Request) -> JsonObject:
    body = request.json(NewPassword)
    await services.accounts.password_change.change(
        request.known_requester, body.new_password, action_of(request), log_out_others=body.logout_devices
    )
    return {}


async def deactivate(services: HasAccounts, request: Request) -> JsonObject:
    body = request.json(Deactivate)
    await services.accounts.deactivation.deactivate(action_of(request), erase=bool(body.erase))
    return {"id_server_unbind_result": "success"}


async def third_party_ids(services: object, request: Request) -> JsonObject:
    """Addresses are not kept yet."""
    return {"threepids": []}


def action_of(request: Request) -> Action:
    """The request as something that must be authorised stage by stage; its body is a JSON object."""
    body = request.json_object(allow_empty=True)
    auth = body.pop("auth", None)
    requester = request.known_requester
    user_id = None if requester is None else requester.user_id
    return Action(request.method, request.path, body, auth, user_id, request.client_ip)


def wanted_device(device_id: str | None) -> DeviceId | None:
    """None, or an empty text, leaves the choice to the server. Raises InvalidParam."""
    return parse_device_id(device_id) if device_id else None


def registered(made: Registered) -> JsonObject:
    """The answer to whoever registered."""
    if made.grant is not None:
        return granted(made.grant)
    return {"user_id": made.user_id, "home_server": domain_of(made.user_id)}


def granted(grant: Grant) -> JsonObject:
    """The answer to whoever logged in."""
    return {
        "user_id": grant.user_id,
        "device_id": grant.device_id,
        "home_server": domain_of(grant.user_id),
        **tokens_of(grant.tokens),
    }


def tokens_of(tokens: Tokens) -> JsonObject:
    """Tokens as clients get them."""
    answer: JsonObject = {"access_token": tokens.access_token}
    if tokens.refresh_token is not None:
        answer["refresh_token"] = tokens.refresh_token
        answer["expires_in_ms"] = tokens.expires_in_ms
    return answer


def _guest_device_name(request: Request) -> str | None:
    """All else that guests send is to be ignored."""
    name = request.json_object(allow_empty=True).get("initial_device_display_name")
    if name is not None and not isinstance(name, str):
        raise BadJson("initial_device_display_name must be a string")
    return name
