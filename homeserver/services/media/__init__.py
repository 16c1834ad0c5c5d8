"""The content repository: files in, files and thumbnails out."""

from dataclasses import dataclass

from homeserver.remote.federation import FederationClient
from homeserver.services.media.downloads import Downloads, NoRemoteMedia, RemoteMedia
from homeserver.services.media.remote import FetchedMedia
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


def media_services(repository: Repository, client: FederationClient | None = None) -> MediaServices:
    """All parts, built on one repository. `client`: fetches files of other servers."""
    uploads = Uploads(repository)
    remote: RemoteMedia = NoRemoteMedia()
    if client is not None:
        remote = FetchedMedia(repository, client, uploads.contents)
    downloads = Downloads(repository, uploads.awaited, remote)
    return MediaServices(uploads, downloads, Thumbnails(repository.config, repository.files))
