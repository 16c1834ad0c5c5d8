"""A file as an answer: ranges, validators, a safe Content-Disposition.

https://www.rfc-editor.org/rfc/rfc9110.html#name-range-requests, RFC 6266 and RFC 8187 (file names)
"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Literal, NamedTuple, Protocol
from urllib.parse import quote

from homeserver.http.reply import Reply, Stream
from homeserver.http.request import Request

FIRST_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_UNSAFE_IN_QUOTES = re.compile(r"[^ !#-\[\]-~]")


class Readable(Protocol):
    """Where the bytes come from."""

    async def read(self, start: int, length: int) -> bytes:
        """Part of the file in one go."""

    def pieces(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Part of the file, piece by piece."""


class Part(NamedTuple):
    start: int
    length: int


class Unsatisfiable(Exception):
    """The range begins behind the end of the file."""


async def file_reply(
    request: Request, file: Readable, *, size: int, etag: str, headers: Mapping[str, str]
) -> Reply:
    """The file (200), a part of it (206), or that the client has it already (304).

    `etag` names exactly these bytes and has no quotes. The first piece is read before the answer
    begins, so that a file that is gone gives an error and not a broken answer.
    """
    tag = f'"{etag}"'
    common = {**headers, "ETag": tag, "Accept-Ranges": "bytes"}
    if _matches(request.header("if-none-match"), tag):
        return Reply(304, b"", common)
    try:
        part = _wanted_part(request, size, tag)
    except Unsatisfiable:
        return Reply(416, b"", {**common, "Content-Range": f"bytes */{size}"})
    status = 200
    if part is None:
        part = Part(0, size)
    else:
        status = 206
        common["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{size}"
    first = await file.read(part.start, min(FIRST_PIECE, part.length))
    if len(first) == part.length:
        return Reply(status, first, common)
    return Reply(status, Stream(_continued(file, first, part), length=part.length), common)


def content_disposition(kind: Literal["inline", "attachment"], file_name: str | None) -> str:
    """The header's value. A name beyond plain ASCII is sent twice: approximately, and exactly in UTF-8."""
    if not file_name:
        return kind
    plain = _UNSAFE_IN_QUOTES.sub("_", file_name)
    if plain == file_name:
        return f'{kind}; filename="{file_name}"'
    exact = quote(file_name.encode("utf-8", "replace"), safe="!#$&+-.^_`|~")
    return f"{kind}; filename=\"{plain}\"; filename*=utf-8''{exact}"


def range_of(header: str, size: int) -> Part | None:
    """The one range a Range header asks for; None for what need not be understood. Raises Unsatisfiable."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return Part(size - length, length)
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return Part(start, end - start + 1)


def _wanted_part(request: Request, size: int, tag: str) -> Part | None:
    header = request.header("range")
    if header is None or request.method != "GET":
        return None
    condition = request.header("if-range")
    if condition is not None and condition.strip() != tag:
        return None
    return range_of(header, size)


def _matches(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return tag in tags or "*" in tags


async def _continued(file: Readable, first: bytes, part: Part) -> AsyncIterator[bytes]:
    yield first
    async for piece in file.pieces(part.start + len(first), part.length - len(first)):
        yield piece
