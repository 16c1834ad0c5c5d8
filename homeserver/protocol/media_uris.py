"""mxc:// URIs.

A media ID becomes part of paths and URLs: what is allowed in one is a list of characters, never a list of
forbidden ones (CVE-2021-41281).
https://spec.matrix.org/latest/client-server-api/#matrix-content-mxc-uris
"""

import re
from typing import NamedTuple

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import ServerName, parse_server_name

_SCHEME = "mxc://"
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


class MediaUri(NamedTuple):
    server_name: ServerName
    media_id: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.server_name}/{self.media_id}"


def parse_media_uri(text: str) -> MediaUri:
    """`mxc://server/media`. Raises InvalidParam."""
    server_name, slash, media_id = text.removeprefix(_SCHEME).partition("/")
    if not text.startswith(_SCHEME) or not slash:
        raise InvalidParam(f"{text[:300]!r} is not an mxc:// URI")
    return MediaUri(parse_server_name(server_name), parse_media_id(media_id))


def parse_media_id(text: str) -> str:
    """Raises InvalidParam for anything but letters, digits, `_` and `-`."""
    if _MEDIA_ID.fullmatch(text) is None:
        raise InvalidParam(f"{text[:300]!r} is not a media ID")
    return text


def is_media_uri(text: str) -> bool:
    try:
        parse_media_uri(text)
    except InvalidParam:
        return False
    return True
