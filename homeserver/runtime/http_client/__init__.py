"""HTTP/1.1 towards other servers: pooled connections, checked addresses, bounded answers.

`HttpClient.send` reads a whole answer, `open` hands it over as it comes, `get` follows redirects.
"""

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from homeserver.runtime.addresses import is_ip_address
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import TimedOut, timeout
from homeserver.runtime.http_client.answer_budget import AnswerBudget
from homeserver.runtime.http_client.connection import ClientConnection, Exchange, HungUp
from homeserver.runtime.http_client.errors import (
    AnswerTooLarge,
    BadRedirect,
    BrokenAnswer,
    HttpFailure,
    NoRoom,
    TookTooLong,
    Unreachable,
)
from homeserver.runtime.http_client.messages import HttpAnswer, HttpRequest, Target
from homeserver.runtime.http_client.pool import Pool, PoolLimits

__all__ = [
    "AnswerBudget",
    "AnswerTooLarge",
    "BadRedirect",
    "BrokenAnswer",
    "HttpAnswer",
    "HttpClient",
    "HttpFailure",
    "HttpRequest",
    "NoRoom",
    "OpenAnswer",
    "Pool",
    "PoolLimits",
    "Target",
    "TookTooLong",
    "Unreachable",
    "target_of_url",
]

T = TypeVar("T")

LEAST_PACE = 4 * 1024
"""Bytes a second. Who sends less holds a connection that others need."""
REDIRECTS = (301, 302, 303, 307, 308)


