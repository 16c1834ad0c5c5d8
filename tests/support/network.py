"""Servers in memory that reach one another without sockets: what one sends goes into the other's router.

Names resolve to themselves, certificates are not looked at, and everything is as fast as the servers are.
`down` makes a server unreachable, `silent` one that takes requests and never answers, `cut` parts two.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from homeserver.app.federation import Outside
from homeserver.http.routing import Router
from homeserver.runtime.concurrency import Gate
from homeserver.runtime.dns import NameFailure, ServiceRecord
from homeserver.runtime.http_client import (
    AnswerTooLarge,
    HttpAnswer,
    HttpClient,
    HttpFailure,
    HttpRequest,
    OpenAnswer,
    Target,
    Unreachable,
    target_of_url,
)
from tests.support.http import start


class HasRouter(Protocol):
    router: Router


Answering = Callable[[HttpRequest], HttpAnswer]
"""A server made up by a test."""


@dataclass
class Network:
    """Who is there, by the Host header they answer to. `sent` is every request that went out, in order."""

    servers: dict[str, HasRouter | Answering] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    cuts: set[frozenset[str]] = field(default_factory=set)
    records: dict[str, list[ServiceRecord] | NameFailure] = field(default_factory=dict)
    well_known: dict[str, HttpAnswer | HttpFailure] = field(default_factory=dict)
    sent: list[tuple[str, HttpRequest]] = field(default_factory=list)

    def add(self, name: str, server: HasRouter | Answering) -> None:
        """Let others find it."""
        self.servers[name] = server

    def cut(self, one: str, other: str) -> None:
        """They cannot reach each other any more."""
        self.cuts.add(frozenset((one, other)))

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.cuts.clear()
        self.down.clear()

    def outside(self, name: str = "") -> Outside:
        """The way out for the server of that name."""
        http = MemoryHttpClient(self, name)
        return Outside(cast(HttpClient, http), MemoryResolver(self))

    def find(self, origin: str, host: str) -> HasRouter | Answering:
        """Whoever answers there, as seen by `origin`."""
        server = self.servers.get(host)
        if server is None or host in self.down or origin in self.down:
            raise Unreachable(f"{host} does not answer")
        if frozenset((origin, host)) in self.cuts:
            raise Unreachable(f"{host} is cut off from {origin}")
        return server


class MemoryResolver:
    """Every name is an address; SRV records are the test's."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def addresses(self, host: str) -> Sequence[str]:
        if not host:
            raise NameFailure("no name")
        return ["127.0.0.1"]

    async def services(self, name: str) -> Sequence[ServiceRecord]:
        found = self._network.records.get(name, [])
        if isinstance(found, NameFailure):
            raise found
        return found


class MemoryHttpClient:
    """As homeserver.runtime.http_client.HttpClient, within the process."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._name = name

    async def send(
        self, request: HttpRequest, targets: Sequence[Target], *, timeout_s: float, max_bytes: int
    ) -> HttpAnswer:
        """What the server that the Host header names answers."""
        host = targets[0].host_header
        server = self._network.find(self._name, host)
        self._network.sent.append((host, request))
        request.encoded(host)
        if host in self._network.silent:
            await Gate().wait()
        if callable(server):
            answer = server(request)
        else:
            parts = request.method, request.path, request.headers, request.body
            pending = start(server.router, *parts, client_ip="10.0.0.1")
            await pending.wait()
            headers = {name.lower(): value for name, value in pending.answer.headers.items()}
            answer = HttpAnswer(pending.answer.status, headers, pending.answer.body)
        if len(answer.body) > max_bytes:
            raise AnswerTooLarge(f"more than {max_bytes} bytes")
        self._network.find(self._name, host)  # an answer does not get through a cut either
        return answer

    @asynccontextmanager
    async def open(
        self, request: HttpRequest, targets: Sequence[Target], *, timeout_s: float, idle_s: float = 30.0
    ) -> AsyncIterator[OpenAnswer]:
        """As `send`, the body in pieces."""
        answer = await self.send(request, targets, timeout_s=timeout_s, max_bytes=1 << 30)
        yield cast(OpenAnswer, MemoryAnswer(answer))

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        max_bytes: int,
        **_: Any,
    ) -> HttpAnswer:
        """Well-known files, of those servers that have one."""
        target, path = target_of_url(url)
        if path == "/.well-known/matrix/server":
            told = self._network.well_known.get(target.host_header, HttpAnswer(404, {}, b"{}"))
            if isinstance(told, HttpFailure):
                raise told
            return told
        request = HttpRequest("GET", path, headers or {})
        return await self.send(request, [target], timeout_s=timeout_s, max_bytes=max_bytes)

    def start(self) -> None:
        """Nobody is to be believed but by name."""

    def stop(self) -> None:
        """Nothing is open."""


class MemoryAnswer:
    """As OpenAnswer; pieces are small, so that readers meet every seam."""

    PIECE = 7

    def __init__(self, answer: HttpAnswer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = answer.body

    async def chunks(self) -> AsyncIterator[bytes]:
        size = max(self.PIECE, len(self._body) // 50)
        for begin in range(0, len(self._body), size):
            yield self._body[begin : begin + size]

    async def read(self, max_bytes: int) -> bytes:
        if len(self._body) > max_bytes:
            raise AnswerTooLarge(f"more than {max_bytes} bytes")
        return self._body
