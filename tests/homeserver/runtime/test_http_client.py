"""Requests over real sockets: answers, limits, time, TLS, redirects, refused addresses."""

import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.python.failure import Failure

from homeserver.runtime.addresses import AddressGuard
from homeserver.runtime.clock import Clock
from homeserver.runtime.http_client import (
    AnswerTooLarge,
    BadRedirect,
    BrokenAnswer,
    HttpRequest,
    Target,
    TookTooLong,
    Unreachable,
    target_of_url,
)
from tests.support.certificates import Authority
from tests.support.live_client import GET, Client, plain_target, tls_target
from tests.support.remote_servers import (
    Conversation,
    LiveReactor,
    answering,
    plain,
    read_request,
)

# Answers


def test_a_request_and_its_answer(client: Client) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def serve(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(plain(b'{"a":1}', "201 Created", "X-Twice: one", "x-twice: two"))

    server = client.server(serve)
    request = HttpRequest("PUT", "/a%20b?c=%25", {"X-Header": "value"}, b"body")
    answer = client.send(server, request=request)
    assert (answer.status, answer.body, answer.headers["x-twice"]) == (201, b'{"a":1}', "one, two")
    assert seen[0][0] == (
        b"PUT /a%20b?c=%25 HTTP/1.1\r\nHost: good.example\r\nX-Header: value\r\nContent-Length: 4"
    )
    assert seen[0][1] == b"body"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n", b"a"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
    ],
)
def test_forms_of_answers(client: Client, answer: bytes, body: bytes) -> None:
    server = client.server(answer)
    for _ in range(2):
        assert client.send(server).body == body
    assert server.connections == 1
    assert "x-trailer" not in client.send(server).headers


def test_an_answer_that_ends_with_its_connection(client: Client) -> None:
    server = client.server(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True))
    assert client.send(server).body == b"all of it"
    assert client.idle() == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"",
    ],
)
def test_broken_answers(client: Client, answer: bytes) -> None:
    server = client.server(answering(answer, close=True))
    with pytest.raises(BrokenAnswer):
        client.send(server)
    assert (client.idle(), client.busy()) == (0, 0)


def test_large_answers_come_whole(client: Client) -> None:
    body = bytes(range(256)) * 40_000
    assert client.send(client.server(plain(body)), max_bytes=len(body)).body == body


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"x" * 101),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"65\r\n" + b"x" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    ],
)
def test_answers_that_are_too_large_are_not_read(client: Client, answer: bytes) -> None:
    with pytest.raises(AnswerTooLarge):
        client.send(client.server(answer), max_bytes=100)
    assert client.busy() == 0


def test_an_endless_answer_is_cut_off(client: Client) -> None:
    sent = []

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)
            sent.append(65_536)

    with pytest.raises(AnswerTooLarge):
        client.send(client.server(serve), max_bytes=1_000_000)
    time.sleep(0.1)
    assert sum(sent) < 30_000_000


@pytest.mark.parametrize(
    "beginning", [b"0\r\nX-Trailer: ", b"0\r\n", b"1;extension="], ids=["a trailer", "trailers", "a chunk"]
)
def test_endless_words_around_a_body_are_cut_off(client: Client, beginning: bytes) -> None:
    """They are no part of the body, so that its limit does not count them."""
    sent = []

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + beginning)
        line = b"x" * 65_536 if beginning != b"0\r\n" else b"X-T: x\r\n" * 8_192
        while True:
            connection.sendall(line)
            sent.append(65_536)

    with pytest.raises(BrokenAnswer):
        client.send(client.server(serve), max_bytes=1_000_000, timeout_s=5)
    time.sleep(0.1)
    assert sum(sent) < 30_000_000


def test_a_body_in_crumbs_takes_no_more_memory_than_its_size(client: Client) -> None:
    """Each piece as an object of its own would take twenty times as much."""
    size = 400_000
    crumbs = b"2\r\nxy\r\n" * (size // 2) + b"0\r\n\r\n"
    server = client.server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + crumbs)
    tracemalloc.start()
    try:
        assert len(client.send(server, max_bytes=1_000_000).body) == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * size + len(crumbs)


