"""Bytes on disk: media content under its SHA-256, uploads on their way in, thumbnails.

    incoming/<random>.part            an upload being received
    incoming/<sha256>.<random>.mark   this content is placed, its media record is not yet committed
    content/ab/cd/<sha256>            complete and durable
    thumbnails/ab/cd/<sha256>/<key>   can be made again at any time

Nothing of what a client says becomes part of a path. Whatever a killed server leaves behind has a
name in incoming/, so `start` finds it without walking the whole tree. Everything that touches the
disk runs on the blocking threads.
"""

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, ParamSpec, Protocol, TypeVar

from homeserver.protocol.errors import MatrixError, NotFound

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

PIECE = 256 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MARK = re.compile(r"([0-9a-f]{64})\.[0-9a-f]+\.mark")
_CONTENT_HASH = re.compile(r"[0-9a-f]{64}")


class Threads(Protocol):
    """Where blocking work is done: `homeserver.runtime.threads.Threads`, or at once in a test."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result."""


class StorageFull(MatrixError):
    """The disk with the media has no room. What was received is thrown away."""

    status, errcode = 507, "M_UNKNOWN"
    default = "The server's disk is full: try again later, or ask the administrator to make room"


class StorageUnavailable(MatrixError):
    """The disk with the media cannot be read or written."""

    status, errcode = 503, "M_UNKNOWN"
    default = "The server cannot reach its media files: try again later"


@contextmanager
def disk_errors_told() -> Iterator[None]:
    """Turns an OSError into an answer for the client, and logs what the administrator must know."""
    try:
        yield
    except FileNotFoundError as error:
        logger.error("A media file is missing: %s", error)
        raise NotFound("The file of this media is missing on the server") from error
    except OSError as error:
        logger.error("The media folder cannot be used: %s", error)
        raise (StorageFull() if error.errno in _FULL else StorageUnavailable()) from error


class Arrived(NamedTuple):
    """An upload received whole and flushed to disk, not yet in its place."""

    content_hash: str
    size: int
    path: Path


class Incoming:
    """One upload being received: hashed and written piece by piece, never whole in memory."""

    def __init__(self, path: Path, threads: Threads) -> None:
        self._path = path
        self._threads = threads
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._pieces: list[bytes] = []
        self._gathered = 0
        self.size = 0
        """Bytes received so far."""

    async def write(self, piece: bytes) -> None:
        """Take the next bytes; waits for the disk once enough are gathered. Raises StorageFull."""
        self._pieces.append(piece)
        self._gathered += len(piece)
        self.size += len(piece)
        if self._gathered >= PIECE:
            await self._threads.run(self._write_gathered)

    async def finish(self) -> Arrived:
        """All bytes are here: flush them to the disk. Raises StorageFull."""
        return await self._threads.run(self._finish)

    async def abandon(self) -> None:
        """Throw away what came."""
        await self._threads.run(self._abandon)

    def _write_gathered(self) -> None:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        with disk_errors_told():
            if self._file is None:
                self._file = self._path.open("xb", buffering=0)
            for piece in pieces:
                self._hash.update(piece)
                _write_all(self._file, piece)

    def _finish(self) -> Arrived:
        self._write_gathered()
        assert self._file is not None
        with disk_errors_told():
            os.fsync(self._file.fileno())
            self._file.close()
        return Arrived(self._hash.hexdigest(), self.size, self._path)

    def _abandon(self) -> None:
        self._pieces = []
        if self._file is not None:
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class StoredFile:
    """A complete file. Reading raises NotFound if it is gone, StorageUnavailable if the disk fails."""

    def __init__(self, path: Path, threads: Threads) -> None:
        self._path = path
        self._threads = threads

    async def read(self, start: int, length: int) -> bytes:
        """A small part in one go."""
        return await self._threads.run(_read, self._path, start, length)

    async def pieces(self, start: int, length: int) -> AsyncIterator[bytes]:
        """A part, piece by piece. Close the iterator when leaving it early."""
        file = await self._threads.run(_open_at, self._path, start)
        try:
            while length > 0:
                piece = await self._threads.run(file.read, min(PIECE, length))
                if not piece:
                    raise StorageUnavailable("The file of this media is shorter than it should be")
                length -= len(piece)
                yield piece
        finally:
            file.close()


