"""How connections end: out of patience, when the client goes away, when the server stops."""

import pytest
from twisted.internet.defer import Deferred

from homeserver.http.reply import Answer, Stream
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.runtime.concurrency import run
from tests.homeserver.http.connection.endpoints import LIMITS, Endpoints, Source, get, post
from tests.support.http_connection import Listener

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
