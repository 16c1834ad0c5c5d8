"""One connection to another server: requests go out, answers come back, one at a time."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

import httptools
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from homeserver.runtime.concurrency import CancelledError
from homeserver.runtime.http_client.answer_budget import SMALL_ANSWER_BYTES, AnswerBudget
from homeserver.runtime.http_client.errors import AnswerTooLarge, BrokenAnswer, HttpFailure, NoRoom
from homeserver.runtime.http_client.messages import HttpRequest

MAX_HEAD_BYTES = 64 * 1024
"""Of a head, and of whatever else comes between two pieces of a body or after it."""
BUFFERED_BYTES = 256 * 1024
"""So much of a body waits for its reader; then the other side has to wait too."""
BODILESS = (204, 304)


class ClientTransport(Protocol):
    """What is used of a transport, TCP or TLS."""

    def write(self, data: bytes) -> None: ...
    def pauseProducing(self) -> None: ...  # noqa: N802
    def resumeProducing(self) -> None: ...  # noqa: N802
    def loseConnection(self) -> None: ...  # noqa: N802
    def abortConnection(self) -> None: ...  # noqa: N802


class HungUp(BrokenAnswer):
    """The connection ended before a single byte of the answer came."""


class ClientConnection(TwistedProtocol):
    """Made by the pool. `made` fires once it can be used; after that, one `exchange` after the other."""

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.is_open = False
        self.requests = 0
        """How many it has carried."""
        self.idle_since = 0.0
        self.on_lost: Any = None
        """Called when an idle connection ends."""
        self._exchange: Exchange | None = None
        self._parser: Any = None

    @property
    def _line(self) -> ClientTransport:
        return cast(ClientTransport, self.transport)

    def connectionMade(self) -> None:  # noqa: N802
        self.is_open = True
        self._parser = httptools.HttpResponseParser(_Callbacks(self))
        if not self.made.called:
            self.made.callback(None)

    def begin(self, request: HttpRequest, host_header: str) -> "Exchange":
        """Send a request. The one before must be over."""
        assert self._exchange is None
        data = request.encoded(host_header)
        self.requests += 1
        self._exchange = exchange = Exchange(self)
        if not self.is_open:
            exchange.fail(HungUp("The connection had been closed"))
        else:
            self._line.write(data)
        return exchange

    def end(self, exchange: "Exchange") -> bool:
        """The exchange is over, read to its end or not. May the connection be used again?"""
        if self._exchange is exchange:
            self._exchange = None
            exchange.resume()
            if exchange.is_complete and exchange.keeps_alive and self.is_open:
                return True
        self.drop()
        return False

    def drop(self) -> None:
        """Close at once, without ceremony."""
        if self.is_open:
            self.is_open = False
            self._line.abortConnection()

    def close(self) -> None:
        """Close politely, while idle."""
        if self.is_open:
            self.is_open = False
            self._line.loseConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        exchange = self._exchange
        if exchange is None or exchange.is_complete:
            self.drop()  # nobody asked for anything: whatever this is, it must not become an answer
            return
        exchange.received += len(data)
        exchange.bodiless += len(data)
        if exchange.bodiless > MAX_HEAD_BYTES + len(data):
            exchange.fail(BrokenAnswer("The answer says too much beside its body"))
        else:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                exchange.fail(BrokenAnswer("The answer changes the protocol"))
            except httptools.HttpParserError as error:
                exchange.fail(BrokenAnswer(f"The answer is not HTTP: {error}"))
        exchange.wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        self.is_open = False
        self._parser = None  # which refers to this connection
        exchange = self._exchange
        if exchange is not None:
            exchange.lost()
            exchange.wake()
        elif self.on_lost is not None:
            self.on_lost(self)

    def pause(self) -> None:
        if self.is_open:
            self._line.pauseProducing()

    def resume(self) -> None:
        if self.is_open:
            self._line.resumeProducing()

    @property
    def exchange(self) -> "Exchange | None":
        return self._exchange

    @property
    def parser(self) -> Any:
        return self._parser


class Exchange:
    """A request that was sent, and its answer as it comes."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.is_complete = False
        self.keeps_alive = False
        self.received = 0
        self.bodiless = 0
        """Bytes since the last of the body: of the head, of chunks' frames, of trailers."""
        self.has_length = False
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._is_paused = False
        self._failure: HttpFailure | None = None
        self._waiter: Deferred[None] | None = None

    async def head(self) -> None:
        """Wait until `status` and `headers` are there. Raises HttpFailure."""
        while not self.has_head:
            await self._more()

    async def next_chunk(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises HttpFailure."""
        while not self._chunks:
            if self.is_complete:
                return b""
            await self._more()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._buffered < BUFFERED_BYTES:
            self.resume()
        return chunk

    async def read(self, max_bytes: int, budget: AnswerBudget) -> bytes:
        """The whole body. Raises AnswerTooLarge, before reading where the other side says how much it is.

        Raises NoRoom where too much is being read elsewhere.
        """
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > max_bytes:
            raise AnswerTooLarge(f"The answer has {length} bytes; at most {max_bytes} are wanted")
        body = bytearray()  # pieces may be as small as the other side likes
        try:
            while chunk := await self.next_chunk():
                body += chunk
                if len(body) > max_bytes:
                    raise AnswerTooLarge(f"The answer has more than {max_bytes} bytes")
                if len(body) > SMALL_ANSWER_BYTES:
                    budget.hold(self, len(body))
                    if self._failure is not None:
                        raise self._failure
        finally:
            budget.release(self)
        return bytes(body)

    def make_room(self) -> None:
        """For the budget: other answers need the memory."""
        self.fail(NoRoom("Too many large answers are being read, and this one came most slowly"))
        self.wake()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the body."""
        while chunk := await self.next_chunk():
            yield chunk

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = Deferred()
        try:
            await self._waiter
        except CancelledError:
            self.fail(BrokenAnswer("The request was cancelled"))
            raise

    # From the connection

    def wake(self) -> None:
        """Something has changed: let the reader look."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    def fail(self, failure: HttpFailure) -> None:
        if self._failure is None and not self.is_complete:
            self._failure = failure
            self._connection.drop()

    def lost(self) -> None:
        """The connection has ended."""
        if self.is_complete:
            return
        if self.has_head and not self.has_length:
            self.is_complete = True  # an answer without a length ends with its connection
        elif not self.received:
            self.fail(HungUp("The other side closed the connection without an answer"))
        else:
            self.fail(BrokenAnswer("The connection ended within the answer"))

    def add(self, chunk: bytes) -> None:
        self.bodiless = 0
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered >= BUFFERED_BYTES and not self._is_paused:
            self._is_paused = True
            self._connection.pause()

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._connection.resume()


class _Callbacks:
    """What httptools calls while it reads answers."""

    __slots__ = ("_connection", "_headers", "_status")

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._headers: dict[str, str] = {}
        self._status = 0

    def _exchange(self) -> Exchange | None:
        """The one whose answer this is; an answer that nobody asked for spoils the connection."""
        exchange = self._connection.exchange
        if exchange is not None and exchange.is_complete:
            exchange.keeps_alive = False
            return None
        return exchange

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange()
        if exchange is None or exchange.has_head:
            return  # trailers are of no use
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        self._status = self._connection.parser.get_status_code()
        exchange = self._exchange()
        if exchange is None or self._status < 200:
            return  # 100 Continue and the like
        exchange.status = self._status
        exchange.headers = self._headers
        exchange.has_head = True
        exchange.has_length = (
            "content-length" in self._headers
            or "chunked" in self._headers.get("transfer-encoding", "").lower()
            or self._status in BODILESS
        )

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange()
        if exchange is not None:
            exchange.add(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange()
        if exchange is not None and self._status >= 200:
            exchange.is_complete = True
            exchange.keeps_alive = bool(self._connection.parser.should_keep_alive())
