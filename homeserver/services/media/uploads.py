"""Uploads: at once, or promised first and sent later; limits and quotas.

An upload is answered when its bytes and its record are durable: it survives kill -9 and a power cut.
https://spec.matrix.org/latest/client-server-api/#content-repository
"""

import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

from homeserver.protocol.errors import (
    CannotOverwriteMedia,
    Forbidden,
    LimitExceeded,
    NotFound,
    TooLarge,
)
from homeserver.protocol.ids import ServerName, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import Gate, KeyedLock
from homeserver.runtime.database import Transaction
from homeserver.services.media.files import Arrived
from homeserver.services.media.repository import Repository
from homeserver.storage.media import Content, Media

MIB = 1024 * 1024
DEFAULT_TYPE = "application/octet-stream"
SWEEP_SECONDS = 3600
_MAX_FILE_NAME = 255
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}"
_CONTENT_TYPE = re.compile(rf"{_NAME}/{_NAME}(?:[\t ]*;[\t -~]{{0,200}})?", re.ASCII)


class QuotaExceeded(Forbidden):
    """The user's files together would be larger than the server allows."""


class Announced(NamedTuple):
    """What a client says about an upload. `size` is None when it does not say."""

    size: int | None
    content_type: str | None
    file_name: str | None


class Promise(NamedTuple):
    """A media ID to be uploaded to before `expires_ms`."""

    media_id: str
    expires_ms: int


