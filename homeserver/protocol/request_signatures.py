"""The signature on a request between servers, and the X-Matrix header that carries it.

https://spec.matrix.org/latest/server-server-api/#request-authentication
"""

import re
from typing import NamedTuple

import orjson

from homeserver.protocol.errors import Unauthorized

SCHEME = "X-Matrix"
_PARAMETER = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*
        (?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z:/=\[\]-]*))[ \t]*(?:,|$)""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
MAX_HEADER_CHARACTERS = 2_000


class MalformedAuthorization(Unauthorized):
    """The Authorization header is not an X-Matrix one."""


class RequestSignature(NamedTuple):
    """What the header says. `destination` is None where an old server left it out."""

    origin: str
    destination: str | None
    key_id: str
    signature: str


def request_bytes(method: str, target: str, origin: str, destination: str, content: bytes | None) -> bytes:
    """The bytes a request's signature covers: canonical JSON around `content`, which must be that already.

    `target` is the path with the query, as it is sent. Raises ValueError unless all texts are UTF-8.
    """
    try:
        pieces = [
            b'{"content":%b,' % content if content is not None else b"{",
            b'"destination":%b,"method":%b,"origin":%b,"uri":%b}'
            % (orjson.dumps(destination), orjson.dumps(method), orjson.dumps(origin), orjson.dumps(target)),
        ]
    except TypeError as error:
        raise ValueError(str(error)) from None
    return b"".join(pieces)


def authorization_header(origin: str, destination: str, key_id: str, signature: str) -> str:
    """The value of the Authorization header."""
    return f'{SCHEME} origin="{origin}",destination="{destination}",key="{key_id}",sig="{signature}"'


def parse_authorization(header: str | None) -> RequestSignature:
    """Read the header. Names are case-insensitive, values may be quoted; unknown parameters are ignored.

    Raises MalformedAuthorization.
    """
    if header is None:
        raise MalformedAuthorization("The request has no Authorization header")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != SCHEME.lower() or len(header) > MAX_HEADER_CHARACTERS:
        raise MalformedAuthorization(f"The Authorization header is not an {SCHEME} one")
    values = _parameters(rest)
    missing = [name for name in ("origin", "key", "sig") if not values.get(name)]
    if missing:
        raise MalformedAuthorization(f"The Authorization header lacks {', '.join(missing)}")
    return RequestSignature(values["origin"], values.get("destination"), values["key"], values["sig"])


def _parameters(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            near = text[position : position + 40]
            raise MalformedAuthorization(f"The Authorization header is malformed near {near!r}")
        name, quoted, plain = match[1].lower(), match[2], match[3]
        if name in values:
            raise MalformedAuthorization(f"The Authorization header says {name} twice")
        values[name] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = match.end()
    return values
