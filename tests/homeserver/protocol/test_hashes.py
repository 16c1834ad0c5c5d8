"""Hashes: the content hash notices a change, the reference hash names the event, redacted or not."""

import hashlib

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.hashes import (
    content_hash,
    content_hash_matches,
    decode_base64,
    encode_base64,
    encode_base64_url,
    event_id_of,
    reference_hash,
)
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, Room


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_an_event_carries_its_own_content_hash(version):
    event = Room(version).event("m.room.message", ALICE, {"body": "hello"})
    assert content_hash_matches(event.version, event.pdu)
    assert content_hash_matches(event.version, {**event.pdu, "unsigned": {"age": 1}, "signatures": {}})
    assert not content_hash_matches(event.version, {**event.pdu, "content": {"body": "tampered"}})
    assert not content_hash_matches(event.version, {**event.pdu, "extra": 1})


@pytest.mark.parametrize(
    "hashes", [None, "x", [], {}, {"sha256": 1}, {"sha256": "!!"}, {"sha256": ""}, {"md5": "x"}]
)
def test_a_malformed_hash_does_not_match(hashes):
    event = Room().event("m.room.message", ALICE, {"body": "hello"})
    assert not content_hash_matches(event.version, {**event.pdu, "hashes": hashes})


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_reference_hash_survives_redaction_and_new_signatures(version):
    event = Room(version).event("m.room.message", ALICE, {"body": "hello"})
    row = ROOM_VERSIONS[version]
    redacted = redact(row, event.pdu)
    assert reference_hash(row, event.pdu) == reference_hash(row, redacted)
    assert reference_hash(row, event.pdu) == reference_hash(
        row, {**event.pdu, "signatures": {}, "unsigned": {}}
    )
    assert event_id_of(row, redacted) == event.event_id


def test_the_reference_hash_is_that_of_the_redacted_event_without_signatures():
    event = Room("10").event("m.room.message", ALICE, {"body": "hello"})
    expected = {key: event.pdu[key] for key in event.pdu if key != "signatures"} | {"content": {}}
    digest = hashlib.sha256(canonicaljson.encode_canonical_json(expected)).digest()
    assert decode_base64(reference_hash(event.version, event.pdu)) == digest
    assert event.event_id == "$" + encode_base64_url(digest)


def test_event_ids_follow_the_room_version():
    found = {version: Room(version).event("m.room.message", ALICE, {}).event_id for version in ALL_VERSIONS}
    for version, event_id in found.items():
        if int(version) <= 2:
            assert event_id.endswith(":a.example")
        else:
            assert len(event_id) == 44
            assert ":" not in event_id
    by_base64 = {}
    for number in range(200):
        for version in ("3", "4"):
            event = Room(version).event("m.room.message", ALICE, {"n": number})
            by_base64.setdefault(version, set()).update(event.event_id[1:])
    assert {"+", "/"} <= by_base64["3"]
    assert not {"-", "_"} & by_base64["3"]
    assert {"-", "_"} <= by_base64["4"]
    assert not {"+", "/"} & by_base64["4"]


def test_only_old_rooms_hash_floats_and_big_integers():
    pdu = {"type": "t", "content": {"float": 1.5, "big": 2**70}, "sender": "@a:a"}
    digest = hashlib.sha256(canonicaljson.encode_canonical_json(pdu)).digest()
    assert content_hash(pdu, strict=False) == encode_base64(digest)
    with pytest.raises(NotCanonical):
        content_hash(pdu)


@given(st.binary())
def test_base64_of_either_alphabet_padded_or_not_is_read(data):
    for text in (encode_base64(data), encode_base64_url(data), encode_base64(data) + "="):
        if not text.endswith("=") or len(data) % 3:
            assert decode_base64(text) == data
    assert "=" not in encode_base64(data)


@pytest.mark.parametrize("text", ["a", "aaaaa", "a b", "a\n", "\u00e9", "a===", "aa===", "aa==aa", "{}"])
def test_what_is_not_base64_is_refused(text):
    with pytest.raises(ValueError):
        decode_base64(text)
