"""Who must have signed an event, with which keys, and whether they have.

https://spec.matrix.org/latest/server-server-api/#validating-hashes-and-signatures-on-received-events
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.errors import InvalidSignature, MatrixError, Unauthorized
from homeserver.protocol.events import ReadPdu
from homeserver.protocol.hashes import signed_bytes
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signatures import (
    BadSignature,
    Proof,
    VerifyKey,
    required_signers,
    signing_key_ids,
)


class KeyUnknown(Unauthorized):
    """Nobody could tell the key, or its server does not vouch for it at that time."""


class Wanted(NamedTuple):
    """A key, and when it must have been valid (ms). None: whenever, as room versions 1 to 4 have it."""

    server_name: ServerName
    key_id: str
    at_ms: int | None


Claims = dict[ServerName, list[Wanted]]
"""By server that must have signed: the keys with which it says it has."""

Signers = dict[ServerName, list[tuple[str, VerifyKey | None]]]
"""The same with the keys themselves, as far as they are known."""

KnownKey = Callable[[ServerName, str, int | None], VerifyKey | None]
"""A key of a server that is at hand and valid at a time."""


def claims_of(version: RoomVersion, pdu: Mapping[str, Json]) -> Claims:
    """The keys that are needed to check an event whose form has been checked."""
    at_ms = _signed_at(version, pdu)
    return {
        server: [Wanted(server, key_id, at_ms) for key_id in signing_key_ids(pdu, server)]
        for server in required_signers(version, pdu)
    }


def signers_of(claims: Claims, known_key: KnownKey) -> Signers:
    """The keys that are known of those that were claimed."""
    return {server: [(want.key_id, known_key(*want)) for want in wants] for server, wants in claims.items()}


def proofs_of(version: RoomVersion, read: ReadPdu, known_key: KnownKey) -> list[Proof] | None:
    """What shows, if all of it is good, that all who must have signed the event have.

    None where that takes keys that are not at hand, or signatures are missing or malformed.
    """
    pdu = read.event.pdu
    at_ms = _signed_at(version, pdu)
    proofs = []
    for server_name in required_signers(version, pdu):
        for key_id in signing_key_ids(pdu, server_name):
            key = known_key(server_name, key_id, at_ms)
            if key is not None:
                break
        else:
            return None
        try:
            proofs.append(key.proof(read.signed, _signature(pdu, server_name, key_id)))
        except BadSignature:
            return None
    return proofs


def verdicts(
    version: RoomVersion, pdus: Sequence[Mapping[str, Json]], signers: Sequence[Signers]
) -> list[MatrixError | None]:
    """What is wrong with each event, in order; None where nothing is. Their form has been checked."""
    return [
        _verdict(signed_bytes(version, pdu), pdu, signed) for pdu, signed in zip(pdus, signers, strict=True)
    ]


def _signed_at(version: RoomVersion, pdu: Mapping[str, Json]) -> int | None:
    """When the keys must have been valid (ms)."""
    timestamp = pdu.get("origin_server_ts")
    return timestamp if version.enforces_key_validity and isinstance(timestamp, int) else None


def _verdict(message: bytes, pdu: Mapping[str, Json], signers: Signers) -> MatrixError | None:
    """Every required server must have signed with a key that is good; one good signature is enough."""
    try:
        for server_name, keys in signers.items():
            _check_signer(message, pdu, server_name, keys)
    except MatrixError as problem:
        return problem
    return None


def _check_signer(
    message: bytes,
    pdu: Mapping[str, Json],
    server_name: ServerName,
    keys: Sequence[tuple[str, VerifyKey | None]],
) -> None:
    if not keys:
        raise BadSignature(f"There is no signature by {server_name}")
    problem: InvalidSignature | None = None
    for key_id, key in keys:
        if key is None:
            continue
        try:
            key.verify(message, _signature(pdu, server_name, key_id))
        except BadSignature as error:
            problem = error
        else:
            return
    if problem is not None:
        raise problem
    key_ids = ", ".join(key_id for key_id, _ in keys)[:200]
    raise KeyUnknown(f"The key {key_ids} of {server_name} is unknown, or was not valid then")


def _signature(pdu: Mapping[str, Json], server_name: ServerName, key_id: str) -> str:
    signatures = pdu.get("signatures")
    by_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    signature = by_server.get(key_id) if isinstance(by_server, dict) else None
    if not isinstance(signature, str):
        raise BadSignature(f"There is no signature by {server_name} with {key_id}")
    return signature
