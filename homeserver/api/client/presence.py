"""Who is online.

https://spec.matrix.org/latest/client-server-api/#presence
"""

from typing import Literal, Protocol

import msgspec

from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.presence import PresenceState
from homeserver.services.presence.presence import Presence

MAX_STATUS_BYTES = 2_048


class HasPresence(Protocol):
    @property
    def presence(self) -> Presence: ...


class SetPresence(msgspec.Struct):
    presence: Literal["online", "offline", "unavailable"]
    status_msg: str | None = None


async def get(services: HasPresence, request: Request, user_id: UserId) -> JsonObject:
    return await services.presence.get(request.requester.user_id, user_id)


async def put(services: HasPresence, request: Request, user_id: UserId) -> JsonObject:
    request.require_self(user_id)
    body = request.json(SetPresence)
    status_msg = body.status_msg
    if status_msg is not None and (len(status_msg.encode()) > MAX_STATUS_BYTES or "\0" in status_msg):
        raise InvalidParam(f"status_msg is at most {MAX_STATUS_BYTES} bytes long and has no NUL")
    await services.presence.update(user_id, PresenceState(body.presence), status_msg)
    return {}
