"""Connections to other servers: made to checked addresses, kept open for a while, never too many."""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from homeserver.runtime.addresses import AddressGuard, PrivateAddress
from homeserver.runtime.client_tls import ClientTls, TlsProtocol
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.concurrency import CancelledError, Limit, failure_of
from homeserver.runtime.dns import NameFailure, Resolver
from homeserver.runtime.http_client.connection import ClientConnection
from homeserver.runtime.http_client.errors import Unreachable
from homeserver.runtime.http_client.messages import Target

Key: TypeAlias = tuple[str, int, str | None]


class ConnectReactor(Protocol):
    """The reactor as clients see it."""

    def connectTCP(  # noqa: N802 - Twisted's spelling
        self, host: str, port: int, factory: Any, timeout: float = 30
    ) -> Any:
        """Connect; `host` is an IP address here."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds on connections. Idle ones are kept per target, and all in all, only so many and so long."""

    connect_s: float = 10.0
    """For TCP and TLS together, for each address of a host."""
    at_once: int = 250
    at_once_per_target: int = 8
    idle: int = 100
    idle_per_target: int = 2
    idle_s: float = 60.0
    sweep_s: float = 10.0


class Pool:
    """Hands out connections that nobody else uses meanwhile."""

    def __init__(
        self,
        reactor: ConnectReactor,
        clock: Clock,
        resolver: Resolver,
        guard: AddressGuard,
        *,
        tls: ClientTls,
        limits: PoolLimits | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._resolver = resolver
        self._guard = guard
        self._tls = tls
        self._limits = limits or PoolLimits()
        self._places = Limit(self._limits.at_once)
        self._per_target: dict[Key, _Places] = {}
        self._idle: dict[Key, list[ClientConnection]] = {}
        self._idle_count = 0
        self._busy: set[ClientConnection] = set()
        self._sweeping: DelayedCall | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Read which authorities are believed: the first connection need not. Raises OSError."""
        self._tls.context()

    async def take(self, target: Target, *, fresh: bool = False) -> ClientConnection:
        """A connection to the target, kept open from before unless `fresh`. Give it back.

        Raises Unreachable. Waits while too many are in use.
        """
        if self._is_stopped:
            raise Unreachable("The server is being stopped")
        key = _key(target)
        await self._enter(key)
        try:
            connection = None if fresh else self._from_idle(key)
            if connection is None:
                connection = await self._connect(target)
        except BaseException:
            self._leave(key)
            raise
        self._busy.add(connection)
        return connection

    def give_back(self, target: Target, connection: ClientConnection, *, reusable: bool) -> None:
        """Done with it. One that is not `reusable` is closed."""
        key = _key(target)
        self._busy.discard(connection)
        if not reusable or not connection.is_open or self._is_stopped:
            connection.drop()
        else:
            self._keep(key, connection)
        self._leave(key)  # last: whoever waits for the place takes the connection too

    def stop(self) -> None:
        """Close all connections; requests under way fail."""
        self._is_stopped = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connections in list(self._idle.values()):
            for connection in list(connections):
                connection.on_lost = None
                connection.close()
        self._idle.clear()
        self._idle_count = 0
        for connection in list(self._busy):
            connection.drop()

    @property
    def idle(self) -> int:
        """Connections that are open and unused."""
        return self._idle_count

    @property
    def busy(self) -> int:
        """Connections in use."""
        return len(self._busy)

    # Places

    async def _enter(self, key: Key) -> None:
        places = self._per_target.get(key)
        if places is None:
            places = self._per_target[key] = _Places(Limit(self._limits.at_once_per_target))
        places.users += 1
        try:
            await places.limit.enter()
        except BaseException:
            self._drop_user(key, places)
            raise
        try:
            await self._places.enter()
        except BaseException:
            places.limit.leave()
            self._drop_user(key, places)
            raise

    def _leave(self, key: Key) -> None:
        self._places.leave()
        places = self._per_target[key]
        places.limit.leave()
        self._drop_user(key, places)

    def _drop_user(self, key: Key, places: "_Places") -> None:
        places.users -= 1
        if not places.users:
            del self._per_target[key]

    # Idle connections

    def _keep(self, key: Key, connection: ClientConnection) -> None:
        idle = self._idle.setdefault(key, [])
        if len(idle) >= self._limits.idle_per_target:
            connection.close()
            return
        connection.idle_since = self._clock.monotonic()
        connection.on_lost = lambda lost: self._forget(key, lost)
        idle.append(connection)
        self._idle_count += 1
        if self._idle_count > self._limits.idle:
            self._close_oldest()
        if self._sweeping is None:
            self._sweeping = self._clock.call_later(self._limits.sweep_s, self._sweep)

    def _from_idle(self, key: Key) -> ClientConnection | None:
        idle = self._idle.get(key)
        if not idle:
            return None
        connection = idle[-1]
        self._forget(key, connection)
        connection.on_lost = None
        return connection

    def _forget(self, key: Key, connection: ClientConnection) -> None:
        idle = self._idle.get(key)
        if idle is not None and connection in idle:
            idle.remove(connection)
            self._idle_count -= 1
            if not idle:
                del self._idle[key]

    def _close_oldest(self) -> None:
        key, connections = min(self._idle.items(), key=lambda item: item[1][0].idle_since)
        connection = connections[0]
        self._forget(key, connection)
        connection.close()

    def _sweep(self) -> None:
        self._sweeping = None
        expired = self._clock.monotonic() - self._limits.idle_s
        for key, connections in list(self._idle.items()):
            for connection in list(connections):
                if connection.idle_since <= expired:
                    self._forget(key, connection)
                    connection.close()
        if self._idle:
            self._sweeping = self._clock.call_later(self._limits.sweep_s, self._sweep)

    # New connections

    async def _connect(self, target: Target) -> ClientConnection:
        """To the first address of the host that answers. Every address is checked before it is used."""
        try:
            addresses = await self._resolver.addresses(target.host)
        except NameFailure as error:
            raise Unreachable(str(error)) from None
        problems = []
        for address in addresses:
            try:
                self._guard.check(address)
                return await self._connect_to(address, target)
            except PrivateAddress as error:
                problems.append(f"{target.host}: {error}, and those are refused")
            except ssl.SSLError as error:  # also of the wrong name: another address will not do better
                raise Unreachable(f"{target.host}:{target.port}: TLS: {_tls_reason(error)}") from None
            except Unreachable as error:
                problems.append(str(error))
        raise Unreachable("; ".join(problems) or f"{target.host} has no address")

    async def _connect_to(self, address: str, target: Target) -> ClientConnection:
        connection = ClientConnection()
        factory = _Factory(connection, f"{target.host}:{target.port} ({address})")
        if target.tls_name is not None:
            try:
                context = self._tls.context()
            except OSError as error:
                raise Unreachable(str(error)) from None
            name = target.tls_name.rstrip(".")
            factory.wrap = lambda inner: TlsProtocol(context, name, inner, factory.fail)
        connector = self._reactor.connectTCP(address, target.port, factory, timeout=self._limits.connect_s)
        giving_up = self._clock.call_later(self._limits.connect_s, factory.give_up, connector)
        try:
            await connection.made
        except CancelledError:
            connector.disconnect()
            raise
        finally:
            if giving_up.active():
                giving_up.cancel()
        return connection


@dataclass(slots=True)
class _Places:
    """Connections to one target: how many are in use or wanted."""

    limit: Limit
    users: int = 0


class _Factory(ClientFactory):
    """Makes the one protocol of one attempt to connect."""

    noisy = False

    def __init__(self, connection: ClientConnection, where: str) -> None:
        self._connection = connection
        self._where = where
        self.wrap: Callable[[ClientConnection], Any] | None = None

    def buildProtocol(self, addr: object) -> Any:  # noqa: N802
        return self._connection if self.wrap is None else self.wrap(self._connection)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:  # noqa: N802
        self.fail(Unreachable(f"{self._where}: {_reason(reason)}"))

    def fail(self, error: Exception) -> None:
        made: Deferred[None] = self._connection.made
        if not made.called:
            made.errback(failure_of(error))

    def give_up(self, connector: Any) -> None:
        self.fail(Unreachable(f"{self._where}: no connection in time"))
        connector.disconnect()


def _key(target: Target) -> Key:
    return (target.host, target.port, target.tls_name)


def _reason(failure: Failure) -> str:
    """Why there is no connection, in one line."""
    error = failure.value
    number = getattr(error, "osError", None)
    if isinstance(number, int):
        return os.strerror(number)
    inner = (
        error.args[0] if error and error.args else None
    )  # lost while it was made: it holds the reason for that
    return (inner if isinstance(inner, Failure) else failure).getErrorMessage()


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or str(error.args[0])  # one that we made ourselves has none
