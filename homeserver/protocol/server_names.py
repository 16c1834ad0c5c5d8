"""Server names: host and port, and the access control lists of rooms.

https://spec.matrix.org/latest/client-server-api/#server-access-control-lists-acls-for-rooms
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homeserver.protocol.ids import is_server_name, parse_server_name
from homeserver.protocol.json_values import Json

_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", re.ASCII)
_ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$", re.ASCII)
"""No domain does, and resolvers take such names for addresses: 127.1, 2130706433, 0x7f.1."""
_REMEMBERED_VERDICTS = 1_000


class ServerAddress(NamedTuple):
    """A server name in its parts. `host` keeps the brackets of an IPv6 literal."""

    host: str
    port: int | None

    @property
    def is_ip_literal(self) -> bool:
        return self.host.startswith("[") or _IPV4.fullmatch(self.host) is not None


def split_server_name(server_name: str) -> ServerAddress:
    """Host and port. Raises InvalidParam when it is not a server name."""
    parse_server_name(server_name)
    host, colon, port = server_name.rpartition(":")
    if not colon or port.endswith("]"):
        return ServerAddress(server_name, None)
    return ServerAddress(host, int(port))


class ServerAcl:
    """A compiled m.room.server_acl event: which servers may take part in the room.

    Malformed parts count as missing, as the specification has it. Matching costs at most the length of
    the host for each pattern (CVE-2023-45129), and the verdict on a server is remembered.
    """

    def __init__(self, content: Mapping[str, Json]) -> None:
        self._refuses_ip_literals = content.get("allow_ip_literals") is False
        self._allow = _Patterns(_strings(content.get("allow")))
        self._deny = _Patterns(_strings(content.get("deny")))
        self._verdicts: dict[str, bool] = {}

    def allows(self, server_name: str) -> bool:
        """May this server take part? What is no server name may not. The port does not matter."""
        verdict = self._verdicts.get(server_name)
        if verdict is None:
            verdict = self._judge(server_name)
            if len(self._verdicts) >= _REMEMBERED_VERDICTS:
                self._verdicts.clear()
            self._verdicts[server_name] = verdict
        return verdict

    def _judge(self, server_name: str) -> bool:
        if not is_server_name(server_name):
            return False
        address = split_server_name(server_name)
        host = address.host.lower()
        bare = host.rstrip(".")  # which is the same host, and is shut out with it
        if self._refuses_ip_literals and (address.is_ip_literal or _ENDS_IN_A_NUMBER.search(bare)):
            return False
        return not (self._deny.match(host) or self._deny.match(bare)) and self._allow.match(host)


class _Patterns:
    """A list of globs, ready to be asked whether any matches all of a text."""

    def __init__(self, patterns: Iterable[str]) -> None:
        folded = {pattern.lower() for pattern in patterns}
        self._matches_all = "*" in folded
        self._literals = frozenset(pattern for pattern in folded if "*" not in pattern and "?" not in pattern)
        self._globs = [_Glob(pattern) for pattern in folded - self._literals - {"*"}]

    def match(self, text: str) -> bool:
        return self._matches_all or text in self._literals or any(glob.match(text) for glob in self._globs)


class _Glob:
    """`*` is zero or more characters, `?` exactly one. All ways to match run at once, as bits of a number."""

    __slots__ = ("_accepting", "_any", "_loops", "_pattern", "_piece", "_steps")

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._piece = max(re.split(r"[*?]", pattern), key=len)
        self._steps: dict[str, int] | None = None

    def match(self, text: str) -> bool:
        if self._piece not in text:
            return False
        if self._steps is None:
            self._compile()
            assert self._steps is not None
        reached = 1  # bit n: the text so far matches the first n characters of the pattern, stars apart
        for character in text:
            reached = (reached << 1) & self._steps.get(character, self._any) | reached & self._loops
            if not reached:
                return False
        return reached & self._accepting != 0

    def _compile(self) -> None:
        """For each character the bits it leads to, and the bits that a star lets any character stay at."""
        bit, self._loops, self._any = 1, 0, 0
        steps: dict[str, int] = {}
        for character in self._pattern:
            if character == "*":
                self._loops |= bit
                continue
            bit <<= 1
            if character == "?":
                self._any |= bit
            else:
                steps[character] = steps.get(character, 0) | bit
        self._steps = {character: bits | self._any for character, bits in steps.items()}
        self._accepting = bit


def _strings(value: Json) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
