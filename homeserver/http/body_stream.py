"""The body of a large upload, read while it arrives."""

from collections.abc import AsyncIterator
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred

from homeserver.protocol.errors import MatrixError, TooLarge


class Flow(Protocol):
    """Stops the bytes from coming, or lets them come."""

    def __call__(self, *, flows: bool) -> None: ...


HIGH_WATER_BYTES = 256 * 1024


class ClientGone(MatrixError):
    """The client went away in the middle of its body: there is nobody to answer."""

    status = 400
    default = "The body ended early"


class BodyStream:
    """Pieces of a body in order: `async for chunk in request.stream`, or `await request.stream.read()`.

    The client is made to wait when the reader is slower. Reading raises TooLarge when the body turns out
    to be longer than the route's `max_body`, and ClientGone when the client goes away or is too slow.
    """

    __slots__ = ("_buffered", "_chunks", "_ended", "_flow", "_left", "_paused", "_waiting", "length")

    def __init__(self, *, max_bytes: int, length: int | None = None, flow: Flow | None = None) -> None:
        self.length = length
        """What Content-Length says, if it says anything."""
        self._left = max_bytes
        self._flow = flow
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._ended: MatrixError | bool = False
        self._waiting: Deferred[None] | None = None

    async def read(self) -> bytes:
        """Everything that has arrived, at least one byte; b"" at the end of the body."""
        while not self._chunks:
            if isinstance(self._ended, MatrixError):
                raise self._ended
            if self._ended:
                return b""
            self._waiting = Deferred()
            self._let_flow(flows=True)
            try:
                await self._waiting
            except CancelledError:
                self._waiting = None
                raise
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            self._let_flow(flows=True)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk

    def feed(self, data: bytes) -> None:
        """Bytes arrived. For the server."""
        if self._ended:
            return
        self._left -= len(data)
        if self._left < 0:
            self.fail(TooLarge("The body is larger than this server accepts here"))
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._let_flow(flows=False)
        self._wake()

    def finish(self) -> None:
        """The body is complete. For the server."""
        if not self._ended:
            self._ended = True
            self._wake()

    def fail(self, error: MatrixError) -> None:
        """No more will come. The reader gets `error` after what has arrived. For the server."""
        if not self._ended:
            self._ended = error
            self._wake()

    @property
    def is_complete(self) -> bool:
        """Has all of it arrived?"""
        return self._ended is True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _let_flow(self, *, flows: bool) -> None:
        if self._flow is not None:
            self._flow(flows=flows)
