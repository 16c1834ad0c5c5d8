"""Redaction: what survives, in each room version."""

import pytest

from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALL_VERSIONS, versions

ALWAYS = {
    "event_id": "$e:a", "type": "t", "room_id": "!r:a", "sender": "@a:a", "state_key": "", "hashes": {},
    "signatures": {}, "depth": 1, "prev_events": [], "auth_events": [], "origin_server_ts": 1,
}  # fmt: skip
UNTIL_V10 = {"prev_state": [], "origin": "a", "membership": "join"}
NEVER = {"unsigned": {"age": 1}, "redacts": "$x", "custom": 1}


def content_after(version: str, event_type: str, content: dict) -> dict:
    return redact(ROOM_VERSIONS[version], {"type": event_type, "content": content})["content"]


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_top_level_keys(version):
    survivors = set(
        redact(ROOM_VERSIONS[version], {**ALWAYS, **UNTIL_V10, **NEVER, "content": {"body": "x"}})
    )
    expected = {*ALWAYS, "content"} | (set(UNTIL_V10) if int(version) <= 10 else set())
    assert survivors == expected


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_messages_and_unknown_types_lose_all_content(version):
    for event_type in ("m.room.message", "m.room.name", "m.room.encrypted", "custom"):
        assert content_after(version, event_type, {"body": "x", "name": "y", "membership": "join"}) == {}


@pytest.mark.parametrize(("event_type", "key", "first", "last"), [
    ("m.room.member", "membership", 1, 12),
    ("m.room.member", "join_authorised_via_users_server", 9, 12),
    ("m.room.member", "displayname", 99, 99),
    ("m.room.member", "third_party_invite", 99, 99),
    ("m.room.create", "creator", 1, 12),
    ("m.room.create", "room_version", 11, 12),
    ("m.room.create", "additional_creators", 11, 12),
    ("m.room.join_rules", "join_rule", 1, 12),
    ("m.room.join_rules", "allow", 8, 12),
    ("m.room.join_rules", "other", 99, 99),
    ("m.room.power_levels", "ban", 1, 12),
    ("m.room.power_levels", "events", 1, 12),
    ("m.room.power_levels", "events_default", 1, 12),
    ("m.room.power_levels", "invite", 11, 12),
    ("m.room.power_levels", "kick", 1, 12),
    ("m.room.power_levels", "redact", 1, 12),
    ("m.room.power_levels", "state_default", 1, 12),
    ("m.room.power_levels", "users", 1, 12),
    ("m.room.power_levels", "users_default", 1, 12),
    ("m.room.power_levels", "notifications", 99, 99),
    ("m.room.aliases", "aliases", 1, 5),
    ("m.room.history_visibility", "history_visibility", 1, 12),
    ("m.room.redaction", "redacts", 11, 12),
    ("m.room.redaction", "reason", 99, 99),
])  # fmt: skip
def test_content_keys(event_type, key, first, last):
    for version in ALL_VERSIONS:
        expected = {key: "value"} if first <= int(version) <= last else {}
        assert content_after(version, event_type, {key: "value"}) == expected, version


@pytest.mark.parametrize("version", versions(11))
def test_the_signed_part_of_a_third_party_invite_survives_from_version_11(version):
    content = {"membership": "invite", "third_party_invite": {"display_name": "A", "signed": {"token": "t"}}}
    survivors = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    assert content_after(version, "m.room.member", content) == survivors
    for malformed in ("text", {}, [], None):
        assert content_after(version, "m.room.member", {"third_party_invite": malformed}) == {}


@pytest.mark.parametrize(
    "pdu", [{}, {"type": 1, "content": {}}, {"type": "t", "content": "text"}, {"type": []}]
)
def test_a_malformed_event_redacts_to_an_empty_one(pdu):
    for row in ROOM_VERSIONS.values():
        assert redact(row, pdu)["content"] == {}


def test_redacting_changes_nothing_in_the_original():
    pdu = {**ALWAYS, "type": "m.room.member", "content": {"membership": "join", "displayname": "A"}}
    redact(ROOM_VERSIONS["12"], pdu)
    assert pdu["content"] == {"membership": "join", "displayname": "A"}
