"""Files of this server for other servers: multipart/mixed, metadata first, then the file.

https://spec.matrix.org/latest/server-server-api/#content-repository
"""

import secrets
from collections.abc import AsyncIterator

from homeserver.api.client.media import DEFAULT_WAIT_MS, HasMedia, disposition_of, wanted_of
from homeserver.http.file_reply import FIRST_PIECE, content_disposition
from homeserver.http.reply import Reply, Stream
from homeserver.http.request import Request
from homeserver.services.media.files import StoredFile


async def download(services: HasMedia, request: Request, media_id: str) -> Reply:
    downloads = services.media.downloads
    found = await downloads.find(downloads.server_name, media_id, timeout_ms=_timeout_ms(request))
    disposition = disposition_of(found.content_type, found.file_name)
    return await _multipart(downloads.content(found), found.size, found.content_type, disposition)


async def thumbnail(services: HasMedia, request: Request, media_id: str) -> Reply:
    downloads, thumbnails = services.media.downloads, services.media.thumbnails
    wanted = wanted_of(request)
    found = await downloads.find(downloads.server_name, media_id, timeout_ms=_timeout_ms(request))
    made = await thumbnails.thumbnail(found, wanted)
    name = f"thumbnail.{made.content_type.removeprefix('image/')}"
    disposition = content_disposition("inline", name)
    return await _multipart(thumbnails.content(made), made.size, made.content_type, disposition)


async def _multipart(file: StoredFile, size: int, content_type: str, disposition: str) -> Reply:
    """The first piece is read before the answer begins, so that a file that is gone gives an error."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Disposition: {disposition}\r\n\r\n"
    ).encode("latin-1", "replace")
    tail = f"\r\n--{boundary}--\r\n".encode()
    first = await file.read(0, min(FIRST_PIECE, size))
    headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
    if len(first) == size:
        return Reply(200, head + first + tail, headers)
    stream = Stream(_pieces(head, first, file, size, tail), length=len(head) + size + len(tail))
    return Reply(200, stream, headers)


async def _pieces(
    head: bytes, first: bytes, file: StoredFile, size: int, tail: bytes
) -> AsyncIterator[bytes]:
    yield head + first
    async for piece in file.pieces(len(first), size - len(first)):
        yield piece
    yield tail


def _timeout_ms(request: Request) -> int:
    return request.query_int("timeout_ms", DEFAULT_WAIT_MS, minimum=0)
