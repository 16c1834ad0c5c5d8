"""Real sockets for clients: a reactor in a thread, and servers that do exactly what a test wants."""

import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.python.failure import Failure

from homeserver.runtime.addresses import is_ip_address
from homeserver.runtime.concurrency import run
from homeserver.runtime.dns import NameFailure, ServiceRecord
from homeserver.runtime.reactor import EPollReactor
from tests.support.certificates import Issued

T = TypeVar("T")


class LiveReactor:
    """A running reactor. Tests stay in their own thread."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
        self._thread = Thread(target=self.reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
        self._thread.start()

    def result(self, begin: Callable[[], Coroutine[Any, Any, T]], *, within: float = 15.0) -> T:
        """What the coroutine returns or raises, run on the reactor's thread."""
        outcomes: SimpleQueue[Any] = SimpleQueue()
        self.reactor.callFromThread(lambda: run(begin()).addBoth(outcomes.put))
        outcome = outcomes.get(timeout=within)
        if isinstance(outcome, Failure):
            raise outcome.value
        value: T = outcome
        return value

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns, called on the reactor's thread."""

        async def calling() -> T:
            return function()

        return self.result(calling)

    def stop(self) -> None:
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(5)
        assert not self._thread.is_alive()


class Names:
    """A Resolver that knows what the test tells it, also afterwards."""

    def __init__(
        self,
        addresses: Mapping[str, Sequence[str]],
        records: Mapping[str, Sequence[ServiceRecord]] | None = None,
    ) -> None:
        self._addresses = addresses
        self._records = {} if records is None else records

    async def addresses(self, host: str) -> Sequence[str]:
        if is_ip_address(host):
            return [host]
        if host not in self._addresses:
            raise NameFailure(f"{host} cannot be resolved")
        return self._addresses[host]

    async def services(self, name: str) -> Sequence[ServiceRecord]:
        return self._records.get(name, [])


Conversation = Callable[[socket.socket], object]
"""What a server does with a connection; it is closed afterwards."""


class SocketServer:
    """Listens on loopback; each connection goes through `serve` in a thread. `connections` counts them."""

    def __init__(self, serve: Conversation, *, tls: Issued | None = None, address: str = "127.0.0.1") -> None:
        self._serve = serve
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls.certificate, tls.key)
            self._context.sni_callback = lambda _, name, __: self.asked_for.append(name)
        self.asked_for: list[str | None] = []
        """The names in SNI, None where there was none."""
        self._socket = socket.create_server((address, 0))
        self.address = address
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._serve(connection)
        except OSError:
            pass
        finally:
            connection.close()


def read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of a request; both empty when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return b"", b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65_536)
    return head, body


def answering(*answers: bytes, close: bool = False) -> Conversation:
    """Answer each request of a connection with the next of `answers`, the last one again and again."""

    def serve(connection: socket.socket) -> None:
        for number in range(1_000):
            head, _ = read_request(connection)
            if not head:
                return
            connection.sendall(answers[min(number, len(answers) - 1)])
            if close:
                return

    return serve


def plain(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
