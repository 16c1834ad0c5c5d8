"""Large answers, sent no faster than the client reads."""

import logging
from collections.abc import AsyncIterable, Iterable, Iterator
from contextvars import copy_context
from typing import Protocol

from twisted.internet.defer import Deferred

from homeserver.http.driven import Driven
from homeserver.http.reply import CHUNK_BYTES, Reply, Stream
from homeserver.http.transport import Transport

logger = logging.getLogger(__name__)


def in_pieces(body: bytes) -> Stream:
    """A body too large to be put into the transport at once."""
    return Stream(_slices(body), length=len(body))


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]


class Watcher(Protocol):
    """The connection, as a sender sees it."""

    def sending_waits(self, *, for_client: bool) -> None:
        """The client has to read before more is sent; or it has, and the source decides how fast it goes."""

    def sending_ended(self, *, well: bool) -> None:
        """All was handed to the transport; or it went wrong on the way, and the client must notice."""


class Sender(Driven):
    """Writes the pieces of a Stream to a transport and closes it whatever happens. A PushProducer."""

    __slots__ = (
        "_chunked",
        "_is_paused",
        "_is_stopped",
        "_left",
        "_resumed",
        "_stream",
        "_transport",
        "_watcher",
    )

    def __init__(self, transport: Transport, watcher: Watcher, stream: Stream, *, chunked: bool) -> None:
        super().__init__()
        self._transport = transport
        self._watcher = watcher
        self._stream = stream
        self._chunked = chunked
        self._left = stream.length
        self._is_paused = False
        self._is_stopped = False
        self._resumed: Deferred[None] | None = None

    def start(self) -> None:
        """Send. The watcher's `sending_ended` follows, maybe before this returns."""
        self._transport.registerProducer(self, True)
        self.drive(self._send(), copy_context())

    async def _send(self) -> bool:
        """Did all of it go out as announced?"""
        chunks = self._stream.chunks
        try:
            if isinstance(chunks, AsyncIterable):
                async for chunk in chunks:
                    if not await self._put(chunk):
                        return False
            else:
                for chunk in chunks:
                    if not await self._put(chunk):
                        return False
        finally:
            await close(self._stream)
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        return not self._left

    async def _put(self, chunk: bytes) -> bool:
        if not chunk:
            return True
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                logger.error("A stream gave more bytes than it had announced")
                return False
        self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)
        if self._is_paused and not self._is_stopped:
            self._resumed = Deferred()
            await self._resumed
        return not self._is_stopped

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's spelling
        self._is_paused = True
        self._watcher.sending_waits(for_client=True)

    def resumeProducing(self) -> None:  # noqa: N802
        self._is_paused = False
        self._watcher.sending_waits(for_client=False)
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:  # noqa: N802
        self._is_stopped = True
        self.cancel()

    def returned(self, value: bool) -> None:
        self._end(well=value)

    def raised(self, error: Exception) -> None:
        if not self._is_stopped:
            logger.error("Sending an answer failed half-way", exc_info=error)
        self._end(well=False)

    def _end(self, *, well: bool) -> None:
        if not self._is_stopped:
            self._transport.unregisterProducer()
        self._watcher.sending_ended(well=well and not self._is_stopped)


async def close(stream: Stream) -> None:
    """Let the source of a stream clean up, read to the end or not."""
    source: AsyncIterable[bytes] | Iterable[bytes] = stream.chunks
    if hasattr(source, "aclose"):
        await source.aclose()
    elif hasattr(source, "close"):
        source.close()


def discard(answer: Reply | Stream) -> None:
    """Nobody will read it: close the stream, if it is one."""
    stream = answer.body if isinstance(answer, Reply) else answer
    if isinstance(stream, Stream):
        _Closing().drive(close(stream), copy_context())


class _Closing(Driven):
    """Waits until a Stream is closed."""

    __slots__ = ()

    def returned(self, value: None) -> None:
        pass

    def raised(self, error: Exception) -> None:
        logger.error("Closing an answer that nobody reads failed", exc_info=error)
