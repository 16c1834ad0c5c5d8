"""Whatever bytes come, split in whatever way: nothing escapes, and the same bytes mean the same."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.http.reply import Answer, Stream
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from tests.support.http_connection import Line, Listener


async def echo(services: object, request: Request, *parameters: str) -> Answer:
    return {"path": request.path, "body": request.body.hex(), "parameters": parameters}


async def swallow(services: object, request: Request) -> Answer:
    assert request.stream is not None
    return {"size": sum([len(piece) async for piece in request.stream])}


async def stream(services: object, request: Request) -> Answer:
    return Stream([b"a", b"b"])


ROUTES = (
    Route("GET", "/{a}", echo, Auth.NONE),
    Route("PUT", "/{a}/{b}", echo, Auth.NONE, max_body=50),
    Route("POST", "/swallow", swallow, Auth.NONE, body="stream", max_body=80),
    Route("GET", "/stream/", stream, Auth.NONE),
)

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /stream/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /stream/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /a/b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /a/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    b"PUT /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n",
    b"POST /swallow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /swallow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"POST /swallow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
    b"POST /a/b/c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"\r\n\r\n",
]

pieces = st.one_of(
    st.sampled_from(REQUESTS),
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"GET ",
            b"\r\n",
            b"\n",
            b"HTTP/1.1",
            b"Host: x\r\n",
            b"0\r\n\r\n",
            b"Content-Length: 3\r\n",
            b"\x00",
        ]
    ),
)
streams = st.lists(pieces, max_size=8).map(b"".join)
cuts = st.lists(st.integers(1, 60), min_size=1, max_size=50)


def feed(line: Line, data: bytes, sizes: list[int]) -> None:
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        line.send(data[at : at + size])
        at, turn = at + size, turn + 1


def outcome(data: bytes, sizes: list[int]) -> list[tuple[int, bytes]]:
    """Final answers, HEAD left out of the data by its own framing; ends with the connection gone for good."""
    listener = Listener(*ROUTES)
    line = listener.connect()
    feed(line, data, sizes)
    answers = [(a.status, a.body) for a in line.answers() if a.status != 100] if b"HEAD" not in data else []
    line.hang_up()
    assert listener.server.connections == set()
    return answers


@settings(max_examples=400)
@given(data=streams, sizes=cuts)
def test_the_same_bytes_mean_the_same_however_they_are_split(data: bytes, sizes: list[int]) -> None:
    assert outcome(data, [1_000_000]) == outcome(data, sizes)


@settings(max_examples=300)
@given(data=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4).map(b"".join), flips=st.data())
def test_no_flipped_byte_does_harm(data: bytes, flips: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(flips.draw(st.integers(1, 3))):
        changed[flips.draw(st.integers(0, len(changed) - 1))] = flips.draw(st.integers(0, 255))
    outcome(bytes(changed), [1_000_000])


@settings(max_examples=200)
@given(data=streams, sizes=cuts, seconds=st.integers(1, 300))
def test_every_connection_ends_if_nothing_more_comes(data: bytes, sizes: list[int], seconds: int) -> None:
    listener = Listener(*ROUTES)
    line = listener.connect()
    feed(line, data, sizes)
    listener.advance(seconds)
    listener.advance(400)
    assert line.is_closed
    assert listener.server.connections == set()


@pytest.fixture(autouse=True)
def _nothing_is_logged_as_our_mistake(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
