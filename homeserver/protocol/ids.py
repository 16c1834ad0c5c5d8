"""Identifiers as types, and the parsers that let text become one.

A parser accepts what the specification says servers must accept (historical user IDs, room IDs with
and without a domain). `is_valid_localpart` says what a new user may be called.
https://spec.matrix.org/latest/appendices/#identifier-grammar
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NewType

from homeserver.protocol.errors import InvalidParam

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)
RoomAlias = NewType("RoomAlias", str)
DeviceId = NewType("DeviceId", str)
ServerName = NewType("ServerName", str)

MAX_ID_BYTES = 255

_SERVER_NAME = re.compile(
    r"(?:(?P<ipv6>\[[0-9A-Fa-f:.]{2,45}\])|(?P<host>[0-9A-Za-z.-]{1,255}))(?::(?P<port>[0-9]{1,5}))?"
)
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", re.ASCII)
# Any code point but colon, NUL and surrogates: what historical localparts may hold.
_LOCALPART = r"[^:\x00\ud800-\udfff]*"
_LOCALPART_AND_DOMAIN = re.compile(f"({_LOCALPART}):(.+)", re.DOTALL)
_NEW_LOCALPART = re.compile(r"[a-z0-9._=/+-]+", re.ASCII)
_OPAQUE_ID = re.compile(r"[A-Za-z0-9_-]{1,254}", re.ASCII)
_OLD_OPAQUE_ID = re.compile(r"[!-~]{1,254}", re.ASCII)


def is_server_name(text: str) -> bool:
    """Does the text follow the server name grammar? `example.org`, `1.2.3.4:80`, `[::1]:8448`.

    Empty labels are refused, although the grammar takes them: a server named `..` must not reach a path.
    """
    match = _SERVER_NAME.fullmatch(text)
    if match is None or (match["port"] is not None and int(match["port"]) > 65_535):
        return False
    host = match["host"]
    if host is None:
        return _is_ipv6(match["ipv6"][1:-1])
    if host[0] == "." or ".." in host:
        return False
    if _IPV4.fullmatch(host):
        return all(int(part) <= 255 for part in host.split("."))
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def parse_server_name(text: str) -> ServerName:
    """Raises InvalidParam. Server names are case-sensitive: nothing is folded."""
    if not is_server_name(text):
        raise InvalidParam(f"{text[:300]!r} is not a server name")
    return ServerName(text)


def parse_user_id(text: str) -> UserId:
    """`@localpart:domain`, historical localparts included. Raises InvalidParam."""
    _check_localpart_and_domain(text, "@", "user ID")
    return UserId(text)


def parse_room_alias(text: str) -> RoomAlias:
    """`#localpart:domain`. Raises InvalidParam."""
    _check_localpart_and_domain(text, "#", "room alias")
    return RoomAlias(text)


def parse_room_id(text: str) -> RoomId:
    """`!opaque:domain` (room versions 1 to 11) or `!hash` (12 and later). Raises InvalidParam."""
    if ":" in text:
        _check_localpart_and_domain(text, "!", "room ID")
    elif text[:1] != "!" or _OPAQUE_ID.fullmatch(text, 1) is None:
        raise InvalidParam(f"{text[:300]!r} is not a room ID")
    return RoomId(text)


def parse_event_id(text: str) -> EventId:
    """`$opaque:domain` (room versions 1 and 2) or `$hash` in either base64 alphabet. Raises InvalidParam."""
    if ":" in text:
        _check_localpart_and_domain(text, "$", "event ID")
    elif text[:1] != "$" or _OLD_OPAQUE_ID.fullmatch(text, 1) is None:
        raise InvalidParam(f"{text[:300]!r} is not an event ID")
    return EventId(text)


def parse_room_id_or_alias(text: str) -> RoomId | RoomAlias:
    """What /join/{roomIdOrAlias} takes. Raises InvalidParam."""
    return parse_room_alias(text) if text[:1] == "#" else parse_room_id(text)


def parse_device_id(text: str) -> DeviceId:
    """Any text of 1 to 255 bytes without control characters. Raises InvalidParam."""
    if not text or not text.isprintable() or _byte_length(text) > MAX_ID_BYTES:
        raise InvalidParam(f"{text[:300]!r} is not a device ID")
    return DeviceId(text)


def is_user_id(text: str) -> bool:
    return _is_localpart_and_domain(text, "@")


def is_valid_localpart(localpart: str) -> bool:
    """May a new account be called this? `a-z 0-9 . _ = - / +`, at least one."""
    return _NEW_LOCALPART.fullmatch(localpart) is not None


def domain_of(identifier: str) -> ServerName:
    """What follows the first colon; InvalidParam for an ID without a domain, such as a version 12 room ID."""
    _, colon, domain = identifier.partition(":")
    if not colon:
        raise InvalidParam(f"{identifier[:300]!r} has no domain")
    return ServerName(domain)


def localpart_of(identifier: str) -> str:
    """What stands between the sigil and the first colon."""
    return identifier[1:].partition(":")[0]


def user_id_of(localpart: str, server_name: ServerName) -> UserId:
    """The user ID of an account of this server. Raises InvalidParam when it is not one or too long."""
    return parse_user_id(f"@{localpart}:{server_name}")


def _check_localpart_and_domain(text: str, sigil: str, kind: str) -> None:
    if not _is_localpart_and_domain(text, sigil):
        raise InvalidParam(f"{text[:300]!r} is not a {kind}")


def _is_localpart_and_domain(text: str, sigil: str) -> bool:
    if text[:1] != sigil:
        return False
    if _byte_length(text) > MAX_ID_BYTES:
        return False
    match = _LOCALPART_AND_DOMAIN.fullmatch(text, 1)
    return match is not None and _is_known_server_name(match[2])


@lru_cache(maxsize=2_000)
def _is_known_server_name(text: str) -> bool:
    """As `is_server_name`, of texts that are short: most IDs are of a few servers."""
    return is_server_name(text)


def _byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
