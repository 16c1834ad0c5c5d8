"""Requests in, answers out: order, keep-alive, streams, patience, going away, stopping."""

import logging
from collections.abc import AsyncIterator, Iterator
from io import BytesIO

import pytest
from twisted.internet.defer import Deferred

from homeserver.http.body_stream import ClientGone
from homeserver.http.limits import Limits
from homeserver.http.reply import Answer, RawJson, Reply, Stream
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.runtime import log_context
from homeserver.runtime.concurrency import CancelledError, run
from tests.support.http_connection import BUFFER_BYTES, Listener, RawAnswer

LIMITS = Limits()


class Endpoints:
    """Endpoints that wait until a test lets them go on."""

    def __init__(self) -> None:
        self.waiting: dict[str, Deferred[None]] = {}
        self.requests: dict[str, Request] = {}
        self.ended: list[tuple[str, str]] = []
        self.read: list[bytes] = []

    async def wait(self, services: object, request: Request, name: str) -> Answer:
        self.requests[name] = request
        self.waiting[name] = Deferred()
        try:
            await self.waiting[name]
        except CancelledError:
            self.ended.append((name, "cancelled"))
            raise
        self.ended.append((name, "done"))
        return {"name": name}

    async def wait_and_listen(self, services: object, request: Request, name: str) -> Answer:
        request.on_stopping(lambda: self.waiting[name].callback(None))
        return await self.wait(services, request, name)

    async def echo(self, services: object, request: Request, name: str) -> Answer:
        return {
            "name": name,
            "body": request.body.decode(),
            "ip": request.client_ip,
            "context": log_context.current(),
        }

    async def swallow(self, services: object, request: Request) -> Answer:
        assert request.stream is not None
        try:
            async for piece in request.stream:
                self.read.append(piece)
        except ClientGone:
            self.ended.append(("swallow", "gone"))
            raise
        return {"size": sum(map(len, self.read))}

    async def slow_swallow(self, services: object, request: Request) -> Answer:
        assert request.stream is not None
        self.waiting["slow"] = Deferred()
        await self.waiting["slow"]
        return await self.swallow(services, request)

    async def refuse(self, services: object, request: Request) -> Answer:
        return Reply(403, {"errcode": "M_FORBIDDEN", "error": "No"})

    def routes(self) -> list[Route]:
        none = Auth.NONE
        return [
            Route("GET", "/poll/{name}", self.wait, none, long_poll=True),
            Route("GET", "/listen/{name}", self.wait_and_listen, none, long_poll=True),
            Route("GET", "/work/{name}", self.wait, none),
            Route("GET", "/echo/{name}", self.echo, none),
            Route("PUT", "/echo/{name}", self.echo, none, max_body=1_000_000),
            Route("POST", "/swallow", self.swallow, none, body="stream", max_body=10_000_000),
            Route("POST", "/slow", self.slow_swallow, none, body="stream", max_body=10_000_000),
            Route("POST", "/refuse", self.refuse, none, body="stream"),
        ]


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def listener(endpoints: Endpoints) -> Listener:
    return Listener(*endpoints.routes(), limits=LIMITS)


def get(path: str, *headers: str, version: str = "1.1") -> str:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: x", *headers, "", ""))


def post(path: str, *headers: str, body: str = "") -> str:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *headers, "", body))


def names(answers: list[RawAnswer]) -> list[str]:
    return [answer.json["name"] for answer in answers]


def answering(answer: Answer) -> Listener:
    async def endpoint(services: object, request: Request) -> Answer:
        return answer

    return Listener(Route("GET", "/", endpoint, Auth.NONE))


# Order


def test_a_connection_serves_many_requests(listener: Listener) -> None:
    line = listener.connect()
    for name in "abc":
        assert line.get(f"/echo/{name}").json["name"] == name
    assert not line.is_closed


