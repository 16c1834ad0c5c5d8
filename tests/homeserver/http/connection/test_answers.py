"""Answers of every kind, and those that are made while they are sent."""

import logging
from collections.abc import AsyncIterator, Iterator
from io import BytesIO

import pytest
from twisted.internet.defer import Deferred

from homeserver.http.reply import Answer, RawJson, Reply, Stream
from tests.homeserver.http.connection.endpoints import LIMITS, Source, answering, get
from tests.support.http_connection import BUFFER_BYTES

# Answers


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        ({}, 200, b"{}"),
        ([1], 200, b"[1]"),
        (RawJson([b"{", b"}"]), 200, b"{}"),
        (Reply(404, {"errcode": "M_NOT_FOUND"}), 404, b'{"errcode":"M_NOT_FOUND"}'),
        (Reply(200, {"a": "b" * 300_000}), 200, b'{"a":"' + b"b" * 300_000 + b'"}'),
        ({"a": "b" * 300_000}, 200, b'{"a":"' + b"b" * 300_000 + b'"}'),
        (Stream([b"ab", b"", b"c"]), 200, b"abc"),
        (Stream([b"ab", b"c"], length=3), 200, b"abc"),
        (Stream([]), 200, b""),
        (Stream([], length=0), 200, b""),
        (Stream.of_file(BytesIO(b"x" * 200_000), length=150_000), 200, b"x" * 150_000),
        (Reply(204), 204, b""),
        (Reply(304, {"ignored": True}), 304, b""),
        (Reply(599, b"odd"), 599, b"odd"),
    ],
)
def test_answers_of_all_kinds_arrive(answer: Answer, status: int, body: bytes) -> None:
    line = answering(answer).connect()
    got = line.get("/")
    assert (got.status, got.body) == (status, body)
    assert not line.is_closed


def test_a_stream_of_unknown_length_ends_with_the_connection_for_old_clients() -> None:
    line = answering(Stream([b"ab", b"c"])).connect()
    line.send("GET / HTTP/1.0\r\n\r\n")
    assert line.answer.body == b"abc"
    assert line.is_closed


@pytest.mark.parametrize(
    "answer",
    [
        {"a": object()},
        {1: 2},
        Reply(200, {"a": b"bytes"}),
        Reply(200, b"", {"X": "a\r\nSet-Cookie: b"}),
        Reply(302, b"", {"Location": "/\n"}),
        Reply(200, b"", {"X": "✓"}),
        Reply(200, b"", {"X": "a\0"}),
    ],
)
def test_an_answer_that_cannot_be_sent_is_our_mistake(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    line = answering(answer).connect()
    got = line.get("/")
    assert (got.status, got.errcode) == (500, "M_UNKNOWN")
    assert "Set-Cookie" not in line.transport.written.decode()
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_headers_of_a_reply_are_sent() -> None:
    got = answering(Reply(200, b"<p>", {"content-type": "text/html", "X-A": "b"})).connect().get("/")
    assert (got.headers["content-type"], got.headers["x-a"]) == ("text/html", "b")


# Streams out


def test_a_large_answer_waits_for_the_client() -> None:
    source = Source(100)
    line = answering(Stream(source, length=1_000_000)).connect()
    line.transport.reads = False
    line.send(get("/"))
    assert len(line.transport.written) < BUFFER_BYTES + 20_000
    assert source.left > 80
    while source.left:
        line.transport.read_all()
    line.transport.reads = True
    line.transport.read_all()
    assert len(line.answer.body) == 1_000_000
    assert source.is_closed
    assert not line.is_closed


def test_a_client_that_stops_reading_is_cut_off() -> None:
    source = Source(1000)
    listener = answering(Stream(source))
    line = listener.connect()
    line.transport.reads = False
    line.send(get("/"))
    listener.advance(LIMITS.write_seconds - 10)
    line.transport.read_all()  # slow, but not dead
    listener.advance(LIMITS.write_seconds - 10)
    assert not line.is_closed
    listener.advance(20)
    assert line.transport.is_aborted
    assert source.is_closed
    assert listener.server.connections == set()


def test_a_stream_is_closed_when_the_client_goes_away() -> None:
    source = Source(1000)
    line = answering(Stream(source)).connect()
    line.transport.reads = False
    line.send(get("/"))
    line.hang_up()
    assert source.is_closed


def test_a_stream_may_take_its_time() -> None:
    more: list[Deferred[bytes]] = []

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(2):
            more.append(Deferred())
            yield await more[-1]

    listener = answering(Stream(pieces()))
    line = listener.connect()
    line.send(get("/"))
    more[0].callback(b"ab")
    listener.advance(1_000)
    assert not line.is_closed
    more[1].callback(b"c")
    assert line.answer.body == b"abc"


def test_a_waiting_source_is_cancelled_when_the_client_goes_away() -> None:
    ended = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await Deferred()
        finally:
            ended.append(True)

    line = answering(Stream(pieces())).connect()
    line.send(get("/"))
    line.hang_up()
    assert ended == [True]


@pytest.mark.parametrize("length", [None, 5, 15_000, 30_000])
def test_a_stream_that_breaks_is_not_taken_for_the_whole(
    length: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 10_000
        if length == 30_000:
            return
        raise OSError("the disk is on fire")

    line = answering(Stream(pieces(), length=length)).connect()
    line.send(get("/"))
    assert line.transport.is_aborted
