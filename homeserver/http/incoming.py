"""Bytes to messages: httptools (llhttp), and what it leaves for us to refuse.

llhttp in its strict mode refuses bare line feeds, folded headers, repeated or signed lengths, a length
together with a transfer encoding, and malformed chunks. The rest of what smuggles requests is refused here.
RFC 9112; tests/homeserver/http/test_bad_requests.py
"""

import logging
from typing import Protocol

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from homeserver.http.limits import Limits
from homeserver.protocol.errors import MatrixError

logger = logging.getLogger(__name__)


class BadRequest(MatrixError):
    """These bytes are no HTTP request, or one that might mean two things. The connection ends."""

    status, default = 400, "This is not a well-formed HTTP/1.1 request"


class HeadTooLarge(MatrixError):
    status, default = 431, "The request's headers are too large"


class Head:
    """The first part of a request. `length` is the Content-Length; None when chunked."""

    __slots__ = ("headers", "is_http_1_0", "keep_alive", "length", "method", "target")

    def __init__(
        self,
        method: str,
        target: str,
        headers: dict[bytes, bytes],
        length: int | None,
        *,
        keep_alive: bool,
        is_http_1_0: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.length = length
        self.keep_alive = keep_alive
        self.is_http_1_0 = is_http_1_0


class Sink(Protocol):
    """Who is told what arrives, in order, message after message."""

    def message_begun(self) -> None: ...

    def head_arrived(self, head: Head) -> None: ...

    def body_arrived(self, data: bytes) -> None: ...

    def message_complete(self) -> None: ...


class Incoming:
    """The parser of one connection, alive while bytes come in.

    After `refusal` is there nothing more is told: the connection cannot be understood any further.
    """

    __slots__ = (
        "_aside_bytes",
        "_body_follows",
        "_chunk_bytes",
        "_head_bytes",
        "_header_count",
        "_headers",
        "_in_head",
        "_limits",
        "_parser",
        "_resumes",
        "_sink",
        "_url",
        "refusal",
    )

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self._sink = sink
        self._limits = limits
        self._parser = HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._in_head = False
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._aside_bytes = 0  # since the last of a body: trailers, frames of chunks
        self._body_follows: bytes | None = None
        self._resumes = False
        self.refusal: MatrixError | None = None

    def feed(self, data: bytes) -> None:
        """Parse; raises nothing. Look at `refusal` afterwards."""
        self._chunk_bytes = len(data)
        while data and self.refusal is None:
            try:
                self._parser.feed_data(data)
                data = b""
            except HttpParserUpgrade as upgrade:
                data = self._stay_with_http_1(data[upgrade.args[0] :])
            except HttpParserCallbackError:
                logger.exception("Reading a request failed")
                self._refuse(BadRequest())
            except HttpParserError as error:
                self._refuse(BadRequest(f"{BadRequest.default}: {error}"))
        if self._in_head:
            self._head_bytes += self._chunk_bytes
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(HeadTooLarge())
        else:
            self._aside_bytes += self._chunk_bytes
            if self._aside_bytes > self._limits.head_bytes:
                self._refuse(HeadTooLarge())

    def _refuse(self, error: MatrixError) -> None:
        if self.refusal is None:
            self.refusal = error

    def _stay_with_http_1(self, rest: bytes) -> bytes:
        """An Upgrade we do not follow: go on parsing `rest` as the body of the request, or as the next one.

        llhttp would leave the body to the new protocol. Java's HTTP client asks for h2c on every request.
        """
        self._parser = HttpRequestParser(self)
        if self._body_follows is not None:
            head, self._body_follows = self._body_follows, None
            self._resumes = True
            return b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n" + rest
        return rest

    # Called by the parser. An exception here would be wrapped and lose its meaning: refuse instead.

    def on_message_begin(self) -> None:
        if self._resumes:
            return
        self._url = b""
        self._headers = {}
        self._header_count = 0
        self._in_head = True
        # The chunk in which the head begins does not count: it may hold other messages before it.
        self._head_bytes = -self._chunk_bytes
        self._sink.message_begun()

    def on_url(self, url: bytes) -> None:
        if not self._resumes:
            self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer, which may contradict the head, or what `_stay_with_http_1` made up
            return
        self._header_count += 1
        if self._header_count > self._limits.header_count:
            self._refuse(HeadTooLarge())
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name == b"host":
                self._refuse(BadRequest("Two Host headers"))
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        if self._resumes or self.refusal is not None:
            return
        self._in_head = False
        self._aside_bytes = -self._chunk_bytes
        headers = self._headers
        self._headers = {}
        try:
            head = self._head(headers)
        except MatrixError as error:
            self._refuse(error)
            return
        if b"upgrade" in headers and self._parser.should_upgrade():
            self._note_body(head)
        self._sink.head_arrived(head)

    def on_body(self, data: bytes) -> None:
        self._aside_bytes = -self._chunk_bytes  # the chunk may hold more than this
        if self.refusal is None:
            self._sink.body_arrived(data)

    def on_message_complete(self) -> None:
        self._aside_bytes = -self._chunk_bytes
        if self.refusal is None and self._body_follows is None:
            self._resumes = False
            self._sink.message_complete()

    def _note_body(self, head: Head) -> None:
        if head.length is None:
            self._body_follows = b"Transfer-Encoding: chunked"
        elif head.length:
            self._body_follows = b"Content-Length: %d" % head.length

    def _head(self, headers: dict[bytes, bytes]) -> Head:
        """The head, if it can only be understood in one way. Raises BadRequest and HeadTooLarge."""
        if self._size(headers) > self._limits.head_bytes:
            raise HeadTooLarge
        parser = self._parser
        method = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise BadRequest(f"HTTP/{version} is not spoken here")
        if method == "CONNECT":
            raise BadRequest("This is not a proxy")
        if version == "1.1" and not headers.get(b"host"):
            raise BadRequest("The Host header is missing")
        return Head(
            method,
            origin_form(self._url),
            headers,
            _length(headers, version),
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            is_http_1_0=version == "1.0",
        )

    def _size(self, headers: dict[bytes, bytes]) -> int:
        return len(self._url) + sum(map(len, headers)) + sum(map(len, headers.values()))


def _length(headers: dict[bytes, bytes], version: str) -> int | None:
    length = headers.get(b"content-length")
    encoding = headers.get(b"transfer-encoding")
    if encoding is not None:
        if length is not None:
            raise BadRequest("Content-Length and Transfer-Encoding contradict each other")
        if encoding.lower() != b"chunked" or version == "1.0":
            raise BadRequest("The only transfer encoding understood is chunked, in HTTP/1.1")
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 18:
        raise BadRequest("Content-Length is not a number")
    return int(length)


def origin_form(target: bytes) -> str:
    """The path and query of a request target; `*` becomes "/". RFC 9112 section 3.2. Raises BadRequest."""
    text = target.decode("ascii", "replace")
    if not text.startswith("/"):
        text = "/" if text == "*" else _of_absolute_form(text)
    if "#" in text or "\ufffd" in text:
        raise BadRequest("The request target holds what belongs in no URL path")
    return text


def _of_absolute_form(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in ("http", "https") or rest[:1] in ("", "/", "?"):
        raise BadRequest("The request target is no path")
    authority, slash, path = rest.partition("/")
    if slash and "?" not in authority:
        return "/" + path
    return "/?" + rest.partition("?")[2] if "?" in rest else "/"
