"""Events of an impossible form or size."""

from typing import Any

import pytest

from homeserver.protocol import canonical_json
from tests.peers.federation.adversary.hostile import is_hidden, still_works
from tests.support.adversary import V1, Adversary, View
from tests.support.people import Person, path

BAD_VALUES: list[Any] = [1.5, 2**53, -(2**53), 2**70, 1e400]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_numbers_that_are_not_canonical(
    alice: Person, room: str, view: View, mallory: Adversary, value: Any
) -> None:
    pdu = mallory.event(view, "?")
    raw = canonical_json.encode_lenient({"edus": [], "origin": mallory.name, "pdus": [pdu]})
    text = {1e400: b"1e400"}.get(value, repr(value).encode())
    raw = raw.replace(b'"body":"?"', b'"body":"?","number":%b' % text)
    mallory.request("PUT", f"{V1}/send/number{BAD_VALUES.index(value)}", raw=raw)
    mallory.settle()
    assert "?" not in alice.messages(room).texts
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("value", [-1, 2**53, 2**63, 2**64, "5", None, 1.0, True])
@pytest.mark.parametrize("name", ["depth", "origin_server_ts"])
def test_absurd_numbers_in_an_event(
    alice: Person, room: str, view: View, mallory: Adversary, name: str, value: Any
) -> None:
    """CVE-2025-30355: one malformed event must not stop the events after it, from here or elsewhere."""
    mallory.send([mallory.event(view, "absurd", **{name: value})])
    assert still_works(alice, room, view, mallory)


