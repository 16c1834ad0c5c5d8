"""The keys a server publishes: their document, read with distrust, and our own.

https://spec.matrix.org/latest/server-server-api/#publishing-keys
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from nacl.bindings import crypto_core_ed25519_is_valid_point

from homeserver.protocol.errors import Unauthorized
from homeserver.protocol.hashes import encode_base64
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.signatures import (
    BadSignature,
    SigningKey,
    VerifyKey,
    sign_json,
    signing_key_ids,
    verify_json,
)

LONGEST_VALIDITY_MS = 7 * 86_400_000
"""However long a server says its keys are good: "the lesser of this field and 7 days into the future"."""
MAX_KEYS = 100
MAX_KEPT_BYTES = 64 * 1024
"""Of one server: its document is kept with each of its keys, so a long one is kept with few."""
MAX_KEY_ID_CHARACTERS = 200

KNOWN_TO_EVERYBODY = frozenset(
    {
        # CVE-2026-24044: made by a generator without randomness
        "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og",
    }
)
"""Public keys whose secret half is public: what they sign proves nothing."""


class BadKeyDocument(Unauthorized):
    """A server's key document that is malformed or not signed with the keys it lists."""


class PublishedKey(NamedTuple):
    """A key and the last moment for which its server vouches for it."""

    key: VerifyKey
    valid_until_ms: int


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """A checked document: the server's keys, old ones included, and the document as it was signed."""

    server_name: ServerName
    keys: Mapping[str, PublishedKey]
    valid_until_ms: int
    document: JsonObject


class OldKey(NamedTuple):
    """A key this server signed with until `expired_ms`."""

    key: VerifyKey
    expired_ms: int


def check_document(document: JsonObject, server_name: ServerName, *, now_ms: int) -> KeyDocument:
    """Read a document that should be about `server_name`. Validity is cut to seven days from now.

    Keys of unknown kinds, unusable keys and keys whose secret is public are left out, and old ones where
    there are more than anybody needs.
    Raises BadKeyDocument unless the document is signed with one of its current keys, and with none wrongly.
    """
    if document.get("server_name") != server_name:
        raise BadKeyDocument(f"The keys are those of another server than {server_name}")
    valid_until = document.get("valid_until_ts")
    if not isinstance(valid_until, int) or isinstance(valid_until, bool):
        raise BadKeyDocument(f"The keys of {server_name} have no valid_until_ts")
    valid_until_ms = min(valid_until, now_ms + LONGEST_VALIDITY_MS)
    current = {
        key.key_id: PublishedKey(key, valid_until_ms)
        for key, _ in _keys(document.get("verify_keys"), server_name)
    }
    _check_signatures(document, server_name, current)
    keys = dict(current)
    for key, entry in _keys(document.get("old_verify_keys"), server_name):
        expired = entry.get("expired_ts")
        if isinstance(expired, int) and not isinstance(expired, bool):
            keys.setdefault(key.key_id, PublishedKey(key, min(expired, now_ms)))
    most = max(1, MAX_KEPT_BYTES // _size(document))
    safe = [(key_id, key) for key_id, key in keys.items() if not is_known_to_everybody(key.key)]
    return KeyDocument(server_name, dict(safe[:most]), valid_until_ms, document)


def is_known_to_everybody(key: VerifyKey) -> bool:
    """Could anybody have made signatures with this key?"""
    return key.to_base64() in KNOWN_TO_EVERYBODY or not crypto_core_ed25519_is_valid_point(key.key)


def own_document(
    server_name: ServerName, key: SigningKey, old_keys: Sequence[OldKey], *, valid_until_ms: int
) -> JsonObject:
    """The document about ourselves, signed."""
    document: JsonObject = {
        "server_name": server_name,
        "valid_until_ts": valid_until_ms,
        "verify_keys": {key.key_id: {"key": key.verify_key.to_base64()}},
        "old_verify_keys": {
            old.key.key_id: {"key": encode_base64(old.key.key), "expired_ts": old.expired_ms}
            for old in old_keys
        },
    }
    return sign_json(document, server_name, key)


def _size(document: JsonObject) -> int:
    try:
        return len(orjson.dumps(document))
    except TypeError:  # what no signature covers may be nested as deep as anybody likes
        raise BadKeyDocument("The document cannot be kept") from None


def _keys(listed: Json, server_name: ServerName) -> list[tuple[VerifyKey, Mapping[str, Json]]]:
    if listed is None:
        return []
    if not isinstance(listed, dict) or len(listed) > MAX_KEYS:
        raise BadKeyDocument(f"The keys of {server_name} are malformed or too many")
    found = []
    for key_id, entry in listed.items():
        text = entry.get("key") if isinstance(entry, dict) else None
        if not isinstance(text, str) or len(key_id) > MAX_KEY_ID_CHARACTERS:
            continue
        try:
            found.append((VerifyKey.from_base64(key_id, text), entry))
        except ValueError:
            continue  # another algorithm, or nonsense that nobody needs to trust
    return found


def _check_signatures(
    document: JsonObject, server_name: ServerName, current: Mapping[str, PublishedKey]
) -> None:
    signed = [key_id for key_id in signing_key_ids(document, server_name) if key_id in current]
    if not signed:
        raise BadKeyDocument(f"The keys of {server_name} are not signed with any of them")
    try:
        for key_id in signed:
            verify_json(document, server_name, current[key_id].key)
    except BadSignature as error:
        raise BadKeyDocument(f"The keys of {server_name}: {error.message}") from error
