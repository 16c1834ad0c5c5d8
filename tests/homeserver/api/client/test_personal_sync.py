"""What a sync tells of receipts, typing, presence, unread counts and account data, on a whole server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.people import Person, path
from tests.support.whole_server import QUIET, WholeServer

PUSHER = {
    "app_id": "org.example.app",
    "pushkey": "key",
    "kind": "http",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "lang": "en",
    "data": {"url": "https://push.example.org/_matrix/push/v1/notify"},
}


@pytest.fixture
def lively(databases: Databases, time: FakeClock, tmp_path: Path) -> Iterator[WholeServer]:
    """A server with presence."""
    settings = QUIET.replace("presence: {enabled: false}", "")
    server = WholeServer(databases.fresh("sqlite"), time, settings=settings, folder=tmp_path)
    yield server
    server.stop()


def mention(whom: Person) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [whom.user_id]}}


def test_unread_counts_rise_and_fall(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    bob.sync()
    alice.send(room)
    last = alice.send(room, mention(bob))
    assert bob.sync().unread(room) == (2, 1)
    bob.read(room, last)
    assert bob.sync().unread(room) == (0, 0)


def test_sending_reads_what_came_before(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    alice.send(room)
    assert bob.sync().unread(room) == (1, 0)
    bob.send(room)
    assert bob.sync().unread(room) == (0, 0)


def test_counts_survive_a_restart(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    alice.send(room)
    alice.send(room, mention(bob))
    server.restart()
    assert bob.sync(since=None).unread(room) == (2, 1)
    alice.send(room)
    assert bob.sync().unread(room) == (3, 1)


def test_a_client_may_count_threads_apart(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    root = alice.send(room)
    alice.reply_in_thread(room, root, "aside")
    filter_ = {"room": {"timeline": {"unread_thread_notifications": True}}}
    answer = bob.sync(filter=filter_)
    assert answer.unread(room) == (1, 0)
    threads = answer.room(room)["unread_thread_notifications"]
    assert threads == {root: {"notification_count": 1, "highlight_count": 0}}
    bob.read(room, root, thread_id="main")
    answer = bob.sync(filter=filter_)
    assert answer.unread(room) == (0, 0)
    assert root in answer.room(room)["unread_thread_notifications"]


def test_a_redaction_or_reaction_does_not_count(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    event = alice.send(room)
    bob.read(room, event)
    alice.react(room, event)
    alice.edit(room, event, "better")
    assert bob.sync(since=None).unread(room) == (0, 0)


def test_public_receipts_go_to_everybody_private_ones_to_their_owner(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    event = alice.send(room)
    alice.sync()
    bob.sync()
    bob.read(room, event, receipt="m.read.private")
    assert alice.sync().is_empty
    assert set(bob.sync().receipts(room)[event]) == {"m.read.private"}
    bob.read(room, event)
    assert set(alice.sync().receipts(room)[event]) == {"m.read"}


def test_a_first_sync_has_the_receipts_of_the_room(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    event = alice.send(room)
    bob.read(room, event)
    server.restart()
    assert bob.user_id in alice.sync(since=None).receipts(room)[event]["m.read"]


def test_the_read_marker_comes_as_account_data(alice: Person) -> None:
    room = alice.create_room()
    event = alice.send(room)
    alice.sync()
    alice.ask("POST", path("rooms", room, "read_markers"), {"m.fully_read": event})
    assert alice.sync().room_account_data(room) == {"m.fully_read": {"event_id": event}}


def test_typing_wakes_the_room_and_ends_by_itself(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    alice.sync()
    held = alice.start_sync()
    bob.start_typing(room, timeout_ms=5_000)
    assert held.answer.typing(room) == {bob.user_id}
    held = alice.start_sync()
    server.time.advance(5.1)
    assert held.answer.ephemeral(room, "m.typing") == {"user_ids": []}


def test_account_data_and_tags_come_to_all_devices(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    other = server.log_in("alice")
    alice.sync()
    other.sync()
    held = other.start_sync()
    alice.put_account_data("org.example", {"a": 1})
    assert held.answer.account_data == {"org.example": {"a": 1}}
    alice.ask("PUT", path("user", alice.user_id, "rooms", room, "tags", "u.work"), {"order": 0.5})
    assert other.sync().room_account_data(room) == {"m.tag": {"tags": {"u.work": {"order": 0.5}}}}


def test_changed_push_rules_are_told_and_heeded(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    assert "m.push_rules" in bob.sync().account_data
    bob.ask("PUT", path("pushrules", "global", "room", room), {"actions": []})
    rules = bob.sync().account_data["m.push_rules"]["global"]["room"]
    assert [rule["rule_id"] for rule in rules] == [room]
    alice.send(room)
    assert bob.sync().unread(room) == (0, 0)
    alice.send(room, mention(bob))
    assert bob.sync().unread(room) == (1, 1)


def test_nothing_of_the_ignored_counts(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    bob.ignore(alice)
    bob.sync()
    alice.send(room, mention(bob))
    assert bob.sync(since=None).unread(room) == (0, 0)


def test_notifications_hold_events_as_clients_know_them(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    alice.send(room, mention(bob))
    newest = bob.ask("GET", "/notifications")["notifications"][0]
    assert newest["event"]["content"]["body"] == "you"
    assert newest["event"]["room_id"] == room
    assert (newest["read"], len(newest["actions"])) == (False, 2)


def test_coming_and_going_is_told_to_those_who_share_a_room(lively: WholeServer) -> None:
    alice, bob, carol = (lively.register(name) for name in ("alice", "bob", "carol"))
    alice.create_room([bob])
    carol.sync()
    alice.sync()
    lively.time.advance(1)
    alice.sync()
    held, strangers = alice.start_sync(), carol.start_sync()
    bob.ask("PUT", path("presence", bob.user_id, "status"), {"presence": "online", "status_msg": "hi"})
    lively.time.advance(0.6)
    (event,) = held.answer.json["presence"]["events"]
    assert (event["type"], event["sender"]) == ("m.presence", bob.user_id)
    assert event["content"]["status_msg"] == "hi"
    assert not strangers.is_done
    held = alice.start_sync(timeout_ms=200_000)
    lively.time.advance(40)
    (event,) = held.answer.json["presence"]["events"]
    assert (event["sender"], event["content"]["presence"]) == (bob.user_id, "offline")


def test_a_first_sync_shows_who_is_there(lively: WholeServer) -> None:
    alice, bob = lively.register("alice"), lively.register("bob")
    alice.create_room([bob])
    bob.start_sync()
    lively.time.advance(1)
    seen = {event["sender"] for event in alice.sync().json["presence"]["events"]}
    assert bob.user_id in seen


def test_a_device_that_logs_out_takes_its_pushers_along(server: WholeServer, alice: Person) -> None:
    phone = server.log_in("alice")
    phone.ask("POST", "/pushers/set", PUSHER)
    assert len(alice.ask("GET", "/pushers")["pushers"]) == 1
    phone.ask("POST", "/logout")
    assert alice.ask("GET", "/pushers")["pushers"] == []


def test_a_closed_account_leaves_nothing_of_its_own(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    bob.ignore(alice)
    bob.ask("PUT", path("pushrules", "global", "room", room), {"actions": []})
    services = server.services
    proof = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": bob.user_id},
        "password": "correct horse battery",
    }
    bob.ask("POST", "/account/deactivate", {"auth": proof, "erase": True})
    assert services.account_data.ignored_by(alice.user_id) == set()  # type: ignore[arg-type]
    assert services.push_rules.rules_of(bob.user_id).is_untouched  # type: ignore[arg-type]


def test_who_is_put_out_of_the_room_types_no_more(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    bob.start_typing(room)
    assert alice.sync().typing(room) == {bob.user_id}
    alice.kick(room, bob)
    assert alice.sync().ephemeral(room, "m.typing") == {"user_ids": []}
