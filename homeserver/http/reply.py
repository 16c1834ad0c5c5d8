"""What an endpoint may answer with, and how it becomes bytes.

An endpoint returns a dict or list (JSON, status 200), or a `Reply` when the status or a header
matters. `RawJson` is JSON that is encoded already, `Stream` a body that is produced while it is sent.
"""

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from math import ceil
from typing import BinaryIO, TypeAlias

import orjson

from homeserver.protocol.errors import LimitExceeded, MatrixError

CHUNK_BYTES = 64 * 1024
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class RawJson:
    """JSON text that is encoded already: one piece, or several that are joined when the answer is sent."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: bytes | list[bytes]) -> None:
        self.pieces = pieces

    def joined(self) -> bytes:
        return self.pieces if isinstance(self.pieces, bytes) else b"".join(self.pieces)


class Stream:
    """A body that is produced while it is sent, no faster than the client reads.

    With `length` (bytes) the answer has a Content-Length, and ending short of it breaks the connection,
    so that nobody takes half a file for the whole. Without, it is chunked. `close`, where the iterable
    has one (generators, `of_file`), is called whatever happens.
    """

    __slots__ = ("chunks", "length")

    def __init__(self, chunks: Iterable[bytes] | AsyncIterable[bytes], *, length: int | None = None) -> None:
        self.chunks = chunks
        self.length = length

    @classmethod
    def of_file(cls, file: BinaryIO, *, length: int) -> "Stream":
        """The next `length` bytes of an open file, which is closed afterwards."""
        return cls(_FileChunks(file, length), length=length)


class _FileChunks:
    """Reads a file piece by piece. No generator, so that one that was never begun closes its file too."""

    __slots__ = ("_file", "_left")

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self._left = length

    def __iter__(self) -> "_FileChunks":
        return self

    def __next__(self) -> bytes:
        chunk = self._file.read(min(CHUNK_BYTES, self._left)) if self._left else b""
        if not chunk:
            raise StopIteration
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()


JsonBody: TypeAlias = Mapping[str, object] | Sequence[object]
Body: TypeAlias = JsonBody | RawJson | Stream | bytes | str


class Reply:
    """A status, a body and headers.

    A dict or list is sent as JSON, `str` as UTF-8 text/plain and `bytes` as application/octet-stream,
    unless `headers` has a Content-Type.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: Body = b"", headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        self.headers: Mapping[str, str] = {} if headers is None else headers


Answer: TypeAlias = JsonBody | RawJson | Stream | Reply
"""What an endpoint may return."""


def html(text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A page that may load nothing from elsewhere and be framed by nobody, unless `headers` say so."""
    return Reply(
        status,
        text.encode(),
        {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            **(headers or {}),
        },
    )


def redirect(location: str, *, status: int = 302) -> Reply:
    """Send the client elsewhere. The caller has checked that `location` may be shown to them."""
    return Reply(status, b"", {"Location": location, "Referrer-Policy": "no-referrer"})


def of_error(error: MatrixError) -> Reply:
    """The standard error response; a rate limit also says when to try again in Retry-After (seconds)."""
    headers = None
    if isinstance(error, LimitExceeded):
        headers = {"Retry-After": str(max(1, ceil(error.retry_after_ms / 1000)))}
    return Reply(error.status, error.body(), headers)


def of_mistake(request_id: str) -> Reply:
    """For a mistake of ours: the client learns nothing but which request to ask the operator about."""
    return Reply(500, {"errcode": "M_UNKNOWN", "error": "Internal server error", "request_id": request_id})


def of_answer(answer: Answer) -> Reply:
    """What the endpoint returned, as a Reply."""
    return answer if isinstance(answer, Reply) else Reply(200, answer)


def encoded(body: Body) -> bytes | Stream:
    """The bytes of a body; a Stream stays one."""
    if isinstance(body, bytes | Stream):
        return body
    if isinstance(body, RawJson):
        return body.joined()
    if isinstance(body, str):
        return body.encode()
    return orjson.dumps(body)


def content_type_of(body: Body) -> str:
    """The Content-Type of a body whose headers name none."""
    if isinstance(body, bytes | Stream):
        return "application/octet-stream"
    if isinstance(body, str):
        return "text/plain; charset=utf-8"
    return "application/json"
