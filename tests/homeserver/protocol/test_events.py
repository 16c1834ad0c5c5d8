"""Events: built, read back, and refused when another server sends them malformed."""

import json

import canonicaljson
import pytest

from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.errors import BadJson, TooLarge
from homeserver.protocol.events import MAX_EVENT_BYTES, BadPdu, Draft, Event, build, parse_pdu
from homeserver.protocol.hashes import content_hash_matches, event_id_of
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signatures import verify_event
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, KEY, Room, versions


@pytest.fixture(params=ALL_VERSIONS)
def version(request) -> str:
    return request.param


def message(room: Room, **content) -> Event:
    return room.event("m.room.message", ALICE, content or {"body": "hello", "msgtype": "m.text"})


def test_a_built_event_is_hashed_signed_and_named(version):
    event = message(Room(version))
    assert content_hash_matches(event.version, event.pdu)
    verify_event(event.version, event.pdu, "a.example", KEY.verify_key)
    assert event.event_id == event_id_of(event.version, event.pdu)
    assert event.raw == canonicaljson.encode_canonical_json(event.pdu)
    assert ("event_id" in event.pdu) is (int(version) <= 2)


def test_an_event_reads_back_from_its_bytes(version):
    for event in Room(version).state.values():
        for again in (
            Event.from_raw(event.version, event.raw),
            Event.from_raw(event.version, event.raw, event.event_id),
        ):
            for name in Event.__slots__:
                assert getattr(again, name) == getattr(event, name), name


def test_a_built_event_is_what_another_server_accepts(version):
    room = Room(version)
    for event in (*room.state.values(), message(room)):
        again = parse_pdu(event.version, json.loads(event.raw))
        assert again.event_id == event.event_id
        assert again.raw == event.raw


def test_the_fields_of_an_event(version):
    room = Room(version)
    event = message(room)
    assert event.type == "m.room.message"
    assert event.sender == ALICE
    assert event.room_id == room.room_id
    assert event.content == {"body": "hello", "msgtype": "m.text"}
    assert event.prev_event_ids == (room.last.event_id,)
    assert set(event.auth_event_ids) == {
        other.event_id for other in room.state.values() if other is not room.create or int(version) < 12
    }
    assert event.depth == 3
    assert not event.is_state
    with pytest.raises(ValueError, match="not a state event"):
        _ = event.key
    member = room.last
    assert member.is_state
    assert member.key == ("m.room.member", ALICE)
    assert member.membership == "join"
    assert event.membership is None
    assert ALICE in repr(member)


def test_the_room_id_of_version_12_is_its_create_event():
    room = Room("12")
    assert "room_id" not in room.create.pdu
    assert room.create.room_id == "!" + room.create.event_id[1:]
    assert Event.from_raw(room.version, room.create.raw).room_id == room.create.room_id


def test_a_redaction_names_its_target_where_the_version_wants_it(version):
    room = Room(version)
    event = room.event("m.room.redaction", ALICE, {"reason": "spam"}, redacts="$target")
    assert event.redacts == "$target"
    assert ("redacts" in event.pdu) is (int(version) <= 10)
    assert ("redacts" in event.content) is (int(version) >= 11)
    assert message(room, redacts="$target").redacts is None
    assert room.event("m.room.redaction", ALICE, {"redacts": ["x"]}).redacts is None


def test_events_of_old_rooms_hold_hashes_of_those_before_them():
    room = Room("1")
    draft = Draft(
        type="m.room.message", sender=ALICE, content={}, room_id=room.room_id, depth=3, origin_server_ts=1,
        prev_event_ids=("$a:a", "$b:a"), reference_hashes={"$a:a": "hash"},
    )  # fmt: skip
    event = build(draft, room.version, "a.example", KEY)
    assert event.pdu["prev_events"] == [["$a:a", {"sha256": "hash"}], ["$b:a", {}]]
    assert event.prev_event_ids == ("$a:a", "$b:a")


def test_what_is_unsigned_stays_out_of_the_signed_event(version):
    room = Room(version)
    draft = Draft(
        type="t", sender=ALICE, content={}, room_id=room.room_id, depth=3, origin_server_ts=1,
        unsigned={"transaction_id": "t1"},
    )  # fmt: skip
    event = build(draft, room.version, "a.example", KEY)
    assert event.unsigned == {"transaction_id": "t1"}
    assert b"transaction_id" not in event.raw
    again = parse_pdu(room.version, {**event.pdu, "unsigned": {"age": 1}})
    assert again.unsigned == {"age": 1}
    assert again.raw == event.raw


def test_a_redacted_event_keeps_its_id(version):
    event = message(Room(version))
    redacted = Event.from_pdu(event.version, redact(event.version, event.pdu))
    assert redacted.event_id == event.event_id
    assert redacted.content == {}


