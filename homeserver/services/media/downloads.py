"""Downloads: which file answers a media ID, and who may have it.

Files of other servers come through the port `RemoteMedia`; without federation there are none.
https://spec.matrix.org/latest/client-server-api/#content-repository
"""

import re
from datetime import UTC, date, datetime, time
from typing import NamedTuple, Protocol

from homeserver.protocol.errors import NotFound, NotYetUploaded
from homeserver.protocol.ids import ServerName
from homeserver.services.media.files import StoredFile
from homeserver.services.media.repository import Repository
from homeserver.services.media.uploads import Awaited, has_lapsed
from homeserver.storage.media import Media

MAX_WAIT_MS = 60_000
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


class Download(NamedTuple):
    """A file that may be served: its content, and what its uploader said about it."""

    content_hash: str
    size: int
    content_type: str
    file_name: str | None
    stored_ms: int


class RemoteMedia(Protocol):
    """Media of other servers, fetched and kept like our own. Federation brings the real one."""

    async def fetch(self, server_name: ServerName, media_id: str, *, timeout_ms: int) -> Download:
        """Raises NotFound when the other server does not have it or cannot be reached."""


class NoRemoteMedia:
    """There are no other servers."""

    async def fetch(self, server_name: ServerName, media_id: str, *, timeout_ms: int) -> Download:
        raise NotFound(f"Media of {server_name} cannot be fetched: this server does not federate")


class Downloads:
    def __init__(self, repository: Repository, awaited: Awaited, remote: RemoteMedia) -> None:
        self.server_name = repository.server_name
        self._database = repository.database
        self._media = repository.media
        self._files = repository.files
        self._clock = repository.clock
        self._awaited = awaited
        self._remote = remote
        self._frozen_from_ms = _start_of_day_ms(repository.config.unauthenticated_before)

    async def find(
        self, server_name: ServerName, media_id: str, *, timeout_ms: int, allow_remote: bool = True
    ) -> Download:
        """The file of a media ID; waits up to `timeout_ms` for one that is promised.

        Raises NotFound (also for what is quarantined) and NotYetUploaded.
        """
        if not is_media_id(media_id):
            raise NotFound("There is no such media: a media ID has only letters, digits, - and _")
        timeout_ms = max(0, min(timeout_ms, MAX_WAIT_MS))
        if server_name != self.server_name:
            if not allow_remote:
                raise NotFound(f"This media is on {server_name}, and fetching it from there was not allowed")
            return await self._remote.fetch(server_name, media_id, timeout_ms=timeout_ms)
        media = await self._find_live(media_id)
        if media.uploaded_ms is None and timeout_ms:
            await self._awaited.wait(self._clock, media_id, timeout_ms / 1000)
            media = await self._find_live(media_id)
        if media.uploaded_ms is None or media.content_hash is None:
            raise NotYetUploaded()
        return Download(
            media.content_hash, media.size, media.content_type, media.file_name, media.uploaded_ms
        )

    async def find_unauthenticated(
        self, server_name: ServerName, media_id: str, *, timeout_ms: int, allow_remote: bool
    ) -> Download:
        """The same for people who do not say who they are: NotFound for all that is newer than the freeze."""
        download = await self.find(server_name, media_id, timeout_ms=timeout_ms, allow_remote=allow_remote)
        if download.stored_ms >= self._frozen_from_ms:
            raise NotFound("This media is given to signed-in users only: see /_matrix/client/v1/media")
        return download

    def content(self, download: Download) -> StoredFile:
        """The bytes."""
        return self._files.stored(self._files.content_path(download.content_hash))

    async def _find_live(self, media_id: str) -> Media:
        media = await self._database.look_up(self._media.find, media_id)
        if media is None or media.quarantined_by is not None or has_lapsed(media, self._clock.now_ms()):
            raise NotFound("There is no such media")
        return media


def is_media_id(text: str) -> bool:
    """Letters, digits, hyphen and underscore only: no such ID is a path."""
    return _MEDIA_ID.fullmatch(text) is not None


def _start_of_day_ms(day: date | None) -> int:
    """Midnight UTC; the beginning of time for None."""
    return 0 if day is None else int(datetime.combine(day, time(), UTC).timestamp() * 1000)
