"""Tokens clients hold: text to positions and back.

The first letter says what a token is, so that further kinds can be added: `s` a position in the one
stream (sync tokens, and pages read in order of arrival), `t` a place in one room's history, by depth
and then by event number. Tokens are ours alone: clients may only hand them back.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from homeserver.protocol.errors import InvalidParam

# Numbers fit a signed 64-bit column. Event numbers are negative for history fetched from other servers.
_STREAM = re.compile(r"s([0-9]{1,18})", re.ASCII)
_TOPOLOGICAL = re.compile(r"t([0-9]{1,18})-(-?[0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class StreamPosition:
    """Everything up to and including `position` has been seen."""

    position: int

    def __str__(self) -> str:
        return f"s{self.position}"


@dataclass(frozen=True, slots=True, order=True)
class TopologicalPosition:
    """Between the event numbered `event_nid`, at `depth`, and the one after it."""

    depth: int
    event_nid: int

    def __str__(self) -> str:
        return f"t{self.depth}-{self.event_nid}"


PagePosition: TypeAlias = StreamPosition | TopologicalPosition


def sync_token(position: int) -> str:
    """The token of a sync answer that holds everything up to `position`."""
    return f"s{position}"


def parse_sync_token(text: str) -> int:
    """The position in a /sync token. Raises InvalidParam."""
    match = _STREAM.fullmatch(text)
    if match is None:
        raise InvalidParam(f"{text[:100]!r} is not a sync token of this server")
    return int(match[1])


def parse_page_token(text: str) -> PagePosition:
    """The place that a pagination token means; sync tokens are welcome. Raises InvalidParam."""
    if text[:1] == "s":
        return StreamPosition(parse_sync_token(text))
    match = _TOPOLOGICAL.fullmatch(text)
    if match is None:
        raise InvalidParam(f"{text[:100]!r} is not a pagination token of this server")
    return TopologicalPosition(int(match[1]), int(match[2]))
