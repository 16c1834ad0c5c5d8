"""Taking back what was sent.

https://spec.matrix.org/latest/client-server-api/#redactions
"""

from typing import Any

import pytest

from homeserver.protocol.ids import EventId
from homeserver.runtime.database import DatabaseUnavailable
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


@pytest.mark.parametrize("version", ["1", "2", "3", "10", "11", "12"])
def test_a_redacted_event_is_empty_everywhere(each_server: WholeServer, version: str) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob], room_version=version)
    event_id = bob.send(room, "oops")
    after = bob.send(room, "after")
    redaction = bob.redact(room, event_id, reason="typo")

    def check() -> None:
        event = alice.event(room, event_id)
        assert event["content"] == {}
        because = event["unsigned"]["redacted_because"]
        assert because["event_id"] == redaction
        assert because["content"]["reason"] == "typo"
        assert event_id in (because.get("redacts"), because["content"].get("redacts"))
        assert alice.messages(room, limit=3).texts == ["after"]
        assert alice.context(room, after)["events_before"][0]["content"] == {}
        assert "oops" not in alice.sync(since=None).texts(room)

    check()
    each_server.restart()
    check()


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
def test_redactions_name_their_target_in_both_places(alice: Person, version: str) -> None:
    room = alice.create_room(room_version=version)
    event_id = alice.send(room)
    redaction = alice.event(room, alice.redact(room, event_id))
    assert redaction["redacts"] == event_id
    assert redaction["content"]["redacts"] == event_id


def test_a_sync_shows_the_redaction_and_then_the_empty_event(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room, "oops")
    bob.sync()
    redaction = alice.redact(room, event_id)
    assert bob.sync().ids(room) == [redaction]
    first = bob.sync(since=None)
    assert [event["content"] for event in first.timeline(room) if event["event_id"] == event_id] == [{}]


def test_moderators_redact_what_others_sent(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    of_alice, of_bob = alice.send(room), bob.send(room)
    bob.redact(room, of_alice, refused="M_FORBIDDEN")
    bob.redact(room, of_bob)
    alice.redact(room, bob.send(room))


def test_who_is_out_redacts_nothing(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = bob.send(room)
    bob.leave(room)
    bob.redact(room, event_id, refused="M_FORBIDDEN")


def test_only_events_of_the_room_are_redacted(alice: Person) -> None:
    room, other = alice.create_room(), alice.create_room()
    event_id = alice.send(other)
    alice.redact(room, event_id, refused="M_NOT_FOUND")
    alice.redact(room, "$nothing", refused="M_NOT_FOUND")
    alice.redact(room, "nonsense", refused="M_INVALID_PARAM")
    assert alice.event(other, event_id)["content"]["body"] == "hello"


def test_the_create_event_stays(alice: Person) -> None:
    room = alice.create_room()
    create = alice.state_of(room, "m.room.create", format="event")["event_id"]
    alice.redact(room, create, refused="M_FORBIDDEN")


def test_redactions_can_be_sent_as_events(alice: Person) -> None:
    room = alice.create_room()
    event_id = alice.send(room)
    alice.send(room, {"redacts": event_id, "reason": "typo"}, type_="m.room.redaction")
    assert alice.event(room, event_id)["content"] == {}
    alice.send(room, {}, type_="m.room.redaction", refused="M_BAD_JSON")
    alice.send(room, {"redacts": 1}, type_="m.room.redaction", refused="M_BAD_JSON")


def test_redacted_state_stands_without_its_content(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    event_id = alice.set_state(room, "m.room.name", {"name": "oops"})
    alice.redact(room, event_id)
    assert alice.state_of(room, "m.room.name") == {}
    assert alice.sync(since=None).known_state(room)["m.room.name", ""]["content"] == {}
    server.restart()
    assert alice.state_of(room, "m.room.name") == {}
    assert alice.state(room)["m.room.name", ""]["event_id"] == event_id


def test_what_replaced_redacted_state_does_not_repeat_it(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    oops = alice.set_state(room, "m.room.name", {"name": "oops"})
    alice.set_state(room, "m.room.name", {"name": "Den"})
    alice.redact(room, oops)

    def check() -> None:
        assert alice.state_of(room, "m.room.name", format="event")["unsigned"].get("prev_content") in (
            None,
            {},
        )
        assert (
            "oops"
            not in alice.request("GET", path("rooms", room, "messages"), dir="b", limit=50).body.decode()
        )
        assert "oops" not in str(alice.sync(since=None).json)

    check()
    server.restart()
    check()


def test_a_redacted_membership_still_counts(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    member = alice.state_of(room, "m.room.member", bob.user_id, format="event")["event_id"]
    alice.redact(room, member)
    assert alice.state_of(room, "m.room.member", bob.user_id) == {"membership": "join"}
    bob.send(room)


def test_redacting_twice_keeps_the_first(alice: Person) -> None:
    room = alice.create_room()
    event_id = alice.send(room)
    first = alice.redact(room, event_id)
    alice.redact(room, event_id)
    assert alice.event(room, event_id)["unsigned"]["redacted_because"]["event_id"] == first


def test_reason_must_be_text(alice: Person) -> None:
    room = alice.create_room()
    alice.redact(room, alice.send(room), reason=1, refused="M_BAD_JSON")


def test_a_database_that_fails_after_a_redaction_holds_nobody_up(
    server: WholeServer, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = alice.create_room(members=[bob])
    event_id = bob.send(room, "oops")
    alice.sync()
    events = server.services.rooms.writer._events
    read_again = events.read_again
    failed: list[str] = []

    async def fail_once(target: EventId) -> Any:
        if not failed:
            failed.append(target)
            raise DatabaseUnavailable
        return await read_again(target)

    monkeypatch.setattr(events, "read_again", fail_once)
    redaction = bob.redact(room, event_id)

    assert failed
    assert alice.sync().ids(room) == [redaction]
    assert alice.event(room, event_id)["content"] == {}
    assert "oops" not in alice.sync(since=None).texts(room)
