"""Uploads, downloads and thumbnails.

https://spec.matrix.org/latest/client-server-api/#content-repository
"""

from typing import Protocol

from homeserver.http.file_reply import content_disposition, file_reply
from homeserver.http.reply import Reply
from homeserver.http.request import Request
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.services.media import MediaServices
from homeserver.services.media.downloads import Download
from homeserver.services.media.thumbnails import Wanted
from homeserver.services.media.uploads import Announced

DEFAULT_WAIT_MS = 20_000
MAX_SIDE = 65_535
NO_LIMIT = 2**62
"""For the routes whose streamed body `Uploads` limits by the configuration."""
INLINE_TYPES = {
    *("text/css", "text/plain", "text/csv", "application/json", "application/ld+json"),
    *("image/jpeg", "image/gif", "image/png", "image/apng", "image/webp", "image/avif"),
    *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
    *("audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav"),
    *("audio/x-wav", "audio/x-pn-wav", "audio/flac", "audio/x-flac"),
}
"""Types a browser shows without running anything: all others are downloads."""
SANDBOX = {
    "Content-Security-Policy": "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf;"
    " style-src 'unsafe-inline'; media-src 'self'; object-src 'self';",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive, noimageindex",
}
FOR_ITS_READER = "private, max-age=86400, immutable"
FOR_ALL = "public, max-age=86400, immutable"


class HasMedia(Protocol):
    @property
    def media(self) -> MediaServices: ...


async def config(services: HasMedia, request: Request) -> JsonObject:
    return {"m.upload.size": services.media.uploads.max_size}


async def upload(services: HasMedia, request: Request) -> JsonObject:
    assert request.stream is not None
    uploads = services.media.uploads
    media_id = await uploads.upload(request.requester.user_id, _announced(request), aiter(request.stream))
    return {"content_uri": uploads.uri_of(media_id)}


async def create(services: HasMedia, request: Request) -> JsonObject:
    request.json_object(allow_empty=True)
    uploads = services.media.uploads
    promise = await uploads.promise(request.requester.user_id)
    return {"content_uri": uploads.uri_of(promise.media_id), "unused_expires_at": promise.expires_ms}


async def upload_to(
    services: HasMedia, request: Request, server_name: ServerName, media_id: str
) -> JsonObject:
    """The second half of an asynchronous upload."""
    assert request.stream is not None
    await services.media.uploads.fill(
        request.requester.user_id, server_name, media_id, _announced(request), aiter(request.stream)
    )
    return {}


async def download(services: HasMedia, request: Request, server_name: ServerName, media_id: str) -> Reply:
    found = await services.media.downloads.find(server_name, media_id, timeout_ms=_timeout_ms(request))
    return await _download(services, request, found, found.file_name, FOR_ITS_READER)


async def download_as(
    services: HasMedia, request: Request, server_name: ServerName, media_id: str, file_name: str
) -> Reply:
    found = await services.media.downloads.find(server_name, media_id, timeout_ms=_timeout_ms(request))
    return await _download(services, request, found, file_name, FOR_ITS_READER)


async def thumbnail(services: HasMedia, request: Request, server_name: ServerName, media_id: str) -> Reply:
    wanted = wanted_of(request)
    found = await services.media.downloads.find(server_name, media_id, timeout_ms=_timeout_ms(request))
    return await _thumbnail(services, request, found, wanted, FOR_ITS_READER)


async def unauthenticated_download(
    services: HasMedia, request: Request, server_name: ServerName, media_id: str
) -> Reply:
    found = await _find_unauthenticated(services, request, server_name, media_id)
    return await _download(services, request, found, found.file_name, FOR_ALL)


async def unauthenticated_download_as(
    services: HasMedia, request: Request, server_name: ServerName, media_id: str, file_name: str
) -> Reply:
    found = await _find_unauthenticated(services, request, server_name, media_id)
    return await _download(services, request, found, file_name, FOR_ALL)


async def unauthenticated_thumbnail(
    services: HasMedia, request: Request, server_name: ServerName, media_id: str
) -> Reply:
    wanted = wanted_of(request)
    found = await _find_unauthenticated(services, request, server_name, media_id)
    return await _thumbnail(services, request, found, wanted, FOR_ALL)


async def _find_unauthenticated(
    services: HasMedia, request: Request, server_name: ServerName, media_id: str
) -> Download:
    return await services.media.downloads.find_unauthenticated(
        server_name,
        media_id,
        timeout_ms=_timeout_ms(request),
        allow_remote=request.query_bool("allow_remote", default=True),
    )


async def _download(
    services: HasMedia, request: Request, found: Download, file_name: str | None, caching: str
) -> Reply:
    headers = {
        **SANDBOX,
        "Cache-Control": caching,
        "Content-Type": found.content_type,
        "Content-Disposition": disposition_of(found.content_type, file_name),
    }
    content = services.media.downloads.content(found)
    return await file_reply(request, content, size=found.size, etag=found.content_hash, headers=headers)


async def _thumbnail(
    services: HasMedia, request: Request, found: Download, wanted: Wanted, caching: str
) -> Reply:
    thumbnails = services.media.thumbnails
    made = await thumbnails.thumbnail(found, wanted)
    extension = made.content_type.removeprefix("image/")
    headers = {
        **SANDBOX,
        "Cache-Control": caching,
        "Content-Type": made.content_type,
        "Content-Disposition": content_disposition("inline", f"thumbnail.{extension}"),
    }
    return await file_reply(
        request, thumbnails.content(made), size=made.size, etag=made.etag, headers=headers
    )


def disposition_of(content_type: str, file_name: str | None) -> str:
    """Shown in place only where a browser runs nothing of it."""
    essence = content_type.partition(";")[0].strip().lower()
    return content_disposition("inline" if essence in INLINE_TYPES else "attachment", file_name)


def _announced(request: Request) -> Announced:
    size = None if request.stream is None else request.stream.length
    return Announced(size, request.header("content-type"), request.query_one("filename"))


def _timeout_ms(request: Request) -> int:
    return request.query_int("timeout_ms", DEFAULT_WAIT_MS, minimum=0)


def wanted_of(request: Request) -> Wanted:
    request.query_required("width")
    request.query_required("height")
    return Wanted(
        request.query_int("width", 0, minimum=1, maximum=MAX_SIDE),
        request.query_int("height", 0, minimum=1, maximum=MAX_SIDE),
        request.query_choice("method", ("crop", "scale"), "scale"),
        request.query_bool("animated"),
    )