# Time


def test_an_answer_that_does_not_come(client: Client) -> None:
    server = client.server(lambda connection: (read_request(connection), time.sleep(5)))
    with pytest.raises(TookTooLong):
        client.send(server, timeout_s=0.2)
    assert client.busy() == 0


def test_an_answer_that_drips(client: Client) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x")
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(TookTooLong):
        client.send(client.server(serve), timeout_s=0.5)
    assert time.monotonic() - started < 3


def test_a_handshake_that_never_ends(client: Client) -> None:
    client.build(connect_s=0.3)
    server = client.server(lambda connection: time.sleep(5))
    with pytest.raises(Unreachable, match="no connection in time"):
        client.send(tls_target(server, "good.example"))


def test_a_handshake_that_is_broken_off(client: Client) -> None:
    server = client.server(lambda connection: connection.recv(4096))
    with pytest.raises(Unreachable, match="hung up"):
        client.send(tls_target(server, "good.example"))


def test_reading_slowly_makes_the_other_side_wait(client: Client, live: LiveReactor) -> None:
    sent: list[int] = []

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(500):
            connection.sendall(b"x" * 100_000)
            sent.append(100_000)
        read_request(connection)

    server = client.server(serve)

    async def read() -> tuple[int, int]:
        async with client.http.open(GET, [plain_target(server)], timeout_s=10) as answer:
            await Clock(live.reactor).sleep(0.5)
            before = sum(sent)
            total = 0
            async for chunk in answer.chunks():
                total += len(chunk)
            return before, total

    before, total = live.result(read)
    assert before < 30_000_000
    assert total == 50_000_000
    assert client.idle() == 1


def test_a_body_left_unread_ends_its_connection(client: Client, live: LiveReactor) -> None:
    server = client.server(plain(b"x" * 10_000_000))

    async def peek() -> int:
        async with client.http.open(GET, [plain_target(server)], timeout_s=10) as answer:
            return answer.status

    assert live.result(peek) == 200
    assert (client.idle(), client.busy()) == (0, 0)


def test_a_body_that_stalls(client: Client, live: LiveReactor) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        time.sleep(5)

    server = client.server(serve)

    async def read() -> None:
        async with client.http.open(GET, [plain_target(server)], timeout_s=10, idle_s=0.2) as answer:
            async for _ in answer.chunks():
                pass

    with pytest.raises(TookTooLong):
        live.result(read)


def test_a_refusal_that_stalls(client: Client, live: LiveReactor) -> None:
    """The whole of what is read at once has to come in time, not only its head."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    server = client.server(serve)

    async def read() -> bytes:
        async with client.http.open(GET, [plain_target(server)], timeout_s=10, idle_s=0.5) as answer:
            return await answer.read(10_000)

    with pytest.raises(TookTooLong):
        live.result(read)
    assert client.busy() == 0


def test_a_file_that_drips(client: Client, live: LiveReactor) -> None:
    """Never silent for long, and never done: it would hold its connection for days."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    server = client.server(serve)

    async def read() -> None:
        async with client.http.open(GET, [plain_target(server)], timeout_s=10, idle_s=0.4) as answer:
            async for _ in answer.chunks():
                pass

    started = time.monotonic()
    with pytest.raises(TookTooLong):
        live.result(read)
    assert time.monotonic() - started < 3


# Where to connect


def test_the_next_address_is_tried(client: Client) -> None:
    server = client.server(plain())
    target = Target("two.example", server.port, None, "two.example")
    assert client.send(target).status == 200


def test_the_next_target_is_tried(client: Client) -> None:
    server = client.server(plain())
    assert client.send(Target("127.0.0.1", free_port(), None, "x"), server).status == 200


