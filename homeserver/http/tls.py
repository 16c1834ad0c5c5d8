"""TLS for a listener: certificate and key from PEM files, read again on demand.

pyOpenSSL takes 60 ms to import, so only a server that listens with TLS does.
"""

import logging
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory

logger = logging.getLogger(__name__)


class UnusableCertificate(Exception):
    """The certificate or key file cannot be read, or they do not belong together."""


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

    def around(self, factory: Factory) -> Factory:
        """The factory, spoken to through TLS."""
        from twisted.protocols.tls import TLSMemoryBIOFactory  # noqa: PLC0415 - see above

        wrapped: Factory = TLSMemoryBIOFactory(self, False, factory)  # type: ignore[arg-type,assignment] # zope
        return wrapped

    def getContext(self) -> Any:  # noqa: N802 - IOpenSSLContextFactory
        """For Twisted: asked at each new connection."""
        return self._context

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
