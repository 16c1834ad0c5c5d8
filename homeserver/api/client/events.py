"""Sending events and reading a room: state, members, history.

https://spec.matrix.org/latest/client-server-api/#events
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec
import orjson

from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam, NotJson
from homeserver.protocol.filters import RoomEventFilter, parse_room_event_filter
from homeserver.protocol.ids import EventId, RoomId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.stream_position import PagePosition, parse_page_token
from homeserver.runtime.clock import Clock
from homeserver.services.rooms import RoomServices
from homeserver.services.rooms.history import PageQuery
from homeserver.services.rooms.relations import NO_BUNDLES, Bundles
from homeserver.services.rooms.timeline_event import TimelineEvent

DEFAULT_LIMIT = 10
MOST_PER_PAGE = 1_000
MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


class HasRooms(Protocol):
    @property
    def rooms(self) -> RoomServices: ...

    @property
    def clock(self) -> Clock: ...


class Redaction(msgspec.Struct):
    reason: str | None = None


async def send(
    services: HasRooms, request: Request, room_id: RoomId, event_type: str, txn_id: str
) -> JsonObject:
    content = request.json_object()
    event_id = await services.rooms.sending.send(request.requester, room_id, event_type, content, txn_id)
    return {"event_id": event_id}


async def put_state(
    services: HasRooms, request: Request, room_id: RoomId, event_type: str, state_key: str
) -> JsonObject:
    content = request.json_object()
    requester = request.requester
    event_id = await services.rooms.sending.set_state(
        requester.user_id, room_id, event_type, state_key, content, is_guest=requester.is_guest
    )
    return {"event_id": event_id}


async def redact(
    services: HasRooms, request: Request, room_id: RoomId, event_id: EventId, txn_id: str
) -> JsonObject:
    reason = request.json(Redaction, allow_empty=True).reason
    sending = services.rooms.sending
    return {"event_id": await sending.redact(request.requester, room_id, event_id, txn_id, reason=reason)}


async def state(services: HasRooms, request: Request, room_id: RoomId) -> RawJson:
    events = await services.rooms.state.all(request.requester.user_id, room_id)
    return RawJson(_array(services, events, request))


async def state_event(
    services: HasRooms, request: Request, room_id: RoomId, event_type: str, state_key: str
) -> RawJson | JsonObject:
    wanted = request.query_choice("format", ("content", "event"), "content")
    event = await services.rooms.state.one(request.requester.user_id, room_id, (event_type, state_key))
    return RawJson(_json(services, event, request)) if wanted == "event" else event.content


async def members(services: HasRooms, request: Request, room_id: RoomId) -> RawJson:
    events = await services.rooms.state.members(
        request.requester.user_id, room_id, at=page_token(request, "at"),
        only=_memberships(request, "membership"), without=_memberships(request, "not_membership"),
    )  # fmt: skip
    return RawJson([b'{"chunk":', *_array(services, events, request), b"}"])


async def joined_members(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    joined = await services.rooms.state.joined_members(request.requester.user_id, room_id)
    return {
        "joined": {
            user_id: {
                "display_name": content.get("displayname"),
                "avatar_url": content.get("avatar_url"),
            }
            for user_id, content in joined.items()
        }
    }


async def messages(services: HasRooms, request: Request, room_id: RoomId) -> RawJson:
    query = PageQuery(
        start=page_token(request, "from"),
        stop=page_token(request, "to"),
        backwards=request.query_choice("dir", ("b", "f")) == "b",
        limit=page_limit(request),
        filter=_filter(request),
    )
    page = await services.rooms.history.page(request.requester, room_id, query)
    chunk = await bundled_json(services, page.events, request, room_id)
    pieces = [b'{"chunk":', *chunk, b',"start":', _text(page.start)]
    if page.end is not None:
        pieces += [b',"end":', _text(page.end)]
    if page.state:
        pieces += [b',"state":', *_array(services, page.state, request)]
    pieces.append(b"}")
    return RawJson(pieces)


async def context(services: HasRooms, request: Request, room_id: RoomId, event_id: EventId) -> RawJson:
    found = await services.rooms.history.context(
        request.requester.user_id, room_id, event_id, limit=page_limit(request), filter_=_filter(request)
    )
    shown = [found.event, *found.before, *found.after]
    bundles = await services.rooms.relations.bundles(request.requester, room_id, shown)
    return RawJson([
        b'{"event":', _json(services, found.event, request, bundles.get(event_id, b"")),
        b',"events_before":', *_array(services, found.before, request, bundles),
        b',"events_after":', *_array(services, found.after, request, bundles),
        b',"start":', _text(found.start), b',"end":', _text(found.end),
        b',"state":', *_array(services, found.state, request), b"}",
    ])  # fmt: skip


async def event(services: HasRooms, request: Request, room_id: RoomId, event_id: EventId) -> RawJson:
    found = await services.rooms.history.event(request.requester.user_id, room_id, event_id)
    bundles = await services.rooms.relations.bundles(request.requester, room_id, [found])
    return RawJson(_json(services, found, request, bundles.get(event_id, b"")))


async def timestamp_to_event(services: HasRooms, request: Request, room_id: RoomId) -> JsonObject:
    ts = request.query_required("ts")
    if not (ts.isascii() and ts.isdigit() and len(ts) <= 18):
        raise InvalidParam(f"ts is a time in milliseconds, not {ts[:100]!r}")
    forwards = request.query_choice("dir", ("f", "b")) == "f"
    found = await services.rooms.history.nearest(
        request.requester.user_id, room_id, int(ts), forwards=forwards
    )
    return {"event_id": found.event_id, "origin_server_ts": found.ts}


async def bundled_json(
    services: HasRooms, events: Sequence[TimelineEvent], request: Request, room_id: RoomId
) -> list[bytes]:
    """A JSON array of the events, each with what is aggregated of its children, in pieces."""
    bundles = await services.rooms.relations.bundles(request.requester, room_id, events)
    return _array(services, events, request, bundles)


def _json(services: HasRooms, event: TimelineEvent, request: Request, bundle: bytes = b"") -> bytes:
    requester = request.requester
    own = event.unsigned_for(requester.user_id, requester.device_id)
    return event.client_json(services.clock.now_ms(), own + bundle)


def _array(
    services: HasRooms, events: Iterable[TimelineEvent], request: Request, bundles: Bundles = NO_BUNDLES
) -> list[bytes]:
    """A JSON array of the events, in pieces."""
    now_ms = services.clock.now_ms()
    user_id, device_id = request.requester.user_id, request.requester.device_id
    joined = b",".join(
        [
            event.client_json(
                now_ms, event.unsigned_for(user_id, device_id) + bundles.get(event.event_id, b"")
            )
            for event in events
        ]
    )
    return [b"[", joined, b"]"]


def _text(value: object) -> bytes:
    return orjson.dumps(str(value))


def page_limit(request: Request) -> int:
    """How many events the client wants at most."""
    return request.query_int("limit", DEFAULT_LIMIT, minimum=0, maximum=MOST_PER_PAGE)


def page_token(request: Request, name: Literal["at", "from", "to"]) -> PagePosition | None:
    text = request.query_one(name)
    return None if not text else parse_page_token(text)


def _filter(request: Request) -> RoomEventFilter:
    text = request.query_one("filter")
    if not text:
        return RoomEventFilter()
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise NotJson(f"The filter is not JSON: {error}") from None
    return parse_room_event_filter(value)


def _memberships(request: Request, name: str) -> tuple[str, ...]:
    value = request.query_one(name)
    if value is not None and value not in MEMBERSHIPS:
        raise InvalidParam(f"{name} is one of {', '.join(MEMBERSHIPS)}")
    return () if value is None else (value,)