class Awaited:
    """Gates for those who wait for a promised upload."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    async def wait(self, clock: Clock, media_id: str, seconds: float) -> None:
        """Until the upload has arrived, or the time has passed."""
        gate = self._gates.setdefault(media_id, Gate())
        await gate.wait_for(clock, seconds)
        if not gate.waiting and self._gates.get(media_id) is gate:
            del self._gates[media_id]

    def arrived(self, media_id: str) -> None:
        if gate := self._gates.pop(media_id, None):
            gate.open()


class Uploads:
    def __init__(self, repository: Repository) -> None:
        config = repository.config
        self._server_name = repository.server_name
        self._database = repository.database
        self._media = repository.media
        self._files = repository.files
        self._clock = repository.clock
        self._quota = None if config.quota_per_user_mib is None else config.quota_per_user_mib * MIB
        self._promise_ms = config.async_upload_hours * 3_600_000
        self._max_promises = config.async_uploads_per_user
        self.contents = KeyedLock()
        """Held by whoever places or removes the file of a content."""
        self._receiving: Counter[UserId] = Counter()
        self._filling: set[str] = set()
        self._swept = repository.clock.monotonic()
        self.max_size = config.max_upload_mib * MIB
        """The largest upload, in bytes: `m.upload.size`."""
        self.awaited = Awaited()

    async def start(self) -> None:
        """Make the folders; forget what a killed server left half done."""
        marked = await self._files.start()
        if marked:
            keep = await self._database.read(self._media.referenced, marked)
            await self._files.settle(marked, keep=keep)

    async def upload(self, user_id: UserId, announced: Announced, pieces: AsyncIterator[bytes]) -> str:
        """Store a new file; the media ID. Raises TooLarge, QuotaExceeded, StorageFull."""
        arrived = await self._receive(user_id, announced, pieces)
        media_id = new_media_id()
        await self._keep(arrived, user_id, announced, media_id, promised=False)
        return media_id

    async def promise(self, user_id: UserId) -> Promise:
        """A media ID for a later upload. Raises LimitExceeded if the user has too many unused ones."""
        now_ms = self._clock.now_ms()
        if self._clock.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = self._clock.monotonic()
            await self._database.write(self._media.forget_lapsed, now_ms=now_ms)
        promise = Promise(new_media_id(), now_ms + self._promise_ms)
        lapse_ms = await self._database.write(self._note_promise, user_id, promise, now_ms)
        if lapse_ms is not None:
            raise LimitExceeded(
                f"You have {self._max_promises} uploads that were created and not sent",
                retry_after_ms=max(1, lapse_ms - now_ms),
            )
        return promise

    def uri_of(self, media_id: str) -> str:
        """The mxc:// URI of local media."""
        return f"mxc://{self._server_name}/{media_id}"

    async def fill(
        self, user_id: UserId, server_name: ServerName, media_id: str, announced: Announced,
        pieces: AsyncIterator[bytes],
    ) -> None:  # fmt: skip
        """Send the content of a promised media ID.

        Raises NotFound, Forbidden (another user's), CannotOverwriteMedia, and what `upload` raises.
        """
        if server_name != self._server_name:
            raise NotFound(f"Media IDs of {server_name} are not created here")
        self._check_promise(await self._database.read(self._media.find, media_id), user_id)
        if media_id in self._filling:
            raise CannotOverwriteMedia("This media ID is being uploaded to at this moment")
        self._filling.add(media_id)
        try:
            arrived = await self._receive(user_id, announced, pieces)
            await self._keep(arrived, user_id, announced, media_id, promised=True)
        finally:
            self._filling.discard(media_id)
        self.awaited.arrived(media_id)

    async def _receive(self, user_id: UserId, announced: Announced, pieces: AsyncIterator[bytes]) -> Arrived:
        """Bring the bytes to disk, within the limits at every moment."""
        room = await self._database.read(self._room_left, user_id)
        self._check_size(announced.size or 0, user_id, room)
        incoming = self._files.receive()
        received = 0
        try:
            async for piece in pieces:
                received += len(piece)
                self._receiving[user_id] += len(piece)
                self._check_size(received, user_id, room)
                await incoming.write(piece)
            return await incoming.finish()
        except BaseException:
            await incoming.abandon()
            raise
        finally:
            self._receiving[user_id] -= received
            if not self._receiving[user_id]:
                del self._receiving[user_id]

    async def _keep(
        self, arrived: Arrived, user_id: UserId, announced: Announced, media_id: str, *, promised: bool
    ) -> None:
        """Place the file and commit its record; if that fails, leave nothing behind."""
        content_type, file_name = clean_type(announced.content_type), clean_name(announced.file_name)
        content = Content(arrived.content_hash, arrived.size, content_type, file_name)
        async with self.contents.hold(content.content_hash):
            mark = await self._files.place(arrived)
            try:
                await self._database.write(self._note_content, media_id, user_id, content, promised)
            except BaseException:
                if not await self._database.read(self._media.referenced, {content.content_hash}):
                    await self._files.remove(content.content_hash)
                await self._files.unmark(mark)
                raise
            await self._files.unmark(mark)

    def _check_size(self, size: int, user_id: UserId, room: int | None) -> None:
        if size > self.max_size:
            raise TooLarge(f"An upload may have at most {self.max_size} bytes", max_size=self.max_size)
        if room is not None and max(size, self._receiving[user_id]) > room:
            raise QuotaExceeded(f"Your files may have {self._quota} bytes together: {max(room, 0)} are left")

    def _room_left(self, txn: Transaction, user_id: UserId) -> int | None:
        return None if self._quota is None else self._quota - self._media.usage(txn, user_id).bytes

    def _note_promise(self, txn: Transaction, user_id: UserId, promise: Promise, now_ms: int) -> int | None:
        """None if there was room for it, else when the first of the others lapses."""
        others = self._media.first_promises(txn, user_id, now_ms=now_ms, limit=self._max_promises)
        if len(others) >= self._max_promises:
            return others[0] if others else now_ms + self._promise_ms
        self._media.promise(txn, promise.media_id, user_id, created_ms=now_ms, expires_ms=promise.expires_ms)
        return None

    def _note_content(
        self, txn: Transaction, media_id: str, user_id: UserId, content: Content, promised: bool
    ) -> None:
        room = self._room_left(txn, user_id)
        if room is not None and content.size > room:
            raise QuotaExceeded(f"Your files may have {self._quota} bytes together: {max(room, 0)} are left")
        now_ms = self._clock.now_ms()
        if not promised:
            self._media.add(txn, media_id, user_id, content, now_ms=now_ms)
        elif not self._media.keep_promise(txn, media_id, user_id, content, now_ms=now_ms):
            raise CannotOverwriteMedia()

    def _check_promise(self, media: Media | None, user_id: UserId) -> None:
        if media is None:
            raise NotFound("No such media ID was created here, or it has expired")
        if media.user_id != user_id:
            raise Forbidden("This media ID was created by somebody else")
        if media.uploaded_ms is not None:
            raise CannotOverwriteMedia()
        if has_lapsed(media, self._clock.now_ms()):
            raise NotFound("This media ID has expired: create a new one")


def has_lapsed(media: Media, now_ms: int) -> bool:
    """Was it promised and not uploaded in time?"""
    return media.expires_ms is not None and media.expires_ms <= now_ms


def new_media_id() -> str:
    """32 characters of the media ID grammar, 192 bits of chance: media IDs are capabilities."""
    return secrets.token_urlsafe(24)


def clean_type(content_type: str | None) -> str:
    """The media type if it has the form of one, else application/octet-stream."""
    if content_type is None or _CONTENT_TYPE.fullmatch(content_type.strip()) is None:
        return DEFAULT_TYPE
    return content_type.strip()


def clean_name(file_name: str | None) -> str | None:
    """The file name in 255 characters that can be stored: no NUL, no lone surrogates."""
    if not file_name:
        return None
    return file_name.replace("\x00", "").encode("utf-8", "replace").decode()[:_MAX_FILE_NAME] or None
