"""Defaults and limits of rooms."""

from dataclasses import dataclass

from homeserver.config import checks
from homeserver.protocol.room_versions import DEFAULT_VERSION
from homeserver.runtime.settings import setting


@dataclass(frozen=True)
class Rooms:
    default_version: str = setting(DEFAULT_VERSION, check=checks.room_version)
    aliases_per_room: int = setting(1_000, check=checks.at_least(1))
    invites_per_creation: int = setting(100, check=checks.at_least(0))
    anyone_may_list: bool = True
