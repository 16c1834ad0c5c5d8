"""TLS towards other servers, without sockets: what happens when the other side says farewell."""

import ssl
from contextlib import suppress

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from homeserver.runtime.client_tls import ClientTls, TlsProtocol
from tests.support.certificates import Authority

NAME = "far.example"


class Transport(StringTransport):
    """Of a connection with much to send still: it does not close at once."""

    is_losing = False
    is_aborted = False

    def loseConnection(self) -> None:
        self.is_losing = True

    def abortConnection(self) -> None:
        self.is_aborted = True


class Line:
    """A client's connection, and the server at its other end."""

    def __init__(self, authority: Authority) -> None:
        issued = authority.issue(NAME)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self._to_server, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self._to_server, self._to_client, server_side=True)
        self.transport = Transport()
        self.client = TlsProtocol(ClientTls(authority.file).context(), NAME, Protocol(), pytest.fail)
        self.client.makeConnection(self.transport)
        for _ in range(3):
            self._carry()
            with suppress(ssl.SSLWantReadError):
                self.server.do_handshake()
        self._carry()

    def _carry(self) -> None:
        self._to_server.write(self.transport.value())
        self.transport.clear()
        if self._to_client.pending:
            self.client.dataReceived(self._to_client.read())

    def heard(self) -> bytes:
        """By the server."""
        self._carry()
        return self.server.read()

    def say_farewell(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.server.unwrap()
        self._carry()


@pytest.fixture
def line(authority: Authority) -> Line:
    return Line(authority)


def test_what_is_written_arrives(line: Line) -> None:
    line.client.write(b"GET / HTTP/1.1")
    assert line.heard() == b"GET / HTTP/1.1"
    assert not line.transport.is_losing


def test_a_request_after_the_farewell_ends_the_connection_at_once(line: Line) -> None:
    line.say_farewell()
    assert line.transport.is_losing
    line.client.write(b"GET / HTTP/1.1")
    assert line.transport.is_aborted
