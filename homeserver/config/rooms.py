"""Defaults of rooms."""

from dataclasses import dataclass

from homeserver.config import checks
from homeserver.protocol.room_versions import DEFAULT_VERSION
from homeserver.runtime.settings import setting


@dataclass(frozen=True)
class Rooms:
    default_version: str = setting(DEFAULT_VERSION, check=checks.room_version)
