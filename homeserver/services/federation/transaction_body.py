"""The body of a transaction, put together from parts that are canonical JSON already.

Events are sent as the bytes that were signed and stored, so a message to a thousand servers is encoded once.
https://spec.matrix.org/latest/server-server-api/#transactions
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from homeserver.protocol.canonical_json import encode
from homeserver.protocol.hashes import encode_base64_url
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json

MOST_PDUS = 50
MOST_EDUS = 100


class Pdus(NamedTuple):
    """Events side by side, and a digest of them."""

    joined: bytes
    digest: bytes


def pdus_of(events: Sequence[bytes]) -> Pdus:
    joined = b",".join(events)
    return Pdus(joined, sha256(joined).digest())


def edu(edu_type: str, content: Mapping[str, Json]) -> bytes:
    """An EDU in canonical JSON. Raises NotCanonical."""
    return encode({"edu_type": edu_type, "content": dict(content)})


def transaction_body(
    origin: ServerName, now_ms: int, pdus: Pdus, edus: Sequence[bytes], *, previous: str | None
) -> bytes:
    """Canonical JSON. `previous`: the transaction before; in `prev_ids`, as the protocol of 2014 had it."""
    prev_ids = b"[" + encode(previous) + b"]" if previous is not None else b"[]"
    return b"".join(
        (
            b'{"edus":[', b",".join(edus), b'],"origin":', encode(origin),
            b',"origin_server_ts":', str(now_ms).encode(), b',"pdus":[', pdus.joined,
            b'],"prev_ids":', prev_ids, b"}",
        )
    )  # fmt: skip


def transaction_id(pdus: Pdus, edus: Sequence[bytes], serial: str) -> str:
    """The same for the same content: what arrived although its answer got lost is known again.

    Typing twice is the same content but two acts: `serial` tells transactions without events apart.
    """
    content = sha256(pdus.digest)
    for one in edus:
        content.update(one)
    if not pdus.joined:
        content.update(serial.encode())
    return encode_base64_url(content.digest()[:18])