def test_the_deepest_event(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """The room goes on, though nothing can be deeper."""
    deep = mallory.event(view, "abyss", depth=2**53 - 1)
    mallory.send([deep])
    mine = alice.send(room, "deeper?")
    mallory.settle()
    sent = next(pdu for pdu in mallory.received if view.name(pdu) == mine)
    assert sent["depth"] <= 2**53 - 1
    alice.send(room, "and deeper?")
    mallory.settle()
    assert len(alice.messages(room, limit=10).texts) >= 2


def test_big_events(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    big = mallory.event(view, {"msgtype": "m.text", "body": "x" * 66_000})
    fits = mallory.event(view, {"msgtype": "m.text", "body": "x" * 64_000})
    mallory.send([big])
    mallory.send([fits])
    assert is_hidden(alice, room, view, big)
    assert alice.sees(room, view.name(fits))


@pytest.mark.parametrize("name", ["type", "sender", "state_key", "room_id"])
def test_fields_of_more_than_255_bytes(
    alice: Person, room: str, view: View, mallory: Adversary, name: str
) -> None:
    """Bytes, not characters."""
    value = {"sender": f"@{'é' * 130}:evil.example", "room_id": f"!{'é' * 130}:test"}.get(name, "é" * 130)
    pdu = mallory.event(view, "long", **{name: value})
    assert mallory.send([pdu]).status == 200
    assert is_hidden(alice, room, view, pdu)
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\x00b"])
def test_characters_that_are_none(
    alice: Person, room: str, view: View, mallory: Adversary, text: str
) -> None:
    escaped = {"\ud800": rb"\ud800", "\x00": rb"\u0000", "a\x00b": rb"a\u0000b"}[text]
    pdu = mallory.event(view, "MARK")
    raw = canonical_json.encode_lenient({"edus": [], "origin": mallory.name, "pdus": [pdu]})
    for number, target in enumerate((b'"body":"MARK"', b'"type":"m.room.message"')):
        changed = raw.replace(target, target[:-1] + escaped + b'"')
        mallory.request("PUT", f"{V1}/send/odd{number}", raw=changed)
    mallory.settle()
    assert alice.sync(since=None).next_batch
    assert still_works(alice, room, view, mallory)


def test_deep_nesting(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Nothing recurses as deep as somebody else likes."""
    pdu = mallory.event(view, "MARK")
    raw = canonical_json.encode_lenient({"edus": [], "origin": mallory.name, "pdus": [pdu]})
    nested = raw.replace(b'"MARK"', b"[" * 20_000 + b"]" * 20_000)
    mallory.request("PUT", f"{V1}/send/nested", raw=nested)
    assert still_works(alice, room, view, mallory)


NONSENSE: list[Any] = [
    None,
    5,
    "x",
    [],
    {},
    {"type": 5},
    {"room_id": []},
    {"content": "x", "type": "m.room.message"},
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_beside_an_event(
    alice: Person, room: str, view: View, mallory: Adversary, nonsense: Any
) -> None:
    """One malformed entry never harms the rest of a transaction."""
    pdu = mallory.event(view, "sense")
    if isinstance(nonsense, dict):
        nonsense = {"room_id": room, **nonsense}
    answer = mallory.send([nonsense, pdu, nonsense])
    assert answer.status == 200, answer.json
    assert answer.json["pdus"].get(view.name(pdu)) == {}
    assert alice.sees(room, view.name(pdu))


FIELDS = [
    "type",
    "sender",
    "content",
    "room_id",
    "prev_events",
    "auth_events",
    "depth",
    "origin_server_ts",
    "hashes",
]


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [[]], [5], [None], {"sha256": 5}])
@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_wrong_form(
    alice: Person, room: str, view: View, mallory: Adversary, name: str, value: Any
) -> None:
    """CVE-2025-30355 again, for every field."""
    try:
        pdu = mallory.event(view, "odd", **{name: value})
    except Exception:
        pdu = {**mallory.event(view, "odd"), name: value}
    if name == "hashes":
        pdu["hashes"] = value
    assert mallory.send([pdu]).status == 200
    assert still_works(alice, room, view, mallory)


def test_membership_content_that_is_odd(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2024-52815: whatever a display name is, syncs and pages go on."""
    for odd in (5, None, [], {"a": 1}, "x" * 60_000, "\u202e" * 300):
        content = {"membership": "join", "displayname": odd, "avatar_url": odd, "third_party_invite": odd}
        pdu = mallory.event(view, content, type_="m.room.member", state_key=mallory.user)
        mallory.send([pdu])
        assert alice.sync(since=None).next_batch
        assert alice.messages(room).events is not None
        assert alice.ask("GET", path("rooms", room, "joined_members"))["joined"]
        assert alice.members(room)


def test_odd_state_does_not_break_the_room(alice: Person, mallory: Adversary) -> None:
    """Sent by somebody who may: every reader of state survives what it holds."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version="11", visibility="public", power_level_content_override=override
    )
    view = mallory.join(room)
    types = [
        "m.room.name",
        "m.room.topic",
        "m.room.avatar",
        "m.room.canonical_alias",
        "m.room.server_acl",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.tombstone",
        "m.space.child",
        "m.room.encryption",
        "m.room.pinned_events",
        "m.room.join_rules",
    ]
    for type_ in types:
        for odd in (5, None, ["x"], {"a": 1}):
            names = (
                "name",
                "topic",
                "url",
                "alias",
                "alt_aliases",
                "allow",
                "deny",
                "history_visibility",
                "guest_access",
                "replacement_room",
                "via",
                "algorithm",
                "pinned",
                "join_rule",
            )
            mallory.say(view, dict.fromkeys(names, odd), type_=type_, state_key="")
            assert alice.sync(since=None).next_batch
            assert alice.state(room)
            assert alice.ask("GET", "/publicRooms")["chunk"] is not None
            alice.ask("GET", f"/_matrix/client/v1{path('rooms', room, 'hierarchy')}")


@pytest.mark.parametrize("number", [2**53, 2**64, 2**70, -(2**70), 1.5, 10**400])
@pytest.mark.parametrize("way", ["sent", "fetched"])
def test_numbers_of_old_rooms(alice: Person, mallory: Adversary, number: Any, way: str) -> None:
    """Up to version 5 they are part of events, exactly as written, whichever way an event comes in."""
    room = alice.create_room(preset="public_chat", room_version="5")
    view = mallory.join(room)
    odd = mallory.event(view, {"msgtype": "m.text", "body": "odd", "number": 1})
    odd = mallory.finish(view, {**odd, "content": {**odd["content"], "number": number}})
    raw = canonical_json.encode_lenient
    if way == "sent":
        mallory.request("PUT", f"{V1}/send/numbers", raw=raw({"origin": mallory.name, "pdus": [odd]}))
        mallory.settle()
    else:
        mallory.on(f"{V1}/get_missing_events", lambda _: (200, raw({"events": [odd]})))
        mallory.on(f"{V1}/event/", lambda _: (200, raw({"pdus": [odd]})))
    after = mallory.event(view, "after", prev_events=[view.name(odd)], depth=view.depth + 2)
    mallory.send([after])
    mallory.settle(5)
    if number == 10**400:  # which no reader of JSON has to bear
        assert is_hidden(alice, room, view, odd)
    else:
        assert alice.event(room, view.name(odd))["content"]["body"] == "odd"
        assert alice.sees(room, view.name(after))
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("number", [2**64, -(2**70), 1.5])
def test_numbers_in_the_state_of_old_rooms(
    alice: Person, bob: Person, mallory: Adversary, number: Any
) -> None:
    """CVE-2024-52815 again: an invite into such a room, and all that reads its state."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version="5", visibility="public", power_level_content_override=override
    )
    view = mallory.join(room)
    for type_, content in (
        ("m.room.name", {"name": "Odd"}),
        ("m.room.topic", {"topic": "Odd"}),
        ("m.room.join_rules", {"join_rule": "public"}),
        ("m.room.history_visibility", {"history_visibility": "world_readable"}),
        ("m.room.power_levels", {"users": {alice.user_id: 100, mallory.user: 100}}),
        ("m.room.server_acl", {"allow": ["*"]}),
        ("m.space.child", {"via": ["test"]}),
    ):
        key = "!child:test" if type_ == "m.space.child" else ""
        mallory.say(view, {**content, "number": number, "deep": [{"x": number}]}, type_=type_, state_key=key)
    for user, membership in ((mallory.user, "join"), (bob.user_id, "invite")):
        content = {"membership": membership, "number": number}
        mallory.say(view, content, type_="m.room.member", state_key=user)
    assert bob.sync(since=None).invites
    bob.join(room)
    for person in (alice, bob):
        for restart in (False, True):
            if restart:
                alice.server.restart()
            assert person.sync(since=None).next_batch
            assert person.state_of(room, "m.room.name")["name"] == "Odd"
            assert len(person.messages(room, limit=100).events) > 10
            assert person.members(room)
            assert person.ask("GET", "/publicRooms")["chunk"]
            person.ask("GET", f"/_matrix/client/v1{path('rooms', room, 'hierarchy')}")
            person.ask("GET", path("rooms", room, "context", view.heads[0]))
    answer = mallory.request("GET", f"{V1}/state/{room}?event_id={view.heads[0]}")
    assert answer.status == 200
    assert still_works(alice, room, view, mallory)