class OpenAnswer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, exchange: Exchange, clock: Clock, budget: AnswerBudget, idle_s: float) -> None:
        self._exchange = exchange
        self._budget = budget
        self._clock = clock
        self._idle_s = idle_s
        self.status = exchange.status
        self.headers: Mapping[str, str] = exchange.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as fast as it is taken. Raises TookTooLong when nothing comes, or only drips."""
        received, waited_s = 0, 0.0
        while True:
            began = self._clock.monotonic()
            chunk = await _within(self._clock, self._idle_s, self._exchange.next_chunk())
            if not chunk:
                return
            received += len(chunk)
            waited_s += self._clock.monotonic() - began
            if waited_s > self._idle_s + received / LEAST_PACE:
                raise TookTooLong(f"Only {received} bytes within {waited_s:.0f} s")
            yield chunk

    async def read(self, max_bytes: int) -> bytes:
        """All of the body, within the time for one piece. Raises AnswerTooLarge, TookTooLong."""
        return await _within(self._clock, self._idle_s, self._exchange.read(max_bytes, self._budget))


class HttpClient:
    """Sends requests to other servers."""

    def __init__(self, pool: Pool, clock: Clock, budget: AnswerBudget | None = None) -> None:
        """`budget` is what whole answers may hold together while they come."""
        self._pool = pool
        self._budget = budget or AnswerBudget(clock)
        self._clock = clock

    def start(self) -> None:
        """Be ready for the first request. Raises OSError when the certificate authorities cannot be read."""
        self._pool.start()

    async def send(
        self, request: HttpRequest, targets: Sequence[Target], *, timeout_s: float, max_bytes: int
    ) -> HttpAnswer:
        """The whole answer of the first target that can be reached. Redirects are answers like others.

        `timeout_s` covers everything. Raises HttpFailure.
        """
        return await _within(self._clock, timeout_s, self._send(request, targets, max_bytes))

    @asynccontextmanager
    async def open(
        self, request: HttpRequest, targets: Sequence[Target], *, timeout_s: float, idle_s: float = 30.0
    ) -> AsyncIterator[OpenAnswer]:
        """The answer while it comes. `timeout_s` is for its head, `idle_s` for the time between pieces.

        Raises HttpFailure. Left early, the connection is closed.
        """
        connection, exchange, target = await _within(
            self._clock, timeout_s, self._begin_anywhere(request, targets)
        )
        try:
            yield OpenAnswer(exchange, self._clock, self._budget, idle_s)
        finally:
            self._pool.give_back(target, connection, reusable=connection.end(exchange))

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        max_bytes: int,
        max_redirects: int = 5,
    ) -> HttpAnswer:
        """GET an https URL, redirects to https followed, each under the same check of its address.

        Raises BadRedirect, and HttpFailure otherwise.
        """
        following = self._follow(url, headers or {}, max_bytes, max_redirects)
        return await _within(self._clock, timeout_s, following)

    def stop(self) -> None:
        """Close all connections; requests under way fail."""
        self._pool.stop()

    async def _follow(
        self, url: str, headers: Mapping[str, str], max_bytes: int, max_redirects: int
    ) -> HttpAnswer:
        seen = {url}
        while True:
            try:
                target, path = target_of_url(url)
                answer = await self._send(HttpRequest("GET", path, headers), [target], max_bytes)
            except HttpFailure as failure:
                if len(seen) == 1:
                    raise
                raise type(failure)(f"it redirects to {url[:300]}: {failure}") from failure
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None:
                return answer
            url = urljoin(url, location)
            if url in seen:
                raise BadRedirect(f"{url[:300]} redirects in a circle")
            if len(seen) > max_redirects:
                raise BadRedirect(f"More than {max_redirects} redirects")
            seen.add(url)

    async def _send(self, request: HttpRequest, targets: Sequence[Target], max_bytes: int) -> HttpAnswer:
        connection, exchange, target = await self._begin_anywhere(request, targets)
        try:
            body = await exchange.read(max_bytes, self._budget)
        finally:
            self._pool.give_back(target, connection, reusable=connection.end(exchange))
        return HttpAnswer(exchange.status, exchange.headers, body)

    async def _begin_anywhere(
        self, request: HttpRequest, targets: Sequence[Target]
    ) -> tuple[ClientConnection, Exchange, Target]:
        """The head of an answer from the first target that can be connected to."""
        problems = []
        for target in targets:
            try:
                connection, exchange = await self._begin(request, target)
            except Unreachable as error:
                problems.append(str(error))
            else:
                return connection, exchange, target
        raise Unreachable("; ".join(problems) or "There is nowhere to connect to")

    async def _begin(self, request: HttpRequest, target: Target) -> tuple[ClientConnection, Exchange]:
        """A connection that was kept open may have been closed meanwhile: then once more, on a new one."""
        connection = await self._pool.take(target, fresh=not request.is_repeatable)
        is_first = connection.requests == 0
        try:
            return connection, await self._exchange(request, target, connection)
        except HungUp:
            if is_first or not request.is_repeatable:
                raise
        connection = await self._pool.take(target, fresh=True)
        return connection, await self._exchange(request, target, connection)

    async def _exchange(self, request: HttpRequest, target: Target, connection: ClientConnection) -> Exchange:
        """Send on this connection and wait for the head; on failure the connection has been given back."""
        exchange = None
        try:
            exchange = connection.begin(request, target.host_header)
            await exchange.head()
        except BaseException:
            if exchange is not None:
                connection.end(exchange)
            self._pool.give_back(target, connection, reusable=False)
            raise
        return exchange


def target_of_url(url: str) -> tuple[Target, str]:
    """Where an https URL leads, and its path with the query. Raises BadRedirect for any other."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadRedirect(f"{url[:300]!r} is not a URL") from None
    if parts.scheme != "https" or not host or not host.isascii() or parts.username is not None:
        raise BadRedirect(f"{url[:300]!r} is not an https URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(character <= " " for character in path):
        raise BadRedirect(f"{url[:300]!r} is not percent-encoded")
    bracketed = f"[{host}]" if ":" in host and is_ip_address(host) else host
    host_header = bracketed if port in (None, 443) else f"{bracketed}:{port}"
    return Target(host, port or 443, host, host_header), path


async def _within(clock: Clock, seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await timeout(clock, seconds, coroutine)
    except TimedOut:
        raise TookTooLong(f"No answer within {seconds:g} s") from None