def test_pipelined_requests_are_answered_in_order(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(get("/work/a") + get("/echo/b") + get("/work/c") + get("/echo/d"))
    assert line.answers() == []
    endpoints.waiting["a"].callback(None)
    assert names(line.answers()) == ["a", "b"]
    endpoints.waiting["c"].callback(None)
    assert names(line.answers()) == ["a", "b", "c", "d"]


def test_a_client_that_asks_too_much_at_once_is_made_to_wait(
    listener: Listener, endpoints: Endpoints
) -> None:
    line = listener.connect()
    line.send(get("/work/a") + get("/echo/b") * LIMITS.pipelined)
    assert line.transport.is_paused
    endpoints.waiting["a"].callback(None)
    assert not line.transport.is_paused
    assert len(line.answers()) == 1 + LIMITS.pipelined


def test_a_client_that_asks_far_too_much_at_once_is_cut_off(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(get("/work/a") + get("/echo/b") * 5_000)
    endpoints.waiting["a"].callback(None)
    assert 1 < len(line.answers()) < 500
    assert line.transport.is_closed


def test_requests_may_arrive_byte_by_byte(listener: Listener) -> None:
    line = listener.connect()
    for byte in ("PUT /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + get("/echo/b")).encode():
        line.send(bytes([byte]))
    assert [(answer.json["name"], answer.json["body"]) for answer in line.answers()] == [
        ("a", "abc"),
        ("b", ""),
    ]


def test_each_request_has_its_own_name_in_the_log(listener: Listener) -> None:
    line = listener.connect()
    line.send(get("/echo/a") + get("/echo/b"))
    first, second = (answer.json["context"] for answer in line.answers())
    assert first.startswith("GET-")
    assert first != second
    assert log_context.current() == log_context.NOBODY


# Keep-alive, HEAD, versions


@pytest.mark.parametrize("request_text", [get("/echo/a", "Connection: close"), get("/echo/a", version="1.0")])
def test_the_connection_ends_when_the_client_says_so(listener: Listener, request_text: str) -> None:
    line = listener.connect()
    line.send(request_text)
    assert line.answer.json["name"] == "a"
    assert line.answer.headers["connection"] == "close"
    assert line.transport.is_closed


@pytest.mark.parametrize(
    "answer", [{"a": 1}, RawJson(b"[1]"), Reply(200, b"x" * 500_000), Stream([b"a", b"b"], length=2)]
)
def test_head_gets_the_head_only(answer: Answer) -> None:
    line = answering(answer).connect()
    whole = line.get("/")
    before = len(line.transport.written)
    line.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = bytes(line.transport.written[before:])
    assert head.endswith(b"\r\n\r\n")
    assert f"Content-Length: {len(whole.body)}\r\n".encode() in head
    assert not line.is_closed


def test_every_answer_carries_cors_and_date(listener: Listener) -> None:
    line = listener.connect()
    for answer in (line.get("/echo/a"), line.get("/nothing"), line.get("/echo/a", method="OPTIONS")):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert {"GET", "PUT", "POST", "DELETE", "OPTIONS"} <= set(
            answer.headers["access-control-allow-methods"].split(", ")
        )
        assert answer.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    listener.advance(2)
    assert line.get("/echo/a").headers["date"] == "Tue, 14 Nov 2023 22:13:22 GMT"


def test_options_runs_no_endpoint(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    assert line.get("/poll/a", method="OPTIONS").status == 204
    assert endpoints.requests == {}


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


class Source:
    """A file of many pieces that knows how far it was read."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return b"x" * 10_000

    def close(self) -> None:
        self.is_closed = True


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


# Streams in


def test_a_body_is_read_while_it_arrives(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Content-Length: 6"))
    line.send("abc")
    assert endpoints.read == [b"abc"]
    line.send("def" + get("/echo/next"))
    first, second = line.answers()
    assert (first.json, second.json["name"]) == ({"size": 6}, "next")


def test_an_empty_stream_ends_at_once(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/swallow"))
    assert line.answer.json == {"size": 0}


def test_a_fast_client_waits_for_a_slow_reader(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/slow", "Content-Length: 1000000"))
    for _ in range(10):
        line.send(b"x" * 50_000)
    assert line.transport.is_paused
    listener.advance(500)
    assert not line.is_closed  # it is not the client's fault
    endpoints.waiting["slow"].callback(None)
    assert not line.transport.is_paused
    line.send(b"x" * 500_000)
    assert line.answer.json == {"size": 1_000_000}


def test_a_stream_over_the_limit_is_refused_half_way(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Transfer-Encoding: chunked"))
    for _ in range(11):
        line.send(b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n")
    assert (line.answer.status, line.answer.errcode) == (413, "M_TOO_LARGE")
    assert line.answer.headers["connection"] == "close"


def test_an_endpoint_that_does_not_want_the_body_ends_the_connection(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/refuse", "Content-Length: 100", body="abc"))
    assert line.answer.status == 403
    assert line.answer.headers["connection"] == "close"
    line.send("x" * 97 + get("/echo/smuggled"))
    assert len(line.answers()) == 1


def test_a_body_that_breaks_off_is_told_to_its_reader(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Content-Length: 6", body="abc"))
    line.hang_up()
    assert endpoints.ended == [("swallow", "gone")]
    assert listener.server.connections == set()


def test_bad_chunks_are_told_to_the_reader(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Transfer-Encoding: chunked", body="3\r\nabcXX"))
    assert line.answer.status == 400
    assert line.answer.headers["connection"] == "close"


# Expect: 100-continue


def test_a_client_that_asks_first_is_told_to_go_on(listener: Listener) -> None:
    line = listener.connect()
    line.send("PUT /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert line.answer.status == 100
    line.send("abc")
    assert [answer.status for answer in line.answers()] == [100, 200]


def test_go_on_is_said_in_turn(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(
        get("/work/a")
        + "PUT /echo/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert line.answers() == []
    endpoints.waiting["a"].callback(None)
    assert [answer.status for answer in line.answers()] == [200, 100]


def test_go_on_is_said_when_the_endpoint_reads(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/slow", "Content-Length: 3", "Expect: 100-continue"))
    assert line.answers() == []
    endpoints.waiting["slow"].callback(None)
    assert line.answer.status == 100
    line.send("abc")
    assert line.answers()[-1].json == {"size": 3}


def test_a_refused_upload_is_not_told_to_go_on(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/refuse", "Content-Length: 3", "Expect: 100-continue"))
    assert line.answer.status == 403


# Patience


def test_a_client_that_says_nothing_is_cut_off(listener: Listener) -> None:
    line = listener.connect()
    listener.advance(LIMITS.head_seconds + 4)
    assert line.transport.is_closed
    assert line.answers() == []
    assert listener.server.connections == set()


def test_a_head_that_trickles_is_refused(listener: Listener) -> None:
    line = listener.connect()
    for letter in get("/echo/a")[:-2]:
        line.send(letter)
        listener.advance(1)
    assert line.answer.status == 408
    assert line.is_closed


def test_a_body_that_trickles_is_refused(listener: Listener) -> None:
    line = listener.connect()
    line.send("PUT /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(100):
        line.send("x")
        listener.advance(1)
    assert line.answer.status == 408
    assert line.is_closed


def test_a_slow_but_steady_body_is_accepted(listener: Listener) -> None:
    line = listener.connect()
    line.send("PUT /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    for _ in range(100):
        line.send("x" * 2_000)
        listener.advance(1)
    assert line.answer.status == 200


def test_an_upload_that_stops_is_refused(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Content-Length: 100000", body="abc"))
    listener.advance(LIMITS.body_seconds + 8)
    assert line.answer.status == 408
    listener.advance(LIMITS.linger_seconds + 4)
    assert line.is_closed


def test_an_idle_connection_is_closed_in_the_end(listener: Listener) -> None:
    line = listener.connect()
    line.get("/echo/a")
    listener.advance(LIMITS.idle_seconds - 10)
    assert not line.is_closed
    line.get("/echo/a")
    listener.advance(LIMITS.idle_seconds - 10)
    assert not line.is_closed
    listener.advance(20)
    assert line.transport.is_closed


def test_a_request_may_take_as_long_as_it_takes(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(get("/work/a"))
    listener.advance(1_000)
    endpoints.waiting["a"].callback(None)
    assert line.answer.status == 200


def test_a_client_that_never_closes_is_cut_off_in_the_end(listener: Listener) -> None:
    line = listener.connect()
    line._close_as_asked = lambda: None  # type: ignore[method-assign] # what was written never gets through
    line.send(get("/echo/a", "Connection: close"))
    assert line.transport.is_closed
    assert not line.transport.is_aborted
    listener.advance(LIMITS.write_seconds + 4)
    assert line.transport.is_aborted


# Going away


def test_a_long_poll_is_cancelled_when_its_client_goes_away(listener: Listener, endpoints: Endpoints) -> None:
    told = []
    line = listener.connect()
    line.send(get("/poll/a"))
    endpoints.requests["a"].on_disconnect(lambda: told.append("gone"))
    line.hang_up()
    assert endpoints.ended == [("a", "cancelled")]
    assert told == ["gone"]
    assert endpoints.requests["a"].disconnected


def test_other_work_is_carried_through_when_its_client_goes_away(
    listener: Listener, endpoints: Endpoints
) -> None:
    line = listener.connect()
    line.send(get("/work/a"))
    line.hang_up()
    assert endpoints.ended == []
    endpoints.waiting["a"].callback(None)
    assert endpoints.ended == [("a", "done")]


def test_a_stream_that_nobody_will_read_is_closed() -> None:
    source, waiting = Source(3), Deferred[None]()

    async def endpoint(services: object, request: Request) -> Answer:
        await waiting
        return Stream(source)

    line = Listener(Route("GET", "/", endpoint, Auth.NONE)).connect()
    line.send(get("/"))
    line.hang_up()
    waiting.callback(None)
    assert source.is_closed


def test_a_failure_after_the_client_has_gone_is_still_logged(caplog: pytest.LogCaptureFixture) -> None:
    waiting = Deferred[None]()

    async def endpoint(services: object, request: Request) -> Answer:
        await waiting
        raise RuntimeError("late")

    line = Listener(Route("GET", "/", endpoint, Auth.NONE)).connect()
    line.send(get("/"))
    line.hang_up()
    waiting.callback(None)
    assert "late" in caplog.text


def test_a_failed_wait_reaches_the_endpoint() -> None:
    waiting = Deferred[None]()

    async def endpoint(services: object, request: Request) -> Answer:
        try:
            await waiting
        except KeyError as error:
            return {"caught": str(error)}
        return {}

    line = Listener(Route("GET", "/", endpoint, Auth.NONE)).connect()
    line.send(get("/"))
    waiting.errback(KeyError("x"))
    assert line.answer.json == {"caught": "'x'"}


# Where from


@pytest.mark.parametrize(
    ("trusted", "peer", "header", "client"),
    [
        ((), "192.0.2.7", "X-Forwarded-For: 198.51.100.1", "192.0.2.7"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
        (("192.0.2.0/24",), "::ffff:192.0.2.7", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
        (("192.0.2.7",), "192.0.2.7", "X-Forwarded-For: 10.9.9.9, 198.51.100.1", "198.51.100.1"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For: 198.51.100.1, 192.0.2.9", "198.51.100.1"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For: 192.0.2.3, 192.0.2.9", "192.0.2.3"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For: [2001:db8::1]:443", "2001:db8::1"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For: 198.51.100.1:999", "198.51.100.1"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For: nonsense", "192.0.2.7"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Forwarded-For:", "192.0.2.7"),
        (("192.0.2.0/24",), "192.0.2.7", "X-Other: 1", "192.0.2.7"),
        (("loopback",), "127.0.0.1", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
        (("loopback",), "::1", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
        (("loopback",), "192.0.2.7", "X-Forwarded-For: 198.51.100.1", "192.0.2.7"),
        (("unix",), "", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
        (("loopback",), "", "X-Forwarded-For: 198.51.100.1", ""),
    ],
)
def test_where_a_request_comes_from(
    endpoints: Endpoints, trusted: tuple[str, ...], peer: str, header: str, client: str
) -> None:
    line = Listener(*endpoints.routes(), trusted_proxies=trusted).connect(peer)
    assert line.get("/echo/a", header).json["ip"] == client


def test_repeated_forwarding_headers_count_as_one_list(endpoints: Endpoints) -> None:
    line = Listener(*endpoints.routes(), trusted_proxies=("192.0.2.7",)).connect()
    answer = line.get("/echo/a", "X-Forwarded-For: 10.9.9.9", "X-Forwarded-For: 198.51.100.1")
    assert answer.json["ip"] == "198.51.100.1"


def test_a_proxy_that_is_no_network_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nginx"):
        Listener(trusted_proxies=("nginx",))


# Stopping


def test_stopping_ends_idle_connections_and_answers_the_rest(
    listener: Listener, endpoints: Endpoints
) -> None:
    idle, polling, listening, working = (listener.connect() for _ in range(4))
    idle.get("/echo/a")
    polling.send(get("/poll/p"))
    listening.send(get("/listen/l"))
    working.send(get("/work/w"))
    done: list[None] = []
    run(listener.server.stop(within_seconds=5)).addCallback(done.append)
    assert idle.transport.is_closed
    assert polling.answer.status == 503
    assert sorted(endpoints.ended) == [("l", "done"), ("p", "cancelled")]
    assert listening.answer.json == {"name": "l"}
    assert listening.answer.headers["connection"] == "close"
    endpoints.waiting["w"].callback(None)
    assert working.answer.headers["connection"] == "close"
    listener.advance(1)
    assert done == [None]


def test_stopping_cuts_off_what_does_not_end(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(get("/work/w"))
    done: list[None] = []
    run(listener.server.stop(within_seconds=5)).addCallback(done.append)
    listener.advance(4)
    assert not line.is_closed
    listener.advance(2)
    assert line.transport.is_aborted
    assert done == [None]


def test_who_starts_to_wait_while_stopping_is_told_at_once(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send("GET /listen/l HT")
    run(listener.server.stop(within_seconds=5))
    assert endpoints.ended == []
    request = Request("GET", "/", {})
    request.stop()
    told: list[bool] = []
    request.on_stopping(lambda: told.append(True))
    assert told == [True]
