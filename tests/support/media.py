"""A content repository in a temporary folder."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from homeserver.config.media import Media as MediaConfig
from homeserver.protocol.ids import ServerName, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.services.media import MediaServices, media_services
from homeserver.services.media.files import MediaFiles
from homeserver.services.media.repository import Repository
from homeserver.services.media.uploads import Announced
from homeserver.storage.media import MediaStore

P = ParamSpec("P")
T = TypeVar("T")

SERVER = ServerName("test")
ALICE = UserId("@alice:test")
BOB = UserId("@bob:test")
ANY = Announced(None, "text/plain", None)


class ThreadsHere:
    """Blocking work, done at once."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


def open_media(
    root: Path, database: Database, clock: Clock, config: MediaConfig | None = None
) -> MediaServices:
    """Built but not started: await `.start()`."""
    files = MediaFiles(root, ThreadsHere())
    return media_services(Repository(SERVER, config or MediaConfig(), database, MediaStore(), files, clock))


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    """A body that arrives in these pieces."""
    for piece in data:
        yield piece


def files_under(root: Path) -> list[Path]:
    """Every file in the folder, at any depth."""
    return sorted(path for path in root.rglob("*") if path.is_file())
