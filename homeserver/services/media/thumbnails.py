"""Thumbnails: made when first asked for, by a process of their own, and kept on disk.

Only PNG, JPEG, GIF and WebP, recognised by their first bytes and not by what the uploader said, are
ever given to a decoder. A wanted size is rounded up to one of a few, so that one image has few thumbnails.
https://spec.matrix.org/latest/client-server-api/#thumbnails
"""

import json
import os
import secrets
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from homeserver.config.media import Media as MediaConfig
from homeserver.protocol.errors import MatrixError, TooLarge
from homeserver.runtime.concurrency import KeyedLock, Limit
from homeserver.services.media.downloads import Download
from homeserver.services.media.files import MediaFiles, StoredFile, disk_errors_told

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_IMAGE_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
_WHOLE = 65_535
_LONGER_SIDES = (32, 96, 192, 320, 480, 640, 800, 1280, 1920, _WHOLE)
_LARGE_BOXES = ((1280, 960), (1920, 1440), (_WHOLE, _WHOLE))
_PROCESSES = 2
_SECONDS = 30
_KEPT_PER_FILE = 32
_KEPT_REFUSALS = 1000
_ENVIRONMENT = ("PATH", "PYTHONPATH", "HOME")
_WORKER = Path(__file__).with_name("thumbnail_worker.py")


class CannotThumbnail(MatrixError):
    """The file is not an image this server decodes, or is broken."""

    status, errcode, default = 400, "M_UNKNOWN", "Thumbnails are made of PNG, JPEG, GIF and WebP only"


class Wanted(NamedTuple):
    """What the client asks for; `animated` only if it said so."""

    width: int
    height: int
    method: str
    animated: bool

    @property
    def key(self) -> str:
        return f"{self.width}x{self.height}-{self.method}{'-animated' if self.animated else ''}"


class Thumbnail(NamedTuple):
    """A picture to serve. `etag` is unique to its bytes."""

    path: Path
    size: int
    content_type: str
    etag: str


class Thumbnails:
    def __init__(self, config: MediaConfig, files: MediaFiles) -> None:
        self._files = files
        self._threads = files.threads
        self._max_pixels = config.max_image_megapixels * 1_000_000
        boxes = [(size.width, size.height) for size in config.thumbnails if size.method == "scale"]
        self._boxes = sorted({*boxes, *_LARGE_BOXES}, key=lambda box: box[0] * box[1])
        crops = [max(size.width, size.height) for size in config.thumbnails if size.method == "crop"]
        self._sides = sorted({*crops, *_LONGER_SIDES})
        self._making = KeyedLock()
        self._processes = Limit(_PROCESSES)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._refusals: OrderedDict[str, MatrixError] = OrderedDict()

    async def thumbnail(self, download: Download, wanted: Wanted) -> Thumbnail:
        """The thumbnail, or the file itself where it is no larger. Raises CannotThumbnail and TooLarge."""
        if refusal := self._refusals.get(download.content_hash):
            raise type(refusal)(refusal.message)
        image_format = sniff(await self._files.head(download.content_hash, 16))
        if image_format is None:
            raise CannotThumbnail()
        original = Thumbnail(
            self._files.content_path(download.content_hash),
            download.size,
            _IMAGE_TYPES[image_format],
            download.content_hash,
        )
        rounded = self.rounded(wanted)
        folder = self._files.thumbnail_folder(download.content_hash)
        found = await self._threads.run(_kept, folder, rounded.key)
        if found is None:
            found = await self._make(original, image_format, folder, rounded)
        if found.suffix == ".original":
            return original
        size = await self._threads.run(_size, found)
        etag = f"{download.content_hash}-{rounded.key}"
        return Thumbnail(found, size, CONTENT_TYPES[found.suffix[1:]], etag)

    def content(self, thumbnail: Thumbnail) -> StoredFile:
        """The bytes."""
        return self._files.stored(thumbnail.path)

    def rounded(self, wanted: Wanted) -> Wanted:
        """The size made for this wish: at least as large, from a short list; beyond it, the whole image.

        "crop" keeps the aspect asked for, "scale" has the aspect of the image anyway.
        """
        if wanted.method == "scale":
            fitting = (box for box in self._boxes if box[0] >= wanted.width and box[1] >= wanted.height)
            width, height = next(fitting, self._boxes[-1])
            return wanted._replace(width=width, height=height)
        longer = max(wanted.width, wanted.height)
        side = next((side for side in self._sides if side >= longer), self._sides[-1])
        return wanted._replace(
            width=max(1, -(-wanted.width * side // longer)), height=max(1, -(-wanted.height * side // longer))
        )

    def stop(self) -> None:
        """End the decoders that are at work."""
        for process in tuple(self._running):
            process.kill()

    async def _make(self, original: Thumbnail, image_format: str, folder: Path, wanted: Wanted) -> Path:
        job = {**wanted._asdict(), "format": image_format, "max_pixels": self._max_pixels}
        async with self._making.hold(folder / wanted.key):
            found = await self._threads.run(_kept, folder, wanted.key)
            if found is not None:
                return found
            async with self._processes.place():
                try:
                    return await self._threads.run(self._decode, original.path, folder, wanted.key, job)
                except (CannotThumbnail, TooLarge) as refusal:
                    self._remember(original.etag, refusal)
                    raise

    def _decode(self, source: Path, folder: Path, key: str, job: dict[str, object]) -> Path:
        """Run the decoder and keep what it made. On a blocking thread."""
        with disk_errors_told():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = folder / f"{secrets.token_hex(8)}.thumbnail"
        try:
            kind = self._answer_of_worker(source, target, job)
            with disk_errors_told():
                if kind == "original":
                    target.touch()
                _make_room(folder)
                return target.replace(folder / f"{key}.{kind}")
        finally:
            target.unlink(missing_ok=True)

    def _answer_of_worker(self, source: Path, target: Path, job: dict[str, object]) -> str:
        with disk_errors_told():
            process = subprocess.Popen(  # noqa: S603 - our own program; paths and numbers of our own making
                [sys.executable, "-P", str(_WORKER), str(source), str(target), json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
        self._running.add(process)
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise TooLarge("The image takes too long to make a thumbnail of") from None
        finally:
            self._running.discard(process)
            if process.poll() is None:
                process.kill()
                process.communicate()
        return _made(output)

    def _remember(self, content_hash: str, refusal: MatrixError) -> None:
        """Do not try a bomb twice."""
        self._refusals[content_hash] = refusal
        if len(self._refusals) > _KEPT_REFUSALS:
            self._refusals.popitem(last=False)


def sniff(head: bytes) -> str | None:
    """Pillow's name of the image format that the first bytes show, among those that are decoded."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    return None


def _made(output: bytes) -> str:
    try:
        answer = json.loads(output)
    except ValueError:  # killed: by its own limits, or by us
        raise TooLarge("The image needs too much memory or time to make a thumbnail of") from None
    if refused := answer.get("refused"):
        raise TooLarge("The image has too many pixels") if refused == "too large" else CannotThumbnail()
    kind: str = answer["made"]
    return kind


def _kept(folder: Path, key: str) -> Path | None:
    paths = (folder / f"{key}.{kind}" for kind in (*CONTENT_TYPES, "original"))
    return next((path for path in paths if path.exists()), None)


def _size(path: Path) -> int:
    with disk_errors_told():
        return path.stat().st_size


def _make_room(folder: Path) -> None:
    """Keep few thumbnails of one file: the oldest go."""
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in kept[: max(0, len(kept) - _KEPT_PER_FILE)]:
        with suppress(OSError):
            path.unlink()
