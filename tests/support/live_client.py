"""A client over real sockets: what tests of connections, TLS and redirects send requests with."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from homeserver.runtime.addresses import AddressGuard
from homeserver.runtime.client_tls import ClientTls
from homeserver.runtime.clock import Clock
from homeserver.runtime.http_client import (
    HttpAnswer,
    HttpClient,
    HttpRequest,
    Pool,
    PoolLimits,
    Target,
)
from tests.support.certificates import Authority
from tests.support.remote_servers import (
    Conversation,
    LiveReactor,
    Names,
    SocketServer,
    answering,
)

GET = HttpRequest("GET", "/")
NAMES = {"good.example": ["127.0.0.1"], "two.example": ["127.0.0.2", "127.0.0.1"], "nowhere.example": []}


class Client:
    """An HttpClient on the live reactor, and what it talks to."""

    def __init__(self, live: LiveReactor, authority: Authority, stack: ExitStack) -> None:
        self._live = live
        self._authority = authority
        self._stack = stack
        self.build()

    def build(self, *, allow_private: bool = True, ca_file: Path | None = None, **limits: Any) -> None:
        clock = Clock(self._live.reactor)
        self.pool = Pool(
            self._live.reactor,
            clock,
            Names(NAMES),
            AddressGuard(allow_private=allow_private),
            tls=ClientTls(ca_file or self._authority.file),
            limits=PoolLimits(**limits),
        )
        self.http = HttpClient(self.pool, clock)
        pool = self.pool
        self._stack.callback(lambda: self._live.call(pool.stop))

    def server(self, serve: Conversation | bytes, **how: Any) -> SocketServer:
        server = SocketServer(answering(serve) if isinstance(serve, bytes) else serve, **how)
        return self._stack.enter_context(closing(server))

    def send(
        self,
        *servers: SocketServer | Target,
        request: HttpRequest = GET,
        timeout_s: float = 10,
        max_bytes: int = 1_000_000,
    ) -> HttpAnswer:
        targets = [plain_target(server) if isinstance(server, SocketServer) else server for server in servers]
        return self._live.result(
            lambda: self.http.send(request, targets, timeout_s=timeout_s, max_bytes=max_bytes)
        )

    def get(self, url: str, **how: Any) -> HttpAnswer:
        wishes = {"timeout_s": 10, "max_bytes": 100_000, **how}
        return self._live.result(lambda: self.http.get(url, **wishes))

    def idle(self) -> int:
        return self._live.call(lambda: self.pool.idle)

    def busy(self) -> int:
        return self._live.call(lambda: self.pool.busy)


def plain_target(server: SocketServer) -> Target:
    return Target(server.address, server.port, None, "good.example")


def tls_target(server: SocketServer, name: str, host: str = "good.example") -> Target:
    return Target(host, server.port, name, name)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "It did not come about"
        time.sleep(0.02)
