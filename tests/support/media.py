"""A content repository in a temporary folder, and pictures to put in it."""

import struct
import zlib
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from PIL import Image

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


def picture(width: int, height: int, format: str = "PNG", **options: object) -> bytes:
    """A picture whose left half is red and right half blue, so that turning it shows."""
    image = Image.new("RGB", (width, height), "blue")
    image.paste("red", (0, 0, width // 2, height))
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def animation(width: int, height: int, frames: int = 3, format: str = "GIF") -> bytes:
    """Frames of different colours."""
    images = [Image.new("RGB", (width, height), (80 * number % 256, 200, 30)) for number in range(frames)]
    out = BytesIO()
    images[0].save(out, format, save_all=True, append_images=images[1:], duration=50)
    return out.getvalue()


def pixel_bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))
