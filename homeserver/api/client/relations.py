"""Threads, and what relates to an event.

https://spec.matrix.org/latest/client-server-api/#relationships-api
"""

import orjson

from homeserver.api.client.events import HasRooms, bundled_json, page_limit, page_token
from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import EventId, RoomId
from homeserver.services.rooms.relations import RECURSION_DEPTH, ChildQuery


async def children(services: HasRooms, request: Request, room_id: RoomId, event_id: EventId) -> RawJson:
    return await _children(services, request, room_id, event_id, None, None)


async def children_related_by(
    services: HasRooms, request: Request, room_id: RoomId, event_id: EventId, rel_type: str
) -> RawJson:
    return await _children(services, request, room_id, event_id, rel_type, None)


async def children_of_type(
    services: HasRooms, request: Request, room_id: RoomId, event_id: EventId, rel_type: str, event_type: str
) -> RawJson:
    return await _children(services, request, room_id, event_id, rel_type, event_type)


async def threads(services: HasRooms, request: Request, room_id: RoomId) -> RawJson:
    token = request.query_one("from")
    if token is not None and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidParam(f"{token[:100]!r} is not a token of this list")
    found = await services.rooms.relations.threads(
        request.requester.user_id,
        room_id,
        before=None if token is None else int(token),
        participated=request.query_choice("include", ("all", "participated"), "all") == "participated",
        limit=max(1, page_limit(request)),
    )
    pieces = [b'{"chunk":', *await bundled_json(services, found.roots, request, room_id)]
    if found.end is not None:
        pieces.append(b',"next_batch":"%d"' % found.end)
    return RawJson([*pieces, b"}"])


async def _children(
    services: HasRooms, request: Request, room_id: RoomId, event_id: EventId, rel_type: str | None,
    event_type: str | None,
) -> RawJson:  # fmt: skip
    recurses = request.query_bool("recurse")
    query = ChildQuery(
        rel_type,
        event_type,
        recurses,
        page_token(request, "from"),
        page_token(request, "to"),
        backwards=request.query_choice("dir", ("b", "f"), "b") == "b",
        limit=max(1, page_limit(request)),
    )
    found = await services.rooms.relations.children(request.requester.user_id, room_id, event_id, query)
    pieces = [b'{"chunk":', *await bundled_json(services, found.events, request, room_id)]
    if found.end is not None:
        pieces += [b',"next_batch":', orjson.dumps(str(found.end))]
    if query.start is not None:
        pieces += [b',"prev_batch":', orjson.dumps(str(query.start))]
    if recurses:
        pieces.append(b',"recursion_depth":%d' % RECURSION_DEPTH)
    return RawJson([*pieces, b"}"])