@pytest.mark.parametrize("host", ["nowhere.example", "unknown.example"])
def test_names_without_an_address(client: Client, host: str) -> None:
    with pytest.raises(Unreachable, match=host):
        client.send(Target(host, 1, None, host))


def test_nobody_listens(client: Client) -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port} .*refused"):
        client.send(Target("127.0.0.1", port, None, "x"))


def test_a_connection_that_is_lost_while_it_is_made(
    client: Client, live: LiveReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twisted wraps the reason in another: it is told in one line."""

    def connect(host: str, port: int, factory: Any, timeout: float) -> None:
        lost = ConnectError(string=Failure(ConnectionDone()))
        live.reactor.callLater(0, factory.clientConnectionFailed, None, Failure(lost))

    monkeypatch.setattr(live.reactor, "connectTCP", connect)
    with pytest.raises(Unreachable, match=r"\(127\.0\.0\.1\): Connection was closed cleanly\.$"):
        client.send(Target("good.example", 8448, None, "good.example"))


def test_a_server_that_hangs_up_during_the_handshake(client: Client) -> None:
    server = client.server(lambda connection: None)
    with pytest.raises(Unreachable, match=r"TLS: The other side hung up during the TLS handshake$"):
        client.send(tls_target(server, "good.example"))


def test_private_addresses_are_refused(client: Client) -> None:
    client.build(allow_private=False)
    server = client.server(plain())
    for host in ("127.0.0.1", "good.example"):
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1 is a private address"):
            client.send(Target(host, server.port, None, host))
    assert server.connections == 0


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("GET", "/a b"),
        HttpRequest("GET", "/\r\nX: y"),
        HttpRequest("GET", "/", {"X": "a\r\nY: b"}),
        HttpRequest("GET", "/", {"X": "a\nY: b"}),
    ],
)
def test_requests_cannot_be_broken_out_of(client: Client, request_: HttpRequest) -> None:
    with pytest.raises(ValueError, match="line break"):
        client.send(client.server(plain()), request=request_)
    assert client.busy() == 0


# TLS


def test_tls(client: Client, authority: Authority) -> None:
    server = client.server(plain(b"x" * 500_000), tls=authority.issue("good.example"))
    for _ in range(3):
        assert len(client.send(tls_target(server, "good.example")).body) == 500_000
    assert server.connections == 1
    assert server.asked_for == ["good.example"]


def test_large_bodies_through_tls(client: Client, authority: Authority) -> None:
    bodies: list[int] = []

    def serve(connection: socket.socket) -> None:
        bodies.append(len(read_request(connection)[1]))
        connection.sendall(plain())

    server = client.server(serve, tls=authority.issue("good.example"))
    client.send(tls_target(server, "good.example"), request=HttpRequest("PUT", "/", body=b"x" * 3_000_000))
    assert bodies == [3_000_000]


def test_a_certificate_for_an_address(client: Client, authority: Authority) -> None:
    server = client.server(plain(), tls=authority.issue("127.0.0.1"))
    assert client.send(Target("127.0.0.1", server.port, "127.0.0.1", "127.0.0.1")).status == 200
    assert server.asked_for == [None]


@pytest.mark.parametrize(
    ("names", "days", "why"),
    [
        (["other.example"], 1, "Hostname mismatch"),
        (["127.0.0.1"], 1, "mismatch"),
        (["*.other.example"], 1, "mismatch"),
        (["good.example"], -1, "expired"),
    ],
)
def test_certificates_are_checked(
    client: Client, authority: Authority, names: list[str], days: int, why: str
) -> None:
    server = client.server(plain(), tls=authority.issue(*names, days=days))
    with pytest.raises(Unreachable, match=why):
        client.send(tls_target(server, "good.example"))
    assert client.busy() == 0


def test_an_unknown_authority_is_not_believed(client: Client, tmp_path: Path) -> None:
    server = client.server(plain(), tls=Authority(tmp_path, "Another CA").issue("good.example"))
    with pytest.raises(Unreachable, match="certificate"):
        client.send(tls_target(server, "good.example"))


def test_a_server_without_tls(client: Client) -> None:
    server = client.server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(Unreachable, match="TLS"):
        client.send(tls_target(server, "good.example"))


def test_a_file_of_authorities_that_is_not_there(
    client: Client, authority: Authority, tmp_path: Path
) -> None:
    server = client.server(plain(), tls=authority.issue("good.example"))
    client.build(ca_file=tmp_path / "missing.pem")
    with pytest.raises(Unreachable, match="certificate authorities"):
        client.send(tls_target(server, "good.example"))


def test_connections_are_not_shared_between_names(client: Client, authority: Authority) -> None:
    server = client.server(plain(), tls=authority.issue("one.example", "other.example"))
    client.send(tls_target(server, "one.example"))
    client.send(tls_target(server, "other.example"))
    assert server.connections == 2


# Redirects


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "host_header"),
    [
        ("https://a.example/x?y=1", "a.example", 443, "/x?y=1", "a.example"),
        ("https://a.example", "a.example", 443, "/", "a.example"),
        ("https://a.example:8443/", "a.example", 8443, "/", "a.example:8443"),
        ("https://1.2.3.4/", "1.2.3.4", 443, "/", "1.2.3.4"),
        ("https://[::1]:80/", "::1", 80, "/", "[::1]:80"),
    ],
)
def test_where_a_url_leads(url: str, host: str, port: int, path: str, host_header: str) -> None:
    assert target_of_url(url) == (Target(host, port, host, host_header), path)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "ftp://a.example/",
        "file:///etc/passwd",
        "//a.example/",
        "/path",
        "",
        "https://",
        "https://user:secret@a.example/",
        "https://a.example:99999/",
        "https://[::1/",
        "https://bücher.example/",
        "https://a.example/a b",
        "https://a.example/\x00",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(BadRedirect):
        target_of_url(url)


def redirecting(locations: Callable[[int], str]) -> Conversation:
    def serve(connection: socket.socket) -> None:
        for number in range(100):
            if not read_request(connection)[0]:
                return
            connection.sendall(plain(b"", "302 Found", f"Location: {locations(number)}"))

    return serve


def test_redirects_are_followed(client: Client, authority: Authority) -> None:
    tls = authority.issue("good.example")
    end = client.server(plain(b"here"), tls=tls)
    begin = client.server(
        answering(
            plain(b"", "301 Moved", "Location: /elsewhere"),
            plain(b"", "307 Temporary Redirect", f"Location: https://good.example:{end.port}/"),
        ),
        tls=tls,
    )
    assert client.get(f"https://good.example:{begin.port}/").body == b"here"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (lambda _: "/", "circle"),
        (lambda number: f"/{number}", "More than 5"),
        (lambda _: "http://good.example/", "redirects to http://good.example/: .* is not an https URL"),
        (lambda _: "file:///etc/passwd", "https"),
        (lambda _: "https://user@good.example/", "https"),
    ],
)
def test_redirects_in_circles_and_out_of_https(
    client: Client, authority: Authority, location: Callable[[int], str], why: str
) -> None:
    server = client.server(redirecting(location), tls=authority.issue("good.example"))
    with pytest.raises(BadRedirect, match=why):
        client.get(f"https://good.example:{server.port}/")


def test_a_redirect_to_a_private_address_is_refused(
    client: Client, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = client.server(plain(b"secret"))
    outer = client.server(
        redirecting(lambda _: f"https://127.0.0.9:{inner.port}/"), tls=authority.issue("good.example")
    )
    only_the_first = AddressGuard(allow_private=False)
    monkeypatch.setattr("homeserver.runtime.addresses.is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(client.pool, "_guard", only_the_first)
    with pytest.raises(Unreachable, match=r"redirects to https://127\.0\.0\.9.* private address"):
        client.get(f"https://good.example:{outer.port}/")
    assert inner.connections == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
