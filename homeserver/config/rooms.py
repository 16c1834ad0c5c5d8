"""Defaults and limits of rooms."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rooms:
    default_version: str = "12"
    aliases_per_room: int = 1_000
    invites_per_creation: int = 100
    anyone_may_list: bool = True
