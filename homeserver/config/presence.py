"""Whether the server tells who is online."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Presence:
    enabled: bool = True
