"""The content repository: files in, files and thumbnails out."""

from dataclasses import dataclass

from homeserver.services.media.downloads import Downloads, NoRemoteMedia, RemoteMedia
from homeserver.services.media.repository import Repository
from homeserver.services.media.thumbnails import Thumbnails
from homeserver.services.media.uploads import Uploads


@dataclass(frozen=True)
class MediaServices:
    uploads: Uploads
    downloads: Downloads
    thumbnails: Thumbnails

    async def start(self) -> None:
        """Make the folders; forget what a killed server left half done."""
        await self.uploads.start()

    def stop(self) -> None:
        """End the decoders that are at work; call before stopping the blocking threads."""
        self.thumbnails.stop()


def media_services(repository: Repository, remote: RemoteMedia | None = None) -> MediaServices:
    """All parts, built on one repository. `remote`: where files of other servers come from."""
    uploads = Uploads(repository)
    downloads = Downloads(repository, uploads.awaited, remote or NoRemoteMedia())
    return MediaServices(uploads, downloads, Thumbnails(repository.config, repository.files))
