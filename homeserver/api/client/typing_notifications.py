"""Saying that one is typing.

https://spec.matrix.org/latest/client-server-api/#typing-notifications
"""

from typing import Protocol

import msgspec

from homeserver.http.request import Request
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.presence.presence import Presence
from homeserver.services.typing_notifications import DEFAULT_TIMEOUT_MS, TypingNotifications


class HasTypingNotifications(Protocol):
    @property
    def typing_notifications(self) -> TypingNotifications: ...

    @property
    def presence(self) -> Presence: ...


class SetTyping(msgspec.Struct):
    typing: bool
    timeout: int = DEFAULT_TIMEOUT_MS


async def set_typing(
    services: HasTypingNotifications, request: Request, room_id: RoomId, user_id: UserId
) -> JsonObject:
    request.require_self(user_id)
    body = request.json(SetTyping)
    if body.typing:
        await services.typing_notifications.start(room_id, user_id, timeout_ms=body.timeout)
        services.presence.note_activity(user_id)
    else:
        services.typing_notifications.stop(room_id, user_id)
    return {}
