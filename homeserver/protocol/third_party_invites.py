"""Invites of people known by a third-party identifier only: who offered, and who has signed for the invited.

An `m.room.third_party_invite` lists public keys. Whoever shows a `signed` object that one of them has signed,
with the event's token and a Matrix user ID, may be invited as that user.
https://spec.matrix.org/latest/client-server-api/#third-party-invites
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import islice, product
from typing import NamedTuple

from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.hashes import encode_base64_url
from homeserver.protocol.json_values import Json
from homeserver.protocol.signatures import ALGORITHM, BadSignature, VerifyKey, json_to_sign

MAX_SIGNATURE_CHECKS = 256
"""How many pairs of key and signature are tried: senders choose both numbers."""


class OfferedKey(NamedTuple):
    """A key of an m.room.third_party_invite. Without `validity_url` it is good for ever."""

    public_key: str
    validity_url: str | None


def keys_that_signed(
    signed: Mapping[str, Json], offer: Mapping[str, Json], *, most_checks: int | None = None
) -> Iterator[OfferedKey]:
    """The keys of an offer's content that made a signature of `signed`, each once, found one by one."""
    try:
        message = json_to_sign(signed)
    except NotCanonical:
        return
    found = set()
    pairs = product(list(_offered_keys(offer)), list(_signatures(signed)))
    for (offered, key), signature in islice(pairs, most_checks or MAX_SIGNATURE_CHECKS):
        if offered not in found and _made(key, signature, message):
            found.add(offered)
            yield offered


def lookup_hash(address: str, medium: str, pepper: str) -> str:
    """What an identity server is asked for instead of the address itself.

    https://spec.matrix.org/latest/identity-service-api/#sha256
    """
    return encode_base64_url(sha256(f"{address} {medium} {pepper}".encode()).digest())


def _made(key: VerifyKey, signature: str, message: bytes) -> bool:
    try:
        key.verify(message, signature)
    except BadSignature:
        return False
    return True


def _offered_keys(offer: Mapping[str, Json]) -> Iterator[tuple[OfferedKey, VerifyKey]]:
    listed = offer.get("public_keys")
    entries = listed if isinstance(listed, list) else []
    holders: list[Mapping[str, Json]] = [offer, *(entry for entry in entries if isinstance(entry, dict))]
    for holder in holders:
        text, url = holder.get("public_key"), holder.get("key_validity_url")
        if not isinstance(text, str):
            continue
        try:
            key = VerifyKey.from_base64(f"{ALGORITHM}:", text)
        except ValueError:
            continue
        yield OfferedKey(text, url if isinstance(url, str) and url else None), key


def _signatures(signed: Mapping[str, Json]) -> Iterator[str]:
    signatures = signed.get("signatures")
    for by_server in (signatures if isinstance(signatures, dict) else {}).values():
        for key_id, signature in (by_server if isinstance(by_server, dict) else {}).items():
            if key_id.startswith(f"{ALGORITHM}:") and isinstance(signature, str):
                yield signature
