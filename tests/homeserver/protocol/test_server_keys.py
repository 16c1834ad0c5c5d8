"""What servers say about their keys, read with distrust."""

from typing import Any

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.server_keys import (
    KNOWN_TO_EVERYBODY,
    LONGEST_VALIDITY_MS,
    BadKeyDocument,
    OldKey,
    check_document,
    own_document,
)
from homeserver.protocol.signatures import SigningKey, sign_json

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
SERVER = ServerName("remote.example")
KEY = SigningKey("one", b"1" * 32)
OTHER = SigningKey("two", b"2" * 32)


def document(*signers: SigningKey, **changes: Any) -> JsonObject:
    """About SERVER, with KEY, signed with KEY unless told otherwise."""
    found: JsonObject = {
        "server_name": SERVER,
        "valid_until_ts": NOW_MS + HOUR_MS,
        "verify_keys": {KEY.key_id: {"key": KEY.verify_key.to_base64()}},
        "old_verify_keys": {},
        **changes,
    }
    found = {name: value for name, value in found.items() if value is not ...}
    for key in signers or (KEY,):
        found = sign_json(found, SERVER, key)
    return found


def test_our_own_document_is_one_that_others_believe() -> None:
    old = OldKey(OTHER.verify_key, NOW_MS - HOUR_MS)
    checked = check_document(
        own_document(SERVER, KEY, [old], valid_until_ms=NOW_MS + 1), SERVER, now_ms=NOW_MS
    )
    assert {key_id: key.valid_until_ms for key_id, key in checked.keys.items()} == {
        KEY.key_id: NOW_MS + 1,
        OTHER.key_id: NOW_MS - HOUR_MS,
    }
    assert checked.keys[KEY.key_id].key.key == KEY.verify_key.key


def test_no_key_is_believed_for_more_than_seven_days() -> None:
    checked = check_document(document(valid_until_ts=2**53 - 1), SERVER, now_ms=NOW_MS)
    assert checked.keys[KEY.key_id].valid_until_ms == NOW_MS + LONGEST_VALIDITY_MS
    assert checked.valid_until_ms == NOW_MS + LONGEST_VALIDITY_MS


def test_old_keys_do_not_expire_in_the_future() -> None:
    old = {OTHER.key_id: {"key": OTHER.verify_key.to_base64(), "expired_ts": NOW_MS + HOUR_MS}}
    assert (
        check_document(document(old_verify_keys=old), SERVER, now_ms=NOW_MS).keys[OTHER.key_id][1] == NOW_MS
    )


def test_a_key_that_is_both_old_and_current_is_current() -> None:
    old = {KEY.key_id: {"key": OTHER.verify_key.to_base64(), "expired_ts": 1}}
    keys = check_document(document(old_verify_keys=old), SERVER, now_ms=NOW_MS).keys
    assert keys[KEY.key_id].key.key == KEY.verify_key.key


@pytest.mark.parametrize(
    "wrong",
    [
        document(server_name="other.example"),
        document(server_name=...),
        document(valid_until_ts=...),
        document(valid_until_ts="tomorrow"),
        document(valid_until_ts=True),
        document(verify_keys=...),
        document(verify_keys=[]),
        document(verify_keys={}),
        document(verify_keys="none"),
        document(verify_keys={f"ed25519:{number}": {"key": "x"} for number in range(101)}),
        document(old_verify_keys=[1]),
        document(OTHER),
        document(verify_keys={KEY.key_id: {"key": OTHER.verify_key.to_base64()}}),
        {**document(), "valid_until_ts": NOW_MS + 1},
        {name: value for name, value in document().items() if name != "signatures"},
        {**document(), "signatures": {"other.example": {KEY.key_id: "x"}}},
        {**document(), "signatures": {SERVER: {KEY.key_id: 1}}},
        {**document(), "signatures": []},
        {},
    ],
)
def test_documents_that_are_not_believed(wrong: JsonObject) -> None:
    with pytest.raises(BadKeyDocument):
        check_document(wrong, SERVER, now_ms=NOW_MS)


def test_one_wrong_signature_spoils_it() -> None:
    keys = {key.key_id: {"key": key.verify_key.to_base64()} for key in (KEY, OTHER)}
    both = document(KEY, OTHER, verify_keys=keys)
    assert check_document(both, SERVER, now_ms=NOW_MS).keys.keys() == keys.keys()
    signatures: Any = both["signatures"]
    signatures[SERVER][OTHER.key_id] = signatures[SERVER][KEY.key_id]
    with pytest.raises(BadKeyDocument):
        check_document(both, SERVER, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("key_id", "entry"),
    [
        ("rsa:1", {"key": OTHER.verify_key.to_base64()}),
        ("ed25519:short", {"key": "abc"}),
        ("ed25519:none", {}),
        ("ed25519:number", {"key": 5}),
        ("ed25519:list", []),
        ("ed25519:" + "x" * 300, {"key": OTHER.verify_key.to_base64()}),
        ("ed25519:zero", {"key": "A" * 43}),
        *(("ed25519:public", {"key": key}) for key in KNOWN_TO_EVERYBODY),
    ],
)
def test_keys_nobody_should_trust_are_left_out(key_id: str, entry: Any) -> None:
    keys = {KEY.key_id: {"key": KEY.verify_key.to_base64()}, key_id: entry}
    assert list(check_document(document(verify_keys=keys), SERVER, now_ms=NOW_MS).keys) == [KEY.key_id]
    old = {key_id: {**entry, "expired_ts": 5} if isinstance(entry, dict) else entry}
    assert list(check_document(document(old_verify_keys=old), SERVER, now_ms=NOW_MS).keys) == [KEY.key_id]


@pytest.mark.parametrize("expired", [None, "5", True])
def test_old_keys_without_an_end_are_left_out(expired: Any) -> None:
    old = {OTHER.key_id: {"key": OTHER.verify_key.to_base64(), "expired_ts": expired}}
    assert list(check_document(document(old_verify_keys=old), SERVER, now_ms=NOW_MS).keys) == [KEY.key_id]


def test_a_long_document_with_many_keys_is_kept_with_few() -> None:
    """It is kept with each of them: anybody could fill a disk by being many servers."""
    old = {
        f"ed25519:old{number}": {"key": OTHER.verify_key.to_base64(), "expired_ts": 5} for number in range(90)
    }
    assert len(check_document(document(old_verify_keys=old), SERVER, now_ms=NOW_MS).keys) <= 8
    few = dict(list(old.items())[:10])
    assert len(check_document(document(old_verify_keys=few), SERVER, now_ms=NOW_MS).keys) == 11


def test_a_document_with_something_deep_that_nobody_signed() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(BadKeyDocument):
        check_document({**document(), "unsigned": deep}, SERVER, now_ms=NOW_MS)
