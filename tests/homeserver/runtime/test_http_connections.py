"""Connections to other servers: kept open, replaced when they went stale, bounded in number."""

import socket
import time

import pytest

from homeserver.runtime.concurrency import gather
from homeserver.runtime.http_client import (
    BrokenAnswer,
    HttpAnswer,
    HttpFailure,
    HttpRequest,
    Unreachable,
)
from tests.support.live_client import GET, Client, plain_target, until
from tests.support.remote_servers import (
    LiveReactor,
    answering,
    plain,
    read_request,
)


def test_connections_are_kept_open(client: Client) -> None:
    server = client.server(plain())
    for _ in range(5):
        client.send(server)
    assert (server.connections, client.idle(), client.busy()) == (1, 1, 0)


@pytest.mark.parametrize("answer", [plain(b"{}", "200 OK", "Connection: close"), b"HTTP/1.0 200 OK\r\n\r\n"])
def test_unless_the_other_side_says_otherwise(client: Client, answer: bytes) -> None:
    server = client.server(answering(answer, close=True))
    for _ in range(2):
        client.send(server)
    assert server.connections == 2
    assert client.idle() == 0


def test_they_are_closed_when_unused(client: Client) -> None:
    client.build(idle_s=0.1, sweep_s=0.05)
    client.send(client.server(plain()))
    assert client.idle() == 1
    until(lambda: client.idle() == 0)


def test_only_so_many_are_kept(client: Client) -> None:
    client.build(idle=3)
    servers = [client.server(plain()) for _ in range(5)]
    for server in servers:
        client.send(server)
    assert client.idle() == 3
    client.send(servers[4])
    assert servers[4].connections == 1
    client.send(servers[0])
    assert servers[0].connections == 2


def test_one_closed_meanwhile_is_replaced(client: Client) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(plain())
        read_request(connection)  # and hangs up instead of an answer, as if it had closed just before

    server = client.server(serve)
    for _ in range(3):
        assert client.send(server, request=HttpRequest("PUT", "/", body=b"x")).status == 200
    assert server.connections == 3


def test_what_must_not_be_repeated_gets_a_new_connection(client: Client) -> None:
    server = client.server(plain())
    client.send(server)
    client.send(server, request=HttpRequest("POST", "/", body=b"x", is_repeatable=False))
    assert server.connections == 2


def test_a_new_connection_that_hangs_up_is_not_tried_again(client: Client) -> None:
    server = client.server(lambda connection: read_request(connection))
    with pytest.raises(BrokenAnswer):
        client.send(server)
    assert server.connections == 1


def test_an_answer_that_nobody_asked_for_is_not_believed(client: Client) -> None:
    server = client.server(answering(plain(b"first") + plain(b"forged"), plain(b"second")))
    assert client.send(server).body == b"first"
    assert client.send(server).body != b"forged"


def test_an_answer_while_idle_closes_the_connection(client: Client) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(plain(b"first"))
        time.sleep(0.1)
        connection.sendall(plain(b"forged"))
        read_request(connection)

    server = client.server(serve)
    assert client.send(server).body == b"first"
    until(lambda: client.idle() == 0)
    assert client.send(server).body == b"first"


def test_only_so_many_requests_at_once_for_one_server(client: Client, live: LiveReactor) -> None:
    client.build(at_once_per_target=2)
    at_once: list[int] = []
    inside = [0]

    def serve(connection: socket.socket) -> None:
        while read_request(connection)[0]:
            inside[0] += 1
            at_once.append(inside[0])
            time.sleep(0.05)
            inside[0] -= 1
            connection.sendall(plain())

    server = client.server(serve)

    async def many() -> list[HttpAnswer]:
        one = lambda: client.http.send(GET, [plain_target(server)], timeout_s=10, max_bytes=1000)  # noqa: E731
        return await gather(*(one() for _ in range(8)))

    assert len(live.result(many)) == 8
    assert max(at_once) == 2
    assert server.connections == 2


def test_stopping_ends_what_is_under_way(client: Client, live: LiveReactor) -> None:
    server = client.server(lambda connection: (read_request(connection), time.sleep(5)))

    async def stop_soon() -> None:
        live.reactor.callLater(0.2, client.http.stop)
        await client.http.send(GET, [plain_target(server)], timeout_s=10, max_bytes=1000)

    with pytest.raises(HttpFailure):
        live.result(stop_soon)
    with pytest.raises(Unreachable, match="being stopped"):
        client.send(server)
