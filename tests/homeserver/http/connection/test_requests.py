"""Requests in, answers out: order, keep-alive, HEAD, versions, and where a request comes from."""

import pytest

from homeserver.http.reply import Answer, RawJson, Reply, Stream
from homeserver.runtime import log_context
from tests.homeserver.http.connection.endpoints import LIMITS, Endpoints, answering, get, names
from tests.support.http_connection import Listener

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
