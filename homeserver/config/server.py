"""Where the server listens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Api = Literal["client", "federation", "health", "metrics"]


@dataclass(frozen=True)
class Tls:
    """PEM files. The certificate file holds the whole chain, the server's own certificate first."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Listener:
    """One port, on one or more addresses of this machine, and what is answered there."""

    port: int
    addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    apis: tuple[Api, ...] = ("client", "federation", "health")
    tls: Tls | None = None
    trusted_proxies: tuple[str, ...] = ()
