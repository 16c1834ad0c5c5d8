"""Signatures: ours verify elsewhere, others' verify here, and nothing else does."""

import pytest
import signedjson.key
import signedjson.sign

from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.hashes import encode_base64
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signatures import (
    BadSignature,
    SigningKey,
    VerifyKey,
    required_signers,
    sign_event,
    sign_json,
    signing_key_ids,
    verify_event,
    verify_json,
)
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, KEY, Room, versions

OBJECT = {"one": 1, "two": "Two", "nested": {"list": [1, None, True]}, "unsigned": {"age": 5}}


def test_our_signatures_verify_with_the_reference_library():
    signed = sign_json(OBJECT, "a.example", KEY)
    theirs = signedjson.key.decode_verify_key_bytes(KEY.key_id, KEY.verify_key.key)
    signedjson.sign.verify_signed_json(signed, "a.example", theirs)


def test_signatures_of_the_reference_library_verify_here():
    theirs = signedjson.key.generate_signing_key("x")
    signed = signedjson.sign.sign_json(dict(OBJECT), "a.example", theirs)
    verify_json(signed, "a.example", VerifyKey("ed25519:x", theirs.verify_key.encode()))


def test_key_files_are_those_of_the_reference_library():
    line = KEY.to_line()
    theirs = signedjson.key.read_signing_keys([line])[0]
    assert f"{theirs.alg}:{theirs.version}" == KEY.key_id
    again = SigningKey.from_line(line + "\n")
    assert again.key_id == KEY.key_id
    assert again.sign(b"x") == KEY.sign(b"x")


@pytest.mark.parametrize(
    "line", ["", "ed25519 a", "rsa a " + "A" * 43, "ed25519 a AAAA", "ed25519 a !!", "a b c d"]
)
def test_a_malformed_key_file_is_refused(line):
    with pytest.raises(ValueError):
        SigningKey.from_line(line)


def test_generated_keys_differ_and_a_key_does_not_print_its_secret():
    first, second = SigningKey.generate(), SigningKey.generate()
    assert first.key_id != second.key_id
    assert first.key_id.startswith("ed25519:a_")
    assert first.to_line().split()[2] not in repr(first)


def test_signing_keeps_other_signatures_and_what_is_unsigned():
    once = sign_json(OBJECT, "a.example", KEY)
    twice = sign_json(once, "b.example", SigningKey("other", b"1" * 32))
    both = sign_json(twice, "a.example", SigningKey("second", b"2" * 32))
    assert set(both["signatures"]) == {"a.example", "b.example"}
    assert set(both["signatures"]["a.example"]) == {"ed25519:test", "ed25519:second"}
    assert both["unsigned"] == {"age": 5}
    assert "signatures" not in OBJECT
    verify_json(both, "a.example", KEY.verify_key)


@pytest.mark.parametrize("signatures", [
    None, "x", [], {}, {"a.example": None}, {"a.example": []}, {"a.example": {}},
    {"a.example": {KEY.key_id: 1}},
    {"a.example": {KEY.key_id: "!"}}, {"a.example": {KEY.key_id: "AAAA"}},
    {"a.example": {KEY.key_id: "A" * 86}},
    {"b.example": {KEY.key_id: KEY.sign(b"{}")}}, {"a.example": {KEY.key_id: KEY.sign(b"other")}},
], ids=repr)  # fmt: skip
def test_a_missing_or_malformed_signature_is_refused(signatures):
    with pytest.raises(BadSignature):
        verify_json({"signatures": signatures}, "a.example", KEY.verify_key)


def test_a_change_breaks_the_signature():
    signed = sign_json(OBJECT, "a.example", KEY)
    verify_json({**signed, "unsigned": {"age": 6}}, "a.example", KEY.verify_key)
    with pytest.raises(BadSignature):
        verify_json({**signed, "one": 2}, "a.example", KEY.verify_key)
    with pytest.raises(BadSignature):
        verify_json(signed, "a.example", VerifyKey(KEY.key_id, b"2" * 32))


def test_what_has_no_canonical_form_cannot_be_signed():
    with pytest.raises(NotCanonical):
        sign_json({"a": 1.5}, "a.example", KEY)


@pytest.mark.parametrize(
    ("key_id", "key"), [("rsa:1", b"0" * 32), ("ed25519:1", b"0" * 31), ("1", b"0" * 32)]
)
def test_only_ed25519_keys_verify(key_id, key):
    with pytest.raises(ValueError):
        VerifyKey(key_id, key)


def test_a_public_key_is_written_and_read_in_base64():
    text = KEY.verify_key.to_base64()
    assert text == encode_base64(KEY.verify_key.key)
    assert VerifyKey.from_base64("ed25519:1", text).key == KEY.verify_key.key


def test_signing_key_ids_are_those_we_understand():
    obj = {"signatures": {"a": {"ed25519:1": "x", "rsa:1": "y"}, "b": []}}
    assert signing_key_ids(obj, "a") == ["ed25519:1"]
    assert signing_key_ids(obj, "b") == []
    assert signing_key_ids(obj, "c") == []
    assert signing_key_ids({}, "a") == []


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_an_event_verifies_whole_and_redacted_and_not_when_its_essence_changed(version):
    event = Room(version).event("m.room.message", ALICE, {"body": "hello"})
    verify_event(event.version, event.pdu, "a.example", KEY.verify_key)
    verify_event(event.version, redact(event.version, event.pdu), "a.example", KEY.verify_key)
    with pytest.raises(BadSignature):
        verify_event(event.version, {**event.pdu, "depth": 99}, "a.example", KEY.verify_key)


def test_another_server_may_add_its_signature_to_an_event():
    event = Room().event("m.room.message", ALICE, {"body": "hello"})
    other = SigningKey("other", b"1" * 32)
    signed = sign_event(event.version, event.pdu, "b.example", other)
    verify_event(event.version, signed, "a.example", KEY.verify_key)
    verify_event(event.version, signed, "b.example", other.verify_key)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_senders_server_signs_and_in_old_rooms_that_of_the_event_id(version):
    event = Room(version).event("m.room.message", ALICE, {})
    row = ROOM_VERSIONS[version]
    assert required_signers(row, event.pdu) == {"a.example"}
    elsewhere = {**event.pdu, "event_id": "$x:elsewhere.example"}
    expected = {"a.example", "elsewhere.example"} if int(version) <= 2 else {"a.example"}
    assert required_signers(row, elsewhere) == expected


def test_an_invite_by_third_party_id_may_come_from_any_server():
    event = Room().member(BOB, "invite", by=ALICE, third_party_invite={"signed": {}})
    assert required_signers(event.version, event.pdu) == set()


@pytest.mark.parametrize("version", versions(8))
def test_a_restricted_join_is_signed_by_the_authorising_server(version):
    event = Room(version).member(BOB, "join", join_authorised_via_users_server=ALICE)
    assert required_signers(event.version, event.pdu) == {"a.example", "b.example"}
    event = Room("7").member(BOB, "join", join_authorised_via_users_server=ALICE)
    assert required_signers(event.version, event.pdu) == {"b.example"}
