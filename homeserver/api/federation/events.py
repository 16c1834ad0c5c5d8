"""Events, history and state, asked for by other servers. Large answers are sent as they are put together.

https://spec.matrix.org/latest/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec
import orjson

from homeserver.http.reply import Reply, Stream
from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam, MissingParam
from homeserver.protocol.ids import EventId, RoomId, ServerName, parse_event_id
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.services.federation.answering import Answering

SENT_AT_ONCE = 128 * 1024
JSON = {"Content-Type": "application/json"}


class HasAnswering(Protocol):
    @property
    def answering(self) -> Answering: ...

    @property
    def clock(self) -> Clock: ...


class MissingEvents(msgspec.Struct):
    earliest_events: list[str]
    latest_events: list[str]
    limit: int = 10
    min_depth: int = 0


async def event_auth(services: HasAnswering, request: Request, room_id: RoomId, event_id: EventId) -> Reply:
    chain = await services.answering.serving.event_auth(_origin(request), room_id, event_id)
    return large_json(services.answering, request, [b'{"auth_chain":', *pdus(chain), b"}"])


async def backfill(services: HasAnswering, request: Request, room_id: RoomId) -> Reply:
    event_ids = [parse_event_id(text) for text in request.query_all("v")]
    if not event_ids:
        raise MissingParam("v names the events to go back from")
    limit = request.query_int("limit", 100, minimum=0)
    found = await services.answering.serving.backfill(_origin(request), room_id, event_ids, limit=limit)
    return _transaction(services, request, found)


async def missing_events(services: HasAnswering, request: Request, room_id: RoomId) -> Reply:
    body = request.json(MissingEvents)
    found = await services.answering.serving.missing_events(
        _origin(request),
        room_id,
        earliest=[EventId(text) for text in body.earliest_events],
        latest=[EventId(text) for text in body.latest_events],
        limit=body.limit,
        min_depth=body.min_depth,
    )
    return large_json(services.answering, request, [b'{"events":', *pdus(found), b"}"])


async def state(services: HasAnswering, request: Request, room_id: RoomId) -> Reply:
    event_id = parse_event_id(request.query_required("event_id"))
    found = await services.answering.serving.state_before(_origin(request), room_id, event_id)
    return large_json(services.answering, request, [
        b'{"pdus":', *pdus(pdu.raw for pdu in found.state),
        b',"auth_chain":', *pdus(pdu.raw for pdu in found.auth_chain), b"}",
    ])  # fmt: skip


async def state_ids(services: HasAnswering, request: Request, room_id: RoomId) -> JsonObject:
    event_id = parse_event_id(request.query_required("event_id"))
    found = await services.answering.serving.state_before(_origin(request), room_id, event_id)
    return {
        "pdu_ids": [pdu.event_id for pdu in found.state],
        "auth_chain_ids": [pdu.event_id for pdu in found.auth_chain],
    }


async def event(services: HasAnswering, request: Request, event_id: EventId) -> Reply:
    return _transaction(
        services, request, [await services.answering.serving.event(_origin(request), event_id)]
    )


async def timestamp_to_event(services: HasAnswering, request: Request, room_id: RoomId) -> JsonObject:
    ts = request.query_required("ts")
    if not (ts.isascii() and ts.isdigit() and len(ts) <= 18):
        raise InvalidParam(f"ts is a time in milliseconds, not {ts[:100]!r}")
    forwards = request.query_choice("dir", ("f", "b")) == "f"
    found = await services.answering.serving.nearest(_origin(request), room_id, int(ts), forwards=forwards)
    return {"event_id": found.event_id, "origin_server_ts": found.origin_server_ts}


def pdus(events: Iterable[bytes]) -> Iterator[bytes]:
    """A JSON array of encoded events, in pieces."""
    yield b"["
    separator = b""
    for raw in events:
        yield separator + raw
        separator = b","
    yield b"]"


def large_json(answering: Answering, request: Request, pieces: list[bytes]) -> Reply:
    """JSON in pieces; a long one is not joined in memory."""
    if sum(map(len, pieces)) <= SENT_AT_ONCE:
        return Reply(200, b"".join(pieces), JSON)
    answer = answering.large_answers.hold(_origin(request), pieces)
    return Reply(200, Stream(answer, length=answer.length), JSON)


def _transaction(services: HasAnswering, request: Request, events: list[bytes]) -> Reply:
    head = orjson.dumps({
        "origin": services.answering.server_name, "origin_server_ts": services.clock.now_ms()
    })  # fmt: skip
    return large_json(services.answering, request, [head[:-1], b',"pdus":', *pdus(events), b"}"])


def _origin(request: Request) -> ServerName:
    return ServerName(request.origin)
