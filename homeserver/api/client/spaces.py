"""Rooms seen from outside, and the rooms of a space.

https://spec.matrix.org/latest/client-server-api/#spaces
"""

from homeserver.api.client.events import HasRooms
from homeserver.api.client.membership import located
from homeserver.http.request import Request
from homeserver.protocol.ids import RoomId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.spaces import TreeQuery


async def hierarchy(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    query = TreeQuery(
        limit=request.query_int("limit", 0, minimum=1) or None,
        max_depth=request.query_int("max_depth", -1, minimum=0) if "max_depth" in request.query else None,
        suggested_only=request.query_bool("suggested_only"),
        token=request.query_one("from"),
    )
    rooms, next_batch = await services.rooms.spaces.tree(request.requester.user_id, room_id, query)
    return {"rooms": rooms} if next_batch is None else {"rooms": rooms, "next_batch": next_batch}


async def room_summary(services: HasRooms, request: Request, room_id_or_alias: str) -> JsonObject:
    """Who does not say who they are sees what is open to all, of rooms this server is in."""
    requester = request.known_requester
    room_id, via = await located(services, request, room_id_or_alias)
    return await services.rooms.spaces.look_at(None if requester is None else requester.user_id, room_id, via)
