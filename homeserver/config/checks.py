"""What a value must look like beyond its type.

Each check raises ValueError with a message for the operator.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from homeserver.protocol.ids import is_server_name
from homeserver.protocol.room_versions import ROOM_VERSIONS

LOCAL_PROXIES = ("loopback", "unix")


def server_name(text: str) -> None:
    if "://" in text:
        raise ValueError(f"{text!r} is a URL: give the name only, such as example.org")
    if not is_server_name(text):
        raise ValueError(f"{text!r} is not a server name: give a domain such as example.org")
    if len(text) > 230:
        raise ValueError("is so long that no user ID would fit into 255 bytes")


def base_url(text: str) -> None:
    """http or https, a host, and nothing behind it that clients would not expect."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not a URL such as https://matrix.example.org")
    if parts.query or parts.fragment or parts.path.startswith("/_matrix"):
        raise ValueError(f"{text!r} says too much: leave out /_matrix and whatever follows")


def port(number: int) -> None:
    if not 1 <= number <= 65_535:
        raise ValueError(f"{number} is not a port: it must be between 1 and 65535")


def database_url(text: str) -> None:
    parts = urlsplit(text)
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2:
            raise ValueError(f"{text!r} needs three slashes and a file: sqlite:///postroom.db")
    elif parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must begin with sqlite:/// or postgresql://")


def room_version(text: str) -> None:
    if text not in ROOM_VERSIONS:
        raise ValueError(f"{text!r} is not a room version this server knows: {', '.join(ROOM_VERSIONS)}")


def addresses(texts: Sequence[str]) -> None:
    """IP addresses of this machine, at least one. Names are refused: what they mean may change under way."""
    if not texts:
        raise ValueError('needs at least one address; ["0.0.0.0", "::"] means all of this machine')
    for text in texts:
        try:
            ip_address(text)
        except ValueError:
            raise ValueError(f"{text!r} is not an IP address such as 127.0.0.1 or ::1") from None


def proxies(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            if text not in LOCAL_PROXIES:
                ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not an address or network such as 10.0.0.0/8") from None


def at_least_one(items: Sequence[object]) -> None:
    if not items:
        raise ValueError("must not be empty")


def between(least: float, most: float) -> Callable[[float], None]:
    """A check for a number."""

    def check(number: float) -> None:
        if not least <= number <= most:
            raise ValueError(f"must be between {least:,} and {most:,}, not {number:,}")

    return check


def at_least(least: float) -> Callable[[float], None]:
    """A check for a number."""

    def check(number: float) -> None:
        if number < least:
            raise ValueError(f"must be at least {least:,}, not {number:,}")

    return check


def secret(text: str) -> None:
    if len(text) < 16:
        raise ValueError("must have at least 16 characters: openssl rand -hex 32 makes a good one")
