"""The heads of answers: the status line and headers, most of them encoded once a second.

Every answer carries the CORS headers, since web clients call from anywhere.
https://spec.matrix.org/latest/client-server-api/#web-browser-clients
"""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from homeserver.http.reply import Reply, Stream, content_type_of, encoded

JSON = "application/json"
CORS = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
    "Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date\r\n"
)
# JSON answers hold what only this client may see: no cache keeps them.
NO_STORE = "Cache-Control: no-store\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Encoded(NamedTuple):
    """An answer as it is sent. `keep_alive`: its end can be told without closing."""

    head: bytes
    body: bytes | Stream
    keep_alive: bool
    is_chunked: bool


class Heads:
    """Heads of answers given in the current second."""

    __slots__ = ("_common", "_everywhere", "_json", "json_200")

    def __init__(self, everywhere: Mapping[str, str] | None = None) -> None:
        """`everywhere`: headers of every answer, beside the usual ones."""
        self._everywhere = CORS + "".join(
            f"{name}: {value}\r\n" for name, value in (everywhere or {}).items()
        )
        self._common = b""
        self._json: dict[int, bytes] = {}
        self.json_200 = b""
        """Up to and with `Content-Length: `; the caller adds the number and an empty line."""

    def refresh(self, now_s: float) -> None:
        """Begin a new second."""
        self._common = f"Date: {formatdate(now_s, usegmt=True)}\r\n{self._everywhere}".encode()
        self._json = {}
        self.json_200 = self.json(200)

    def encode(self, answer: Reply, *, keep_alive: bool, is_http_1_0: bool) -> "Encoded":
        """The whole answer. Raises TypeError and ValueError for what is no JSON or no header."""
        status, headers = answer.status, answer.headers
        body = encoded(answer.body) if has_body(status) else b""
        length = body.length if isinstance(body, Stream) else len(body)
        is_chunked = length is None and not is_http_1_0
        keep_alive = keep_alive and (is_chunked or length is not None)
        kind = content_type_of(answer.body)
        if kind == JSON and not headers and has_body(status):
            head = self.json(status) + b"%d\r\n" % (length or 0)
        else:
            head = self.other(status, headers)
            if not has_body(status):
                pass
            elif is_chunked:
                head += b"Transfer-Encoding: chunked\r\n"
            elif length is not None:
                head += b"Content-Length: %d\r\n" % length
            if (
                has_body(status)
                and length != 0
                and not any(name.lower() == "content-type" for name in headers)
            ):
                head += b"Content-Type: %b\r\n" % kind.encode()
        return Encoded(
            head + (b"\r\n" if keep_alive else b"Connection: close\r\n\r\n"), body, keep_alive, is_chunked
        )

    def json(self, status: int) -> bytes:
        """As `json_200`, for any status."""
        head = self._json.get(status)
        if head is None:
            head = (
                _status_line(status)
                + self._common
                + f"{NO_STORE}Content-Type: {JSON}\r\nContent-Length: ".encode()
            )
            self._json[status] = head
        return head

    def other(self, status: int, headers: Mapping[str, str]) -> bytes:
        """A head with these headers, without the empty line. Raises ValueError for CR, LF or NUL in them."""
        lines = []
        for name, value in headers.items():
            line = f"{name}: {value}"
            if "\r" in line or "\n" in line or "\0" in line:
                raise ValueError(f"The header {name!r} holds a line break: {value!r}")
            lines.append(line + "\r\n")
        return _status_line(status) + self._common + "".join(lines).encode("latin-1")


def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {_PHRASES.get(status, 'Other')}\r\n".encode()


def has_body(status: int) -> bool:
    """May an answer with this status have a body at all? RFC 9110 section 6.4.1"""
    return status >= 200 and status not in (204, 304)
