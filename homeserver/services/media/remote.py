"""Files of other servers: fetched when first wanted, kept like our own, forgotten when long unused.

They share the folder with uploads, by content. What is given up is what was wanted longest ago, when there is
more than the configured size, or after the configured days.
https://spec.matrix.org/latest/server-server-api/#content-repository
"""

import logging
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import NamedTuple

from homeserver.protocol.errors import MatrixError, NotFound, NotYetUploaded, TooLarge
from homeserver.protocol.ids import ServerName
from homeserver.remote.errors import RemoteError, RemoteRefused
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_media import RemoteMedia as OpenFile
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.concurrency import KeyedLock, Limit
from homeserver.runtime.memory import Memory
from homeserver.services.media.downloads import Download
from homeserver.services.media.files import Arrived
from homeserver.services.media.repository import Repository
from homeserver.services.media.uploads import MIB, clean_name, clean_type
from homeserver.storage.media import Content
from homeserver.storage.remote_media import RemoteFile, RemoteMediaStore

logger = logging.getLogger(__name__)

HOUR_MS = 3_600_000
SWEEP_S = 3600.0
MOST_REMOVED = 500
"""In one sweep's step."""
FETCHES_AT_ONCE = 60
"""Of all servers: slow files must not hold every connection that there may be."""
REFUSAL_REMEMBERED_S = 60.0
MOST_REFUSALS = 5_000


class Key(NamedTuple):
    origin: ServerName
    media_id: str


class FetchedMedia:
    """The port `RemoteMedia` of downloads, on the federation client."""

    def __init__(self, repository: Repository, client: FederationClient, contents: KeyedLock) -> None:
        """`contents`: held by whoever places or removes the file of a content."""
        config = repository.config
        self._database = repository.database
        self._media = repository.media
        self._store = RemoteMediaStore()
        self._files = repository.files
        self._clock = repository.clock
        self._client = client
        self._contents = contents
        self._max_size = config.max_remote_mib * MIB
        self._max_total = config.remote_cache_mib * MIB
        self._keep_ms = config.remote_cache_days * 24 * HOUR_MS
        self._fetching: Coalescing[Key, Download] = Coalescing()
        self._places = Limit(FETCHES_AT_ONCE)
        self._refusals: Memory[Key, str] = Memory(repository.clock, MOST_REFUSALS)
        self._swept = repository.clock.monotonic()

    async def fetch(self, server_name: ServerName, media_id: str, *, timeout_ms: int) -> Download:
        """Raises NotFound (also when the server cannot be reached), NotYetUploaded, TooLarge."""
        key = Key(server_name, media_id)
        known = await self._database.look_up(self._store.find, *key)
        if known is not None:
            return await self._known(known)
        refusal = self._refusals.get(key)
        if refusal is not None:
            raise NotFound(refusal)
        found = await self._fetching.run(key, lambda: self._fetch(key, timeout_ms))
        await self.sweep_if_due()
        return found

    async def sweep_if_due(self) -> None:
        """Give up copies that are too old or too many, once an hour."""
        if self._clock.monotonic() - self._swept < SWEEP_S:
            return
        self._swept = self._clock.monotonic()
        await self._remove_unused(before_ms=self._clock.now_ms() - self._keep_ms)
        while await self._database.read(self._store.size) > self._max_total:
            if not await self._remove_unused(before_ms=self._clock.now_ms(), down_to=self._max_total):
                return

    async def _known(self, known: RemoteFile) -> Download:
        if known.quarantined_by is not None:
            raise NotFound("There is no such media")
        now_ms = self._clock.now_ms()
        if now_ms - known.used_ms > HOUR_MS:
            await self._database.write(self._store.used, known.origin, known.media_id, now_ms=now_ms)
        return Download(known.content_hash, known.size, known.content_type, known.file_name, known.fetched_ms)

    async def _fetch(self, key: Key, timeout_ms: int) -> Download:
        try:
            async with (
                self._places.place(),
                self._client.media_download(*key, timeout_ms=timeout_ms) as file,
            ):
                arrived = await self._receive(file)
                content = Content(
                    arrived.content_hash, arrived.size, clean_type(file.content_type),
                    file_name_of(file.content_disposition),
                )  # fmt: skip
        except RemoteRefused as refusal:
            if refusal.remote_errcode == NotYetUploaded.errcode:
                raise NotYetUploaded() from refusal
            raise self._refused(key, f"{key.origin} does not have this media") from refusal
        except RemoteError as error:
            raise self._refused(key, f"This media cannot be had: {error.message}") from error
        return await self._keep(key, content, arrived)

    async def _receive(self, file: OpenFile) -> Arrived:
        incoming = self._files.receive()
        try:
            async for piece in file.chunks:
                if incoming.size + len(piece) > self._max_size:
                    raise TooLarge(f"Files of other servers may have {self._max_size} bytes here")
                await incoming.write(piece)
            return await incoming.finish()
        except BaseException:
            await incoming.abandon()
            raise

    async def _keep(self, key: Key, content: Content, arrived: Arrived) -> Download:
        now_ms = self._clock.now_ms()
        async with self._contents.hold(content.content_hash):
            mark = await self._files.place(arrived)
            await self._database.write(self._store.put, *key, content, now_ms=now_ms)
            await self._files.unmark(mark)
        found = await self._database.look_up(self._store.find, *key)
        if found is None:
            raise NotFound("There is no such media")
        return await self._known(found)

    async def _remove_unused(self, *, before_ms: int, down_to: int | None = None) -> int:
        """Give up copies not wanted since the time, until they are no more than `down_to` bytes together."""
        left = await self._database.read(self._store.size)
        unused = await self._database.read(self._store.least_used, before_ms=before_ms, limit=MOST_REMOVED)
        removed = 0
        for file in unused:
            if down_to is not None and left <= down_to:
                break
            left -= file.size
            removed += 1
            await self._remove(file)
        if removed:
            logger.info("Gave up %d files of other servers", removed)
        return removed

    async def _remove(self, file: RemoteFile) -> None:
        async with self._contents.hold(file.content_hash):
            await self._database.write(self._store.remove, file.origin, file.media_id)
            if not await self._database.read(self._media.referenced, {file.content_hash}):
                await self._files.remove(file.content_hash)

    def _refused(self, key: Key, told: str) -> MatrixError:
        self._refusals.keep(key, told, REFUSAL_REMEMBERED_S)
        return NotFound(told)


def file_name_of(content_disposition: str | None) -> str | None:
    """The file name in a Content-Disposition header; the exact form (`filename*`) counts before the plain."""
    if content_disposition is None:
        return None
    message = Message()
    message["content-disposition"] = content_disposition.replace("\r", "").replace("\n", "")
    try:
        parameters: list[tuple[str, object]] = list(message.get_params(header="content-disposition") or ())
        names = [value for name, value in parameters if name.lower() == "filename"]
        names.sort(key=lambda value: not isinstance(value, tuple))
        return clean_name(collapse_rfc2231_value(names[0])) if names else None  # type: ignore[arg-type]
    except (ValueError, LookupError):  # in a character set that is none
        return None
