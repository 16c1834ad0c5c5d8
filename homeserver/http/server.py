"""A listener: accepts connections, watches over their patience, and stops without losing an answer."""

import logging
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from homeserver.http.body_budget import BodyBudget
from homeserver.http.connection import Connection
from homeserver.http.crowds import Crowds
from homeserver.http.heads import Heads
from homeserver.http.limits import Limits
from homeserver.http.proxies import TrustedProxies
from homeserver.http.routing import Router
from homeserver.http.tls import ServerTls
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.concurrency import Gate, wait

logger = logging.getLogger(__name__)

SWEEP_TICKS = 4
UNIX_PREFIX = "unix:"


class ListeningPort(Protocol):
    """What listens (IListeningPort)."""

    def getHost(self) -> Any: ...  # noqa: N802

    def stopListening(self) -> Deferred[None] | None: ...  # noqa: N802


class ListeningReactor(Protocol):
    """What is used of the reactor (IReactorTCP, IReactorUNIX)."""

    def listenTCP(self, port: int, factory: Factory, backlog: int, interface: str) -> ListeningPort: ...  # noqa: N802

    def listenUNIX(self, address: str, factory: Factory, backlog: int) -> ListeningPort: ...  # noqa: N802


class HttpServer(Factory):
    """Serves a Router on any number of addresses.

    `tick` counts seconds. All time-outs are measured in it, and the Date header is made anew with it, so that
    no request asks for the time.
    """

    noisy = False

    def __init__(
        self,
        router: Router,
        clock: Clock,
        *,
        limits: Limits | None = None,
        bodies: BodyBudget | None = None,
        trusted_proxies: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` stand on every answer. `bodies` is for all listeners together."""
        self.router = router
        self.limits = limits or Limits()
        self.bodies = bodies or BodyBudget()
        self.proxies = TrustedProxies(trusted_proxies)
        self.heads = Heads(headers)
        self.tick = 1
        self.is_stopping = False
        self.connections: set[Connection] = set()
        self._clock = clock
        self._crowds = Crowds(clock, self.limits.connections_per_address)
        self._ports: list[ListeningPort] = []
        self._request_numbers = count(1)
        self._all_closed = Gate(is_open=True)
        self._ticking: DelayedCall | None = None

    def start(self) -> None:
        """Begin to count time. Before the first connection."""
        self.heads.refresh(self._clock.now_ms() / 1000)
        self._ticking = self._clock.call_later(1, self._count)

    def listen(
        self,
        reactor: ListeningReactor,
        port: int,
        address: str,
        *,
        tls: ServerTls | None = None,
        backlog: int = 1024,
    ) -> int:
        """Accept connections at an address of this machine ("::" for all), or at `unix:/path`.

        Returns the port number, which the system chooses if `port` is 0. Raises CannotListenError.
        """
        if address.startswith(UNIX_PREFIX):
            path = address.removeprefix(UNIX_PREFIX)
            self._ports.append(reactor.listenUNIX(path, self, backlog))
            return 0
        factory = self if tls is None else tls.around(self, reactor)
        listening = reactor.listenTCP(port, factory, backlog, address)
        self._ports.append(listening)
        return int(listening.getHost().port)

    def buildProtocol(self, addr: object) -> Connection:  # type: ignore[override]  # noqa: N802
        """For Twisted: a client has connected."""
        return Connection(self)

    async def stop(self, *, within_seconds: float = 5) -> None:
        """Accept no more, answer what was asked, end long polls at once; after `within_seconds` cut off."""
        self.is_stopping = True
        ports, self._ports = self._ports, []
        for port in ports:
            stopped = port.stopListening()
            if stopped is not None:
                await wait(stopped)
        for connection in list(self.connections):
            connection.stop()
        if not await self._all_closed.wait_for(self._clock, within_seconds):
            logger.warning("Cutting off %d connections that did not end in time", len(self.connections))
            for connection in list(self.connections):
                connection.transport.abortConnection()
        if self._ticking is not None and self._ticking.active():
            self._ticking.cancel()

    # What connections ask

    def next_request_id(self, method: str) -> str:
        """A name for a request, unique in this process."""
        return f"{method}-{next(self._request_numbers)}"

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._all_closed.close()
        if not self.proxies.trusts(connection.peer) and not self._crowds.enter(connection.peer):
            connection.transport.abortConnection()

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.proxies.trusts(connection.peer):
            self._crowds.leave(connection.peer)
        if not self.connections:
            self._all_closed.open()

    def _count(self) -> None:
        self._ticking = self._clock.call_later(1, self._count)
        self.tick += 1
        self.heads.refresh(self._clock.now_ms() / 1000)
        if self.tick % SWEEP_TICKS == 0:
            self._sweep()

    def _sweep(self) -> None:
        tick = self.tick
        for connection in [one for one in self.connections if 0 < one.deadline <= tick]:
            connection.expire()
