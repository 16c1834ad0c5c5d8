"""Where the server listens, and who runs it."""

from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Literal

from homeserver.config import checks
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.settings import setting

Api = Literal["client", "federation", "health", "metrics"]


@dataclass(frozen=True)
class Tls:
    """PEM files. The certificate file holds the whole chain, the server's own certificate first.

    `hsts_days`: for so long browsers shall speak to this host with TLS only; 0: they forget that they should.
    """

    certificate: Path
    key: Path
    hsts_days: int = setting(365, check=checks.between(0, 3_650))


@dataclass(frozen=True)
class Listener:
    """One port, on one or more addresses of this machine, and what is answered there."""

    port: int = field(metadata={"check": checks.port})
    addresses: tuple[str, ...] = setting(("127.0.0.1",), check=checks.addresses)
    apis: tuple[Api, ...] = setting(("client", "federation", "health"), check=checks.at_least_one)
    tls: Tls | None = None
    trusted_proxies: tuple[str, ...] = setting((), check=checks.proxies)
    max_connections_per_address: int = setting(500, check=checks.between(0, 1_000_000))

    def urls(self) -> tuple[str, ...]:
        """Where to point a program on this machine."""
        scheme = "http" if self.tls is None else "https"
        return tuple(f"{scheme}://{_within_reach(address)}:{self.port}" for address in self.addresses)


def parse_listen(text: str) -> Listener:
    """The short form: ADDRESS:PORT, [IPV6]:PORT or *:PORT. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is not ADDRESS:PORT, such as 127.0.0.1:8008")
    checks.port(int(port))
    if host == "*":
        return Listener(int(port), ("0.0.0.0", "::"))  # noqa: S104 it is what the operator asked for
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, such as [::1]:8008")
    address = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    checks.addresses((address,))
    return Listener(int(port), (address,))


def _within_reach(address: str) -> str:
    """As it stands in a URL; the wildcard address is not one to call."""
    parsed = ip_address(address)
    if parsed.is_unspecified:
        parsed = ip_address("::1" if isinstance(parsed, IPv6Address) else "127.0.0.1")
    return f"[{parsed}]" if isinstance(parsed, IPv6Address) else str(parsed)


@dataclass(frozen=True)
class Support:
    """Told at /.well-known/matrix/support."""

    matrix_id: str | None = None
    email: str | None = None
    page: str | None = setting(None, check=checks.base_url)

    def document(self) -> JsonObject | None:
        """https://spec.matrix.org/latest/client-server-api/#getwell-knownmatrixsupport"""
        contact: JsonObject = {"role": "m.role.admin"}
        if self.matrix_id is not None:
            contact["matrix_id"] = self.matrix_id
        if self.email is not None:
            contact["email_address"] = self.email
        document: JsonObject = {"contacts": [contact]} if len(contact) > 1 else {}
        if self.page is not None:
            document["support_page"] = self.page
        return document or None
