"""Read receipts and read markers.

https://spec.matrix.org/latest/client-server-api/#receipts
"""

from typing import Protocol

from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import EventId, RoomId, parse_event_id
from homeserver.protocol.json_values import JsonObject
from homeserver.services.presence.presence import Presence
from homeserver.services.receipts import MARKERS, Receipts


class HasReceipts(Protocol):
    @property
    def receipts(self) -> Receipts: ...

    @property
    def presence(self) -> Presence: ...


async def send(
    services: HasReceipts, request: Request, room_id: RoomId, receipt_type: str, event_id: EventId
) -> JsonObject:
    thread = request.json_object(allow_empty=True).get("thread_id")
    if thread is not None and not isinstance(thread, str):
        raise InvalidParam("thread_id must be a string")
    user_id = request.requester.user_id
    await services.receipts.mark(room_id, user_id, {receipt_type: event_id}, thread=thread)
    services.presence.note_activity(user_id)
    return {}


async def set_read_markers(services: HasReceipts, request: Request, room_id: RoomId) -> JsonObject:
    body = request.json_object(allow_empty=True)
    markers: dict[str, EventId] = {}
    for type_ in MARKERS:
        event_id = body.get(type_)
        if event_id is not None:
            if not isinstance(event_id, str):
                raise InvalidParam(f"{type_} must be an event ID")
            markers[type_] = parse_event_id(event_id)
    user_id = request.requester.user_id
    await services.receipts.mark(room_id, user_id, markers)
    services.presence.note_activity(user_id)
    return {}
