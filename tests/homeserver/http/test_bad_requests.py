"""Bytes that are no request, or might be two: refused with JSON, and nothing after them is believed."""

import tracemalloc

import pytest

from homeserver.http.limits import Limits
from homeserver.http.reply import Answer
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from tests.support.http_connection import Line, Listener

HOST = "Host: x\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


async def echo(services: object, request: Request, *parameters: str) -> Answer:
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "body": request.body.decode(),
    }


ROUTES = (
    Route("GET", "/{path}", echo, Auth.NONE),
    Route("GET", "/", echo, Auth.NONE),
    Route("POST", "/{path}", echo, Auth.NONE, max_body=100),
)


@pytest.fixture
def line() -> Line:
    return Listener(*ROUTES).connect()


@pytest.mark.parametrize(
    "request_text",
    [
        "garbage\r\n\r\n",
        "\x16\x03\x01\x02\x00",
        "GET\r\n\r\n",
        "GET /a\r\n\r\n",
        "FETCH /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "get /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /a HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /a HTTP/0.9\r\nHost: x\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /a HTTP/1.1\nHost: x\n\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}{CHUNKED}{CHUNKED}\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}{CHUNKED}\r\n0\r\nContent-Length: 9\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        f"POST /a HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: 3, 3\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: +3\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: -3\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: 0x3\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: \r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length : 3\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Content-Length: {'9' * 40}\r\n\r\nabc",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nx\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        f"POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{'f' * 40}\r\nabc",
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_malformed_request_is_refused_and_ends_the_connection(
    line: Line, request_text: str, *, at_once: bool
) -> None:
    data = request_text.encode("latin-1") + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    for piece in [data] if at_once else [bytes([byte]) for byte in data]:
        line.send(piece)
    assert line.answer.status == 400
    assert line.answer.errcode == "M_UNKNOWN"
    assert line.answer.headers["connection"] == "close"
    assert line.is_closed


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://x/a?b=c", "/a", "b=c"),
        ("HTTPS://x:8448/a", "/a", ""),
        ("http://x", "/", ""),
        ("http://x?b", "/", "b"),
        ("http://user@x/..%2f?", "/..%2f", ""),
        ("/a?b?c", "/a", "b?c"),
    ],
)
def test_a_target_may_be_a_whole_url(line: Line, target: str, path: str, query: str) -> None:
    answer = line.get(target)
    assert (answer.json["path"], answer.json["query"]) == (path, query)


def test_options_of_the_whole_server_are_answered(line: Line) -> None:
    assert line.get("*", method="OPTIONS").status == 204


@pytest.mark.parametrize(
    "head",
    [
        "GET /" + "a" * 70_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA: " + "b" * 70_000 + "\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\n" + "".join(f"A{n}: b\r\n" for n in range(300)) + "\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 300 + "\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA: " + "b" * 1_000_000,
        "GET /" + "a" * 1_000_000,
    ],
)
@pytest.mark.parametrize("size", [1_000, 65_536])  # more is never read at once
def test_a_head_has_a_limit(line: Line, head: str, size: int) -> None:
    for start in range(0, len(head), size):
        line.send(head[start : start + size])
    assert line.answer.status == 431
    assert line.is_closed


@pytest.mark.parametrize(
    "beginning",
    ["0\r\nA: ", "0\r\n" + "A: b\r\n" * 20_000, "3;extension=", "3\r\nabc\r\n0\r\nA: "],
    ids=["a trailer", "trailers", "a chunk", "after a body"],
)
def test_what_stands_around_a_body_has_a_limit(line: Line, beginning: str) -> None:
    """It is no part of the body, so that its limit does not count it."""
    line.send("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + beginning)
    for _ in range(10):
        line.send(b"b" * 65_536)
    assert line.answer.status == 431
    assert line.is_closed


def test_many_requests_in_one_read_do_not_count_as_one_large_head(line: Line) -> None:
    request = "GET /a HTTP/1.1\r\nHost: x\r\nA: " + "b" * 500 + "\r\n\r\n"
    line.send(request * 100 + request[:100])
    line.send(request[100:])
    assert [answer.status for answer in line.answers()] == [200] * 101


@pytest.mark.parametrize(
    "body",
    [
        "Content-Length: 101\r\n\r\n",
        "Content-Length: 101\r\n\r\n" + "a" * 101,
        "Content-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n65\r\n" + "a" * 101 + "\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n" + "1\r\na\r\n" * 101,
    ],
)
def test_a_body_over_the_route_s_limit_is_refused_before_it_has_come(line: Line, body: str) -> None:
    line.send("POST /a HTTP/1.1\r\nHost: x\r\n" + body)
    assert (line.answer.status, line.answer.errcode) == (413, "M_TOO_LARGE")
    assert line.answer.headers["connection"] == "close"


def test_a_body_in_crumbs_takes_no_more_memory_than_its_size() -> None:
    """Each piece as an object of its own would take twenty times as much, for whoever likes."""
    size = 300_000
    route = Route("POST", "/large", echo, Auth.NONE, max_body=size)
    line = Listener(route).connect()
    line.send("POST /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    crumbs = b"2\r\nab\r\n" * 5_000
    tracemalloc.start()
    try:
        for _ in range(size // 10_000):
            line.send(crumbs)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 4 * size
    line.send("0\r\n\r\n")
    assert len(line.answer.json["body"]) == size


def test_a_body_at_the_limit_is_accepted(line: Line) -> None:
    line.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + "a" * 100)
    assert line.answer.status == 200


def test_a_refused_client_may_finish_sending_so_that_it_reads_why() -> None:
    listener = Listener(*ROUTES)
    line = listener.connect()
    line.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
    line.send(b"a" * 60_000)
    assert not line.is_closed
    listener.advance(Limits().linger_seconds + 5)
    assert line.is_closed
    assert line.answer.status == 413


def test_a_refused_client_may_not_send_for_ever(line: Line) -> None:
    line.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
    for _ in range(70):
        line.send(b"a" * 65_536)
    assert line.is_closed


def test_an_unknown_path_is_answered_after_its_body(line: Line) -> None:
    line.send(
        "POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert [answer.status for answer in line.answers()] == [404, 200]


def test_what_was_asked_before_the_nonsense_is_answered(line: Line) -> None:
    line.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n\x00\x00")
    assert [answer.status for answer in line.answers()] == [200, 400]
    assert line.is_closed


def test_a_trailer_changes_nothing(line: Line) -> None:
    line.send(
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n"
        "Authorization: Bearer x\r\nHost: y\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert [answer.status for answer in line.answers()] == [200, 200]
    assert line.answers()[0].json["body"] == "abc"


@pytest.mark.parametrize(
    "body", ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
)
def test_an_upgrade_is_ignored_and_its_body_is_not_the_next_request(line: Line, body: str) -> None:
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    line.send(f"POST /a HTTP/1.1\r\nHost: x\r\n{upgrade}{body}GET /b HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n")
    line.send("GET /c HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = line.answers()
    assert [(answer.json["path"], answer.json["body"]) for answer in answers] == [
        ("/a", "abc"),
        ("/b", ""),
        ("/c", ""),
    ]


def test_nothing_is_read_after_the_last_request_of_a_connection(line: Line) -> None:
    line.send("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    line.send("GET /c HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.answer.json["path"] == "/a"
    assert line.is_closed