class MediaFiles:
    """The media folder."""

    def __init__(self, root: Path, threads: Threads) -> None:
        self._threads = self.threads = threads
        self._incoming = root / "incoming"
        self._content = root / "content"
        self._thumbnails = root / "thumbnails"

    async def start(self) -> set[str]:
        """Make the folders, remove half uploads. Returns contents whose records may not have been
        committed: tell `settle` which of them to keep."""
        return await self._threads.run(self._start)

    async def settle(self, marked: Collection[str], *, keep: Collection[str]) -> None:
        """Remove the marked contents that nobody refers to, and the marks."""
        await self._threads.run(self._settle, marked, keep)

    def receive(self) -> Incoming:
        """A place for a new upload."""
        return Incoming(self._incoming / f"{secrets.token_hex(16)}.part", self._threads)

    async def place(self, arrived: Arrived) -> Path:
        """Move an upload to its durable place, or drop it if the same content lies there already.

        The returned mark is to be removed by `unmark` once the media record is committed. Callers
        place, commit and unmark one upload per content at a time.
        """
        return await self._threads.run(self._place, arrived)

    async def unmark(self, mark: Path) -> None:
        await self._threads.run(mark.unlink, True)

    async def remove(self, content_hash: str) -> None:
        """Delete content and its thumbnails."""
        await self._threads.run(self._remove, content_hash)

    def content_path(self, content_hash: str) -> Path:
        return self._content / _shard(content_hash)

    def thumbnail_folder(self, content_hash: str) -> Path:
        return self._thumbnails / _shard(content_hash)

    async def head(self, content_hash: str, length: int) -> bytes:
        """The first bytes of some content."""
        return await self._threads.run(_read, self.content_path(content_hash), 0, length)

    def stored(self, path: Path) -> StoredFile:
        """A file in one of the folders, to be read."""
        return StoredFile(path, self._threads)

    def _start(self) -> set[str]:
        marked = set()
        with disk_errors_told():
            for folder in (self._incoming, self._content, self._thumbnails):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in self._incoming.iterdir():
                if match := _MARK.fullmatch(path.name):
                    marked.add(match[1])
                elif path.suffix == ".part":
                    path.unlink(missing_ok=True)
        return marked

    def _settle(self, marked: Collection[str], keep: Collection[str]) -> None:
        for content_hash in marked:
            if content_hash not in keep:
                self._remove(content_hash)
            for mark in self._incoming.glob(f"{content_hash}.*.mark"):
                mark.unlink(missing_ok=True)

    def _place(self, arrived: Arrived) -> Path:
        mark = self._incoming / f"{arrived.content_hash}.{secrets.token_hex(8)}.mark"
        target = self.content_path(arrived.content_hash)
        with disk_errors_told():
            mark.touch(exist_ok=False)
            if _has_size(target, arrived.size):
                arrived.path.unlink(missing_ok=True)
            else:
                _make_durable_folder(target.parent, self._content)
                arrived.path.replace(target)
                _flush_folder(target.parent)
        return mark

    def _remove(self, content_hash: str) -> None:
        self.content_path(content_hash).unlink(missing_ok=True)
        shutil.rmtree(self.thumbnail_folder(content_hash), ignore_errors=True)


def _shard(content_hash: str) -> Path:
    if _CONTENT_HASH.fullmatch(content_hash) is None:
        raise ValueError(f"{content_hash!r} is not a SHA-256 in hex")
    return Path(content_hash[:2], content_hash[2:4], content_hash)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """An unbuffered file may take less than it was given."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _make_durable_folder(folder: Path, root: Path) -> None:
    """Make the folders between `root` and `folder`, so that a power cut does not lose their names."""
    if folder.is_dir():
        return
    if folder.parent != root:
        _make_durable_folder(folder.parent, root)
    folder.mkdir(exist_ok=True, mode=0o700)
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_at(path: Path, start: int) -> BinaryIO:
    with disk_errors_told():
        file = path.open("rb", buffering=0)
        file.seek(start)
        return file


def _read(path: Path, start: int, length: int) -> bytes:
    with disk_errors_told(), path.open("rb") as file:
        file.seek(start)
        return file.read(length)
