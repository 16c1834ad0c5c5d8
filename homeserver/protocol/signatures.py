"""Sign and verify JSON and events with ed25519.

Key files keep the format of signedjson: `ed25519 a_abc <unpadded base64 seed>`.
https://spec.matrix.org/latest/appendices/#signing-json
"""

from collections.abc import Mapping
from typing import NamedTuple

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError
from nacl.utils import random as random_bytes

from homeserver.protocol import canonical_json
from homeserver.protocol.errors import InvalidSignature
from homeserver.protocol.hashes import decode_base64, encode_base64, signed_bytes
from homeserver.protocol.ids import ServerName, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion

ALGORITHM = "ed25519"
_KEY_BYTES = 32
_NOT_SIGNED = ("signatures", "unsigned")


class BadSignature(InvalidSignature):
    """A signature that is missing, malformed or not made by the key."""


class Proof(NamedTuple):
    """What shows that somebody signed something: a message, a signature of 64 bytes and a key of 32."""

    message: bytes
    signature: bytes
    key: bytes

    def is_good(self) -> bool:
        try:
            crypto_sign_open(self.signature + self.message, self.key)
        except (ValueError, CryptoError):
            return False
        return True


class VerifyKey:
    """The public half of a signing key."""

    __slots__ = ("key", "key_id")

    def __init__(self, key_id: str, key: bytes) -> None:
        """Raises ValueError unless this is an ed25519 key."""
        if not key_id.startswith(f"{ALGORITHM}:") or len(key) != _KEY_BYTES:
            raise ValueError(f"{key_id[:100]!r} is not an {ALGORITHM} key")
        self.key_id = key_id
        self.key = key

    @classmethod
    def from_base64(cls, key_id: str, text: str) -> "VerifyKey":
        """Raises ValueError unless this is an ed25519 key in base64 of either alphabet."""
        return cls(key_id, decode_base64(text))

    def to_base64(self) -> str:
        return encode_base64(self.key)

    def verify(self, message: bytes, signature: str) -> None:
        """Raises BadSignature unless the base64 signature of the message was made by this key."""
        if not self.proof(message, signature).is_good():
            raise BadSignature(f"The signature with {self.key_id} is not valid")

    def proof(self, message: bytes, signature: str) -> Proof:
        """What is to be verified. Raises BadSignature unless the base64 signature has the form of one."""
        try:
            signature_bytes = decode_base64(signature)
        except ValueError as error:
            raise BadSignature(f"The signature with {self.key_id} is not base64") from error
        if len(signature_bytes) != crypto_sign_BYTES:
            raise BadSignature(f"The signature with {self.key_id} is not valid")
        return Proof(message, signature_bytes, self.key)


class SigningKey:
    """A key this server signs with. `key_id` is `ed25519:` and its name in the key file."""

    __slots__ = ("_secret", "_seed", "key_id", "verify_key")

    def __init__(self, name: str, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self._seed = seed
        self.key_id = f"{ALGORITHM}:{name}"
        self.verify_key = VerifyKey(self.key_id, public)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key, named after its public half so that no two share a name."""
        seed = random_bytes(_KEY_BYTES)
        public, _ = crypto_sign_seed_keypair(seed)
        letters = [letter for letter in encode_base64(public) if letter.isalnum()]
        return cls("a_" + "".join(letters[:6]), seed)

    @classmethod
    def from_line(cls, line: str) -> "SigningKey":
        """Read a line of a key file. Raises ValueError."""
        match line.split():
            case [algorithm, name, seed] if algorithm == ALGORITHM:
                seed_bytes = decode_base64(seed)
                if len(seed_bytes) == _KEY_BYTES:
                    return cls(name, seed_bytes)
        raise ValueError(f"A line of a key file is: {ALGORITHM} <name> <base64 of {_KEY_BYTES} bytes>")

    def to_line(self) -> str:
        """The line of a key file. It is the secret: keep it from logs."""
        return f"{ALGORITHM} {self.key_id.partition(':')[2]} {encode_base64(self._seed)}"

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id}>"

    def sign(self, message: bytes) -> str:
        """The signature in unpadded base64."""
        return encode_base64(crypto_sign(message, self._secret)[:crypto_sign_BYTES])


def sign_json(obj: Mapping[str, Json], server_name: ServerName, key: SigningKey) -> JsonObject:
    """The object with a signature of `server_name` added; other signatures and `unsigned` stay."""
    return _with_signature(obj, server_name, key.key_id, key.sign(json_to_sign(obj)))


def verify_json(obj: Mapping[str, Json], server_name: ServerName, verify_key: VerifyKey) -> None:
    """Raises BadSignature unless the object is signed by this key of this server (or user, or device)."""
    verify_key.verify(json_to_sign(obj), _signature(obj, server_name, verify_key.key_id))


def sign_event(
    version: RoomVersion, pdu: Mapping[str, Json], server_name: ServerName, key: SigningKey
) -> JsonObject:
    """The event with a signature of `server_name` added: an invite, a restricted join."""
    return _with_signature(pdu, server_name, key.key_id, key.sign(signed_bytes(version, pdu)))


def verify_event(
    version: RoomVersion, pdu: Mapping[str, Json], server_name: ServerName, verify_key: VerifyKey
) -> None:
    """Raises BadSignature unless the event, redacted or not, is signed by this key of this server."""
    verify_key.verify(signed_bytes(version, pdu), _signature(pdu, server_name, verify_key.key_id))


def signing_key_ids(obj: Mapping[str, Json], server_name: str) -> list[str]:
    """The ed25519 key IDs with which the entity claims to have signed the object."""
    signatures = obj.get("signatures")
    by_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    if not isinstance(by_server, dict):
        return []
    return [key_id for key_id in by_server if key_id.startswith(f"{ALGORITHM}:")]


def required_signers(version: RoomVersion, pdu: Mapping[str, Json]) -> set[ServerName]:
    """The servers that must have signed an event for it to be accepted.

    The sender's, except for an invite by third-party ID; in room versions 1 and 2 the one in the event ID;
    the authorising user's where one is named (restricted joins). Expects a PDU whose form has been checked.
    """
    content = pdu["content"]
    if not isinstance(content, dict) or pdu["type"] != "m.room.member":
        content = {}
    membership = content.get("membership")
    signers = set()
    if not (membership == "invite" and "third_party_invite" in content):
        signers.add(domain_of(str(pdu["sender"])))
    if version.event_id_format is EventIdFormat.EXPLICIT:
        signers.add(domain_of(str(pdu["event_id"])))
    if version.restricted:
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and ":" in authoriser:
            signers.add(domain_of(authoriser))
    return signers


def json_to_sign(obj: Mapping[str, Json]) -> bytes:
    """The bytes that a signature of the object covers. Raises NotCanonical."""
    return canonical_json.encode({key: value for key, value in obj.items() if key not in _NOT_SIGNED})


def _signature(obj: Mapping[str, Json], server_name: str, key_id: str) -> str:
    signatures = obj.get("signatures")
    by_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    signature = by_server.get(key_id) if isinstance(by_server, dict) else None
    if not isinstance(signature, str):
        raise BadSignature(f"There is no signature by {server_name} with {key_id}")
    return signature


def _with_signature(obj: Mapping[str, Json], server_name: str, key_id: str, signature: str) -> JsonObject:
    signatures = obj.get("signatures")
    others = signatures if isinstance(signatures, dict) else {}
    own = others.get(server_name)
    merged = {**(own if isinstance(own, dict) else {}), key_id: signature}
    return {**obj, "signatures": {**others, server_name: merged}}