@pytest.mark.parametrize(
    "content", [{"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}, {"a": [{"b": 0.1}]}, {1: 2}], ids=repr
)
def test_we_build_only_canonical_events_in_any_version(version, content):
    with pytest.raises(NotCanonical):
        message(Room(version), **content) if "a" in content else Room(version).event("t", ALICE, content)


@pytest.mark.parametrize(("event_type", "state_key"), [
    ("t" * 256, None), ("\u00e9" * 128, None), ("t", "k" * 256), ("t", "\u00e9" * 128),
    ("t", "\U00010000" * 64),
])  # fmt: skip
def test_type_and_state_key_are_at_most_255_bytes(event_type, state_key):
    room = Room()
    with pytest.raises(TooLarge):
        room.event(event_type, ALICE, {}, state_key)
    room.event("t" * 255, ALICE, {}, "\u00e9" * 127 + "e")


@pytest.mark.parametrize(("event_type", "state_key"), [("t\0", None), ("t", "\0")])
def test_type_and_state_key_hold_no_nul(event_type, state_key):
    with pytest.raises(BadPdu):
        Room().event(event_type, ALICE, {}, state_key)


def test_an_event_is_at_most_64_kib():
    room = Room()
    room_left = MAX_EVENT_BYTES - len(message(room, body="").raw)
    assert len(message(room, body="x" * room_left).raw) == MAX_EVENT_BYTES
    with pytest.raises(TooLarge):
        message(room, body="x" * (room_left + 1))
    fitting = message(room, body="x" * room_left)
    assert parse_pdu(room.version, {**fitting.pdu, "unsigned": {"big": "x" * 1000}})
    with pytest.raises(TooLarge):
        parse_pdu(room.version, {**fitting.pdu, "extra": "x"})


BAD_FIELDS = [
    ("type", None), ("type", 1), ("type", "t" * 256), ("type", "a\0"),
    ("sender", None), ("sender", "alice"), ("sender", ["@a:a"]), ("sender", "@a:" + "x" * 300),
    ("content", None), ("content", []), ("content", "text"),
    ("state_key", 1), ("state_key", None), ("state_key", "k" * 256), ("state_key", "\0"),
    ("room_id", None), ("room_id", 5), ("room_id", "room"), ("room_id", "!" + "r" * 300 + ":a.example"),
    ("depth", None), ("depth", "1"), ("depth", -1), ("depth", 2**63), ("depth", True), ("depth", 1.0),
    ("origin_server_ts", None), ("origin_server_ts", "1"), ("origin_server_ts", 2**63),
    ("origin_server_ts", False),
    ("prev_events", None), ("prev_events", "x"), ("prev_events", [1]), ("prev_events", [["$a:a"]]),
    ("prev_events", [["$a:a", "x"]]), ("prev_events", [None]), ("prev_events", ["x"]),
    ("prev_events", ["$" + "x" * 255]),
    ("prev_events", [["$a:a", {}]] * 21), ("prev_events", ["$a"] * 21), ("prev_events", {"$a": {}}),
    ("auth_events", None), ("auth_events", [{}]), ("auth_events", ["$a"] * 11),
    ("auth_events", [["$a:a", {}]] * 11),
    ("hashes", None), ("hashes", []), ("hashes", {}), ("hashes", {"sha256": 1}),
    ("signatures", None), ("signatures", []), ("signatures", {"a": 1}),
    ("signatures", {"a": {"ed25519:1": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:40])
def test_a_malformed_event_of_another_server_is_refused(version, name, value):
    event = message(Room(version))
    with pytest.raises((BadJson, TooLarge)):
        parse_pdu(event.version, {**event.pdu, name: value})


@pytest.mark.parametrize("name", [
    "type", "sender", "content", "room_id", "depth", "origin_server_ts", "prev_events", "auth_events",
    "hashes", "signatures",
])  # fmt: skip
def test_an_incomplete_event_is_refused(version, name):
    event = message(Room(version))
    with pytest.raises(BadPdu):
        parse_pdu(event.version, {key: value for key, value in event.pdu.items() if key != name})


@pytest.mark.parametrize("old", versions(1, 2))
@pytest.mark.parametrize("event_id", [None, 1, "x", "$" + "x" * 255])
def test_old_rooms_need_the_event_id(old, event_id):
    event = message(Room(old))
    with pytest.raises(BadPdu):
        parse_pdu(event.version, {**event.pdu, "event_id": event_id})


@pytest.mark.parametrize("extra", [{"a": 1.5}, {"a": 2**60}, {"a": {"b": [1e10]}}], ids=repr)
def test_canonical_json_is_enforced_from_version_6(version, extra):
    event = message(Room(version))
    pdu = {**event.pdu, "content": extra}
    if int(version) >= 6:
        with pytest.raises(NotCanonical):
            parse_pdu(event.version, pdu)
    else:
        parsed = parse_pdu(event.version, pdu)
        assert parsed.raw == canonicaljson.encode_canonical_json(pdu)
        assert Event.from_raw(event.version, parsed.raw).content == extra


def test_depth_is_bounded_by_what_the_version_can_write(version):
    event = message(Room(version))
    largest = 2**53 - 1 if int(version) >= 6 else 2**63 - 1
    assert parse_pdu(event.version, {**event.pdu, "depth": largest}).depth == largest
    with pytest.raises(BadPdu):
        parse_pdu(event.version, {**event.pdu, "depth": largest + 1})


def test_room_ids_are_those_of_the_version():
    old, new = message(Room("11")), message(Room("12"))
    with pytest.raises(BadPdu):
        parse_pdu(old.version, {**old.pdu, "room_id": new.room_id})
    with pytest.raises(BadPdu):
        parse_pdu(new.version, {**new.pdu, "room_id": old.room_id})


def test_deep_content_is_refused_not_fatal():
    event = message(Room())
    deep: list = []
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(NotCanonical):
        parse_pdu(event.version, {**event.pdu, "content": {"deep": deep}})
    old = message(Room("1"))
    with pytest.raises(NotCanonical):
        parse_pdu(ROOM_VERSIONS["1"], {**old.pdu, "content": {"deep": deep}})
