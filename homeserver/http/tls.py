"""TLS for a listener: certificate and key from PEM files, read again on demand.

pyOpenSSL takes 60 ms to import, so only a server that listens with TLS does.
"""

import logging
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from zope.interface import implementer  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

DAY_S = 86_400


def strict_transport_security(days: int) -> dict[str, str]:
    """The header that keeps browsers to TLS for so long; after 0 they forget it. RFC 6797 section 6.1"""
    return {"Strict-Transport-Security": f"max-age={days * DAY_S}"}


class UnusableCertificate(Exception):
    """The certificate or key file cannot be read, or they do not belong together."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Certificate and key of a listener. `certificate` holds the whole chain, the server's own first."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises UnusableCertificate."""
        self._certificate = certificate
        self._key = key
        self._context = self._read()

    def reload(self) -> None:
        """Read the files again, for connections from now on. If they are unusable, that is logged and the old
        ones stay."""
        try:
            self._context = self._read()
        except UnusableCertificate:
            logger.exception("The TLS certificate stays as it was")

    def around(self, factory: Factory, reactor: Any) -> Factory:
        """The factory, spoken to through TLS."""
        from twisted.protocols.tls import TLSMemoryBIOFactory  # noqa: PLC0415 - see above

        wrap: Any = TLSMemoryBIOFactory  # typed by interfaces that mypy does not follow
        wrapped: Factory = wrap(self, isClient=False, wrappedFactory=factory, clock=reactor)
        return wrapped

    def serverConnectionForTLS(self, protocol: object) -> Any:  # noqa: N802 - Twisted's spelling
        """For Twisted: a connection begins."""
        from OpenSSL.SSL import Connection  # noqa: PLC0415 - see above

        return Connection(self._context, None)

    def _read(self) -> Any:
        from OpenSSL import SSL  # noqa: PLC0415 - see above

        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_RENEGOTIATION)
        context.set_alpn_select_callback(
            lambda _, offered: b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS
        )
        try:
            context.use_certificate_chain_file(str(self._certificate))
            context.use_privatekey_file(str(self._key))
            context.check_privatekey()
        except (SSL.Error, OSError) as error:
            raise UnusableCertificate(f"{self._certificate}, {self._key}: {error}") from error
        return context
