"""What every part of the content repository works with."""

from dataclasses import dataclass

from homeserver.config.media import Media as MediaConfig
from homeserver.protocol.ids import ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.services.media.files import MediaFiles
from homeserver.storage.media import MediaStore


@dataclass(frozen=True)
class Repository:
    server_name: ServerName
    config: MediaConfig
    database: Database
    media: MediaStore
    files: MediaFiles
    clock: Clock
