"""TLS towards other servers: verified against a name, over any Twisted transport.

Python's own `ssl` costs less than a megabyte; pyOpenSSL costs ten and checks no names by itself.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

READ_BYTES = 64 * 1024


class ClientTls:
    """Which certificate authorities are believed: the system's, and those in `ca_file`."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """What connections share; reading the authorities takes some 20 ms, once.

        Raises OSError when `ca_file` cannot be read or holds no certificate.
        """
        if self._context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
            context.set_alpn_protocols(["http/1.1"])
            context.load_default_certs()
            if self._ca_file is not None:
                try:
                    context.load_verify_locations(cafile=str(self._ca_file))
                except OSError as error:
                    reason = "it holds none" if isinstance(error, ssl.SSLError) else error.strerror
                    raise OSError(
                        f"Cannot read the certificate authorities in {self._ca_file}: {reason}"
                    ) from error
            self._context = context
        return self._context


class TlsProtocol(Protocol):
    """Stands between a TCP transport and a protocol, which takes it for its transport.

    The inner protocol is connected once the certificate has proved to be one of `name`, which may also be
    an IP address. Before that, `on_failure` hears what went wrong.
    """

    def __init__(
        self, context: ssl.SSLContext, name: str, inner: Protocol, on_failure: Callable[[Exception], object]
    ) -> None:
        self._inner = inner
        self._incoming: Any = ssl.MemoryBIO()
        self._outgoing: Any = ssl.MemoryBIO()
        self._tls: Any = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._on_failure = on_failure
        self._is_open = False
        self._is_over = False

    # From below

    def connectionMade(self) -> None:  # noqa: N802
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._incoming.write(data)
        if not self._is_open and not self._is_over:
            self._shake_hands()
        if self._is_open:
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self._is_open:
            self._is_open = False
            self._inner.connectionLost(reason)
        elif not self._is_over:
            self._fail(ssl.SSLError("The other side hung up during the TLS handshake"))
        self._is_over = True
        self._tls = self._incoming = self._outgoing = None  # 100 KB that no reference cycle should hold back

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, ValueError) as error:
            self._flush()  # tells the other side why
            self._fail(error)
        else:
            self._flush()
            self._is_open = True
            self._inner.makeConnection(self)  # type: ignore[no-untyped-call]

    def _read(self) -> None:
        while self._is_open:
            try:
                data = self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:  # a farewell or a broken stream: the inner protocol knows if it had all
                self.loseConnection()
                break
            if not data:
                self.loseConnection()
                break
            self._inner.dataReceived(data)
        self._flush()

    def _fail(self, error: Exception) -> None:
        self._is_over = True
        self._transport.loseConnection()
        self._on_failure(error)

    def _flush(self) -> None:
        if self._outgoing is not None and self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    @property
    def _transport(self) -> Any:
        return self.transport

    # From above: the inner protocol's transport

    def write(self, data: bytes) -> None:
        """Encrypt and send; nothing happens once the connection is over.

        When the other side has said farewell, or the stream is broken, the connection ends now.
        """
        if not self._is_open:
            return
        try:
            for start in range(0, len(data), READ_BYTES):
                self._tls.write(data[start : start + READ_BYTES])
                self._flush()
        except ssl.SSLError:
            self._transport.abortConnection()

    def pauseProducing(self) -> None:  # noqa: N802
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802
        self._transport.resumeProducing()

    def loseConnection(self) -> None:  # noqa: N802
        if self._is_open:
            with suppress(ssl.SSLError):  # it waits for the other side's farewell; we do not
                self._tls.unwrap()
            self._flush()
        self._transport.loseConnection()

    def abortConnection(self) -> None:  # noqa: N802
        self._transport.abortConnection()
