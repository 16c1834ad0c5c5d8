"""Logging in and out, and refreshing tokens.

https://spec.matrix.org/latest/client-server-api/#legacy-login
"""

import msgspec

from homeserver.api.client.account import HasAccounts, action_of, granted, tokens_of, wanted_device
from homeserver.http.request import Request
from homeserver.protocol.errors import MatrixError, MissingParam
from homeserver.protocol.json_values import JsonObject
from homeserver.services.accounts.sessions import DeviceWish
from homeserver.services.accounts.stages import name_in


class UnknownLoginType(MatrixError):
    status, default = 400, "This way to log in is not known here"


class LogIn(msgspec.Struct):
    """Null stands for absent, as some clients send it."""

    type: str
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool | None = None


class Refresh(msgspec.Struct):
    refresh_token: str


async def flows(services: HasAccounts, request: Request) -> JsonObject:
    return {"flows": services.accounts.login.flows()}


async def log_in(services: HasAccounts, request: Request) -> JsonObject:
    body = request.json(LogIn)
    login = services.accounts.login
    wish = DeviceWish(
        wanted_device(body.device_id), body.initial_device_display_name, refreshes=bool(body.refresh_token)
    )
    if body.type == "m.login.password":
        name = name_in(request.json_object())
        if name is None or body.password is None:
            raise MissingParam("To log in, an identifier and a password are needed")
        return granted(await login.with_password(name, body.password, wish, ip=request.client_ip))
    if body.type == "m.login.token":
        if body.token is None:
            raise MissingParam("To log in with a token, a token is needed")
        return granted(await login.with_token(body.token, wish))
    raise UnknownLoginType(
        f"The ways to log in are m.login.password and m.login.token, not {body.type[:100]!r}"
    )


async def login_token(services: HasAccounts, request: Request) -> JsonObject:
    accounts = services.accounts
    made = await accounts.login.issue_token(accounts.stages, action_of(request))
    return {"login_token": made.token, "expires_in_ms": made.expires_in_ms}


async def refresh(services: HasAccounts, request: Request) -> JsonObject:
    return tokens_of(await services.accounts.sessions.refresh(request.json(Refresh).refresh_token))


async def log_out(services: HasAccounts, request: Request) -> JsonObject:
    await services.accounts.sessions.log_out(request.requester)
    return {}


async def log_out_everywhere(services: HasAccounts, request: Request) -> JsonObject:
    await services.accounts.sessions.log_out_everywhere(request.requester.user_id)
    return {}
