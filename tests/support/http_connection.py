"""One HTTP connection in memory: bytes in, bytes out, no sockets, a clock that tests turn."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock as FakeReactorTime
from twisted.python.failure import Failure

from homeserver.http.body_budget import BodyBudget
from homeserver.http.connection import Connection
from homeserver.http.limits import Limits
from homeserver.http.routing import Route, Router
from homeserver.http.server import HttpServer
from homeserver.http.transport import PushProducer
from homeserver.runtime.clock import Clock

BUFFER_BYTES = 64 * 1024


class FakeTransport:
    """Keeps what is written. A client that does not read (`reads = False`) fills the buffer, as TCP would."""

    def __init__(self, address: str = "192.0.2.7") -> None:
        self.written = bytearray()
        self.reads = True
        self.is_closed = False  # our side closed it, cleanly
        self.is_aborted = False
        self.is_paused = False
        self._unread = 0
        self._address = address
        self._producer: PushProducer | None = None
        self._producer_is_paused = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.is_closed or self.is_aborted:
            return
        self.written += data
        if not self.reads:
            self._unread += len(data)
            if self._unread > BUFFER_BYTES and self._producer is not None and not self._producer_is_paused:
                self._producer_is_paused = True
                self._producer.pauseProducing()

    def read_all(self) -> None:
        """The client reads what is there."""
        self._unread = 0
        if self._producer is not None and self._producer_is_paused:
            self._producer_is_paused = False
            self._producer.resumeProducing()

    def lose(self) -> None:
        """The connection breaks."""
        if self._producer is not None:
            self._producer.stopProducing()
            self._producer = None

    def loseConnection(self) -> None:
        self.is_closed = True

    def abortConnection(self) -> None:
        self.is_aborted = True

    def getPeer(self) -> object:
        return IPv4Address("TCP", self._address, 50_000) if self._address else UNIXAddress(b"/run/x")

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def registerProducer(self, producer: PushProducer, streaming: bool) -> None:
        assert streaming
        assert self._producer is None
        self._producer = producer

    def unregisterProducer(self) -> None:
        assert self._producer is not None
        self._producer = None

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False


@dataclass
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str:
        code: str = self.json["errcode"]
        return code


class Line:
    """A client with a connection of its own to a server."""

    def __init__(self, server: HttpServer, address: str = "192.0.2.7") -> None:
        self.transport = FakeTransport(address)
        self.connection: Connection = server.buildProtocol(None)
        self.connection.makeConnection(self.transport)
        self._is_lost = False

    def send(self, data: bytes | str) -> None:
        self.connection.dataReceived(data.encode() if isinstance(data, str) else data)
        self._close_as_asked()

    def get(self, path: str, *headers: str, method: str = "GET") -> RawAnswer:
        """Send a request without a body and return its answer, the last one that came."""
        self.send("\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")))
        return self.answers()[-1]

    def answers(self, *, to_head: bool = False) -> list[RawAnswer]:
        """All answers so far."""
        return list(parse_answers(bytes(self.transport.written), to_head=to_head))

    @property
    def answer(self) -> RawAnswer:
        """The one and only answer."""
        (answer,) = self.answers()
        return answer

    @property
    def is_closed(self) -> bool:
        return self.transport.is_closed or self.transport.is_aborted

    def hang_up(self) -> None:
        """The client closes."""
        if not self._is_lost:
            self._is_lost = True
            self.transport.lose()
            self.connection.connectionLost(Failure(ConnectionDone()))

    def _close_as_asked(self) -> None:
        if self.is_closed and not self._is_lost:
            self._is_lost = True
            self.transport.lose()
            self.connection.connectionLost(Failure(ConnectionLost()))


class Listener:
    """A server and its clock."""

    def __init__(
        self,
        *routes: Route,
        limits: Limits | None = None,
        trusted_proxies: tuple[str, ...] = (),
        bodies: BodyBudget | None = None,
        **doors: Any,
    ) -> None:
        self.time = FakeReactorTime()
        clock = Clock(
            self.time, wall=lambda: 1_700_000_000 + self.time.seconds(), monotonic=self.time.seconds
        )
        router = Router(None, routes, **{"authenticate": lambda request, route: None, **doors})
        self.server = HttpServer(router, clock, limits=limits, bodies=bodies, trusted_proxies=trusted_proxies)
        self.server.start()
        self.lines: list[Line] = []

    def connect(self, address: str = "192.0.2.7") -> Line:
        line = Line(self.server, address)
        self.lines.append(line)
        return line

    def advance(self, seconds: int) -> None:
        """Let time pass, second by second."""
        for _ in range(seconds):
            self.time.advance(1)
            for line in self.lines:
                line._close_as_asked()


def parse_answers(data: bytes, *, to_head: bool = False) -> Iterator[RawAnswer]:
    """Strictly: anything that is not an answer fails the test."""
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"an incomplete head: {head!r}"
        status_line, *lines = head.decode("latin-1").split("\r\n")
        matched = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", status_line)
        assert matched, status_line
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, line
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        status = int(matched[1])
        if to_head or status < 200 or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body, data = _unchunked(data)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body, data = data[:length], data[length:]
            assert len(body) == length, "an incomplete body"
        else:
            assert headers.get("connection") == "close"
            body, data = data, b""
        yield RawAnswer(status, headers, body)


def _unchunked(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, separator, data = data.partition(b"\r\n")
        assert separator, "an incomplete chunked body"
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if not length:
            return body, data
