"""Content hash, reference hash and event ID, and the base64 they are written in.

https://spec.matrix.org/latest/server-server-api/#signing-events
"""

import binascii
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import TypeAlias

from homeserver.protocol import canonical_json
from homeserver.protocol.ids import EventId
from homeserver.protocol.json_values import Json
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion

Encode: TypeAlias = Callable[[Json], bytes]
"""Makes the canonical bytes of a room version."""

_NOT_HASHED = ("unsigned", "signatures", "hashes")
_NOT_REFERENCED = ("unsigned", "signatures")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}", re.ASCII)
_TO_URL_SAFE = str.maketrans("+/", "-_")
_FROM_URL_SAFE = str.maketrans("-_", "+/")


def content_hash(pdu: Mapping[str, Json], *, strict: bool = True) -> str:
    """What belongs in `hashes.sha256`. `strict` is the room version's strict_canonical_json."""
    return encode_base64(sha256(encode_for(_hashed(pdu), strict=strict)).digest())


def content_hash_matches(version: RoomVersion, pdu: Mapping[str, Json], encode: Encode | None = None) -> bool:
    """Does the event carry the hash of its own content? If not, only its redacted form may be used.

    `encode`: the room version's own, where the caller knows that it need not look for floats once more.
    """
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    actual = encode_base64(sha256((encode or encoder(version))(_hashed(pdu))).digest())
    if claimed == actual:
        return True
    try:  # it may be written in the other alphabet, or padded
        return decode_base64(claimed) == decode_base64(actual)
    except ValueError:
        return False


def reference_hash(version: RoomVersion, pdu: Mapping[str, Json]) -> str:
    """The hash that names the event, in unpadded standard base64. The same for its redacted form."""
    return encode_base64(sha256(signed_bytes(version, pdu)).digest())


def event_id_of(version: RoomVersion, pdu: Mapping[str, Json]) -> EventId:
    """The ID of an event: its `event_id` field in room versions 1 and 2, else from its reference hash."""
    if version.event_id_format is EventIdFormat.EXPLICIT:
        return EventId(str(pdu["event_id"]))
    return event_id_from_bytes(version, signed_bytes(version, pdu))


def event_id_from_bytes(version: RoomVersion, signed: bytes) -> EventId:
    """As `event_id_of`, for room versions 3 and later, when the signed bytes are at hand."""
    text = encode_base64(sha256(signed).digest())
    if version.event_id_format is EventIdFormat.URL_SAFE_HASH:
        text = text.translate(_TO_URL_SAFE)
    return EventId(f"${text}")


def signed_bytes(version: RoomVersion, pdu: Mapping[str, Json], encode: Encode | None = None) -> bytes:
    """The canonical bytes of the redacted event: what is signed, and what the reference hash covers."""
    redacted = redact(version, pdu)
    for key in _NOT_REFERENCED:
        redacted.pop(key, None)
    return (encode or encoder(version))(redacted)


def _hashed(pdu: Mapping[str, Json]) -> dict[str, Json]:
    """What the content hash covers."""
    hashed = dict(pdu)
    for key in _NOT_HASHED:
        hashed.pop(key, None)
    return hashed


def encoder(version: RoomVersion) -> Encode:
    """What makes the canonical bytes of the room version. It raises NotCanonical."""
    return canonical_json.encode if version.strict_canonical_json else canonical_json.encode_lenient


def encode_for(value: Json, *, strict: bool) -> bytes:
    return canonical_json.encode(value) if strict else canonical_json.encode_lenient(value)


def encode_base64(data: bytes) -> str:
    """Unpadded standard base64."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_base64_url(data: bytes) -> str:
    """Unpadded URL-safe base64."""
    return encode_base64(data).translate(_TO_URL_SAFE)


def decode_base64(text: str) -> bytes:
    """Either alphabet, padded or not. Raises ValueError for anything else."""
    if "=" not in text:
        with suppress(ValueError):  # standard and unpadded, as it nearly always is
            return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    if _BASE64.fullmatch(text) is None:
        raise ValueError(f"{text[:100]!r} is not base64")
    standard = text.rstrip("=").translate(_FROM_URL_SAFE)
    return binascii.a2b_base64(standard + "=" * (-len(standard) % 4))
