"""Held syncs: woken by everything that concerns the user, and by nothing else.

https://spec.matrix.org/latest/client-server-api/#long-polling
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.people import HeldSync, Person, path
from tests.support.sync_answers import SyncAnswer
from tests.support.whole_server import QUIET, WholeServer


class Den:
    """Alice's room with bob in it; carol is elsewhere. Bob has synced."""

    def __init__(self, alice: Person, bob: Person, carol: Person) -> None:
        self.alice, self.bob, self.carol = alice, bob, carol
        self.room = alice.create_room(members=[bob])
        self.event_id = alice.send(self.room)
        self.other = carol.create_room()
        bob.sync()

    def hold(self, **query: Any) -> HeldSync:
        return self.bob.start_sync(**query)


@pytest.fixture
def den(alice: Person, bob: Person, carol: Person) -> Den:
    return Den(alice, bob, carol)


# What wakes


Act = Callable[[Den], object]
Check = Callable[[Den, SyncAnswer], object]

WAKING: dict[str, tuple[Act, Check]] = {
    "a message": (
        lambda den: den.alice.send(den.room, "new"), lambda den, got: got.texts(den.room) == ["new"]
    ),
    "one's own message": (
        lambda den: den.bob.send(den.room, "mine"), lambda den, got: got.texts(den.room) == ["mine"]
    ),
    "state": (
        lambda den: den.alice.set_state(den.room, "m.room.name", {"name": "Den"}),
        lambda den, got: ("m.room.name", "") in got.known_state(den.room),
    ),
    "a redaction": (
        lambda den: den.alice.redact(den.room, den.event_id),
        lambda den, got: got.timeline(den.room)[0]["type"] == "m.room.redaction",
    ),
    "a reaction": (
        lambda den: den.alice.react(den.room, den.event_id), lambda den, got: len(got.timeline(den.room)) == 1
    ),
    "an invite": (
        lambda den: den.carol.invite(den.other, den.bob), lambda den, got: set(got.invites) == {den.other}
    ),
    "being thrown out": (
        lambda den: den.alice.kick(den.room, den.bob), lambda den, got: set(got.left) == {den.room}
    ),
    "being banned": (
        lambda den: den.alice.ban(den.room, den.bob), lambda den, got: set(got.left) == {den.room}
    ),
    "leaving": (lambda den: den.bob.leave(den.room), lambda den, got: set(got.left) == {den.room}),
    "making a room": (lambda den: den.bob.create_room(), lambda den, got: len(got.joined) == 1),
    "somebody coming": (
        lambda den: den.alice.invite(den.room, den.carol),
        lambda den, got: got.summary(den.room)["m.invited_member_count"] == 1,
    ),
    "typing": (
        lambda den: den.alice.start_typing(den.room),
        lambda den, got: got.typing(den.room) == {den.alice.user_id},
    ),
    "a receipt": (
        lambda den: den.alice.read(den.room, den.event_id),
        lambda den, got: den.event_id in got.receipts(den.room),
    ),
    "one's own receipt": (
        lambda den: den.bob.read(den.room, den.event_id), lambda den, got: got.unread(den.room) == (0, 0)
    ),
    "one's own private receipt": (
        lambda den: den.bob.read(den.room, den.event_id, receipt="m.read.private"),
        lambda den, got: got.unread(den.room) == (0, 0),
    ),
    "a read marker": (
        lambda den: den.bob.ask(
            "POST", path("rooms", den.room, "read_markers"), {"m.fully_read": den.event_id}
        ),
        lambda den, got: got.room_account_data(den.room)["m.fully_read"] == {"event_id": den.event_id},
    ),
    "account data": (
        lambda den: den.bob.put_account_data("org.example", {"a": 1}),
        lambda den, got: got.account_data == {"org.example": {"a": 1}},
    ),
    "account data of a room": (
        lambda den: den.bob.put_account_data("org.example", {"a": 1}, room=den.room),
        lambda den, got: got.room_account_data(den.room) == {"org.example": {"a": 1}},
    ),
    "a tag": (
        lambda den: den.bob.ask("PUT", path("user", den.bob.user_id, "rooms", den.room, "tags", "u.x"), {}),
        lambda den, got: got.room_account_data(den.room) == {"m.tag": {"tags": {"u.x": {}}}},
    ),
    "a push rule": (
        lambda den: den.bob.ask("PUT", "/pushrules/global/room/" + den.room, {"actions": []}),
        lambda den, got: "m.push_rules" in got.account_data,
    ),
    "a new name of somebody": (
        lambda den: den.alice.ask(
            "PUT", path("profile", den.alice.user_id, "displayname"), {"displayname": "Al"}
        ),
        lambda den, got: got.timeline(den.room)[0]["content"]["displayname"] == "Al",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAKING)
def test_a_held_sync_is_woken_by(den: Den, name: str) -> None:
    act, is_told = WAKING[name]
    held = den.hold()
    assert not held.is_done
    act(den)
    answer = held.answer
    assert is_told(den, answer), answer.json
    assert not den.hold().is_done


# What does not


QUIET_FOR_BOB: dict[str, Act] = {
    "a message elsewhere": lambda den: den.carol.send(den.other),
    "state elsewhere": lambda den: den.carol.set_state(den.other, "m.room.name", {"name": "x"}),
    "an invite of somebody else elsewhere": lambda den: den.carol.invite(den.other, den.alice),
    "typing elsewhere": lambda den: den.carol.start_typing(den.other),
    "somebody's account data": lambda den: den.alice.put_account_data("org.example", {"a": 1}),
    "somebody's account data of the room": lambda den: den.alice.put_account_data(
        "org.example", {"a": 1}, room=den.room
    ),
    "somebody's private receipt": lambda den: den.alice.read(
        den.room, den.event_id, receipt="m.read.private"
    ),
    "a room made by somebody": lambda den: den.alice.create_room(),
    "a refused message": lambda den: den.carol.send(den.room, refused="M_FORBIDDEN"),
    "somebody's sync": lambda den: den.alice.sync(),
    "a repeated message": lambda den: [den.carol.send(den.other, txn_id="txn") for _ in range(2)],
}


@pytest.mark.parametrize("name", QUIET_FOR_BOB)
def test_a_held_sync_is_not_woken_by(den: Den, name: str, time: FakeClock) -> None:
    held = den.hold(timeout_ms=10_000)
    QUIET_FOR_BOB[name](den)
    assert not held.is_done
    time.advance(9)
    assert not held.is_done
    den.alice.send(den.room, "at last")
    assert held.answer.texts(den.room) == ["at last"]


def test_what_the_filter_leaves_out_does_not_end_a_sync(den: Den, time: FakeClock) -> None:
    wanted = {"room": {"timeline": {"types": ["org.example"]}, "ephemeral": {"types": []}}}
    held = den.hold(filter=wanted, timeout_ms=10_000)
    den.alice.send(den.room)
    den.alice.start_typing(den.room)
    assert not held.is_done
    den.alice.send(den.room, {"body": "wanted"}, type_="org.example")
    assert held.answer.texts(den.room) == ["wanted"]


def test_ignored_people_do_not_end_a_sync(den: Den) -> None:
    den.bob.ignore(den.alice)
    den.bob.sync()
    held = den.hold()
    den.alice.send(den.room)
    den.alice.create_room(invite=[den.bob.user_id])
    assert not held.is_done


# Time


@pytest.mark.parametrize("timeout_ms", [1, 1_000, 30_000])
def test_a_sync_ends_after_its_timeout(den: Den, time: FakeClock, timeout_ms: int) -> None:
    held = den.hold(timeout_ms=timeout_ms)
    time.advance(timeout_ms / 1000 - 0.0005)
    assert not held.is_done
    time.advance(0.001)
    assert held.answer.is_empty


def test_a_sync_without_timeout_ends_at_once(den: Den) -> None:
    assert den.hold(timeout_ms=0).answer.is_empty


def test_the_wait_goes_on_after_news_that_were_not_wanted(den: Den, time: FakeClock) -> None:
    wanted = {"room": {"timeline": {"types": ["org.example"]}}}
    held = den.hold(filter=wanted, timeout_ms=10_000)
    for _ in range(9):
        time.advance(1)
        den.alice.send(den.room)
        assert not held.is_done
    time.advance(1.1)
    assert held.answer.is_empty


def test_typing_that_ends_is_told(den: Den, time: FakeClock) -> None:
    den.alice.start_typing(den.room, timeout_ms=5_000)
    assert den.bob.sync().typing(den.room) == {den.alice.user_id}
    held = den.hold()
    time.advance(4.9)
    assert not held.is_done
    time.advance(0.2)
    assert held.answer.ephemeral(den.room, "m.typing") == {"user_ids": []}


def test_typing_ends_with_the_message(den: Den) -> None:
    den.alice.start_typing(den.room)
    den.bob.sync()
    den.alice.send(den.room)
    assert den.bob.sync().ephemeral(den.room, "m.typing") == {"user_ids": []}


# Many at once


def test_everybody_in_a_room_is_woken(server: WholeServer, alice: Person) -> None:
    others = [server.register(f"user{number}") for number in range(20)]
    room = alice.create_room(members=others)
    for other in others:
        other.sync()
    held = [other.start_sync() for other in others]
    event_id = alice.send(room)
    assert all(sync.answer.ids(room) == [event_id] for sync in held)


def test_all_devices_of_a_user_are_woken(server: WholeServer, den: Den) -> None:
    phone = server.log_in("bob")
    phone.sync()
    held = [den.hold(), phone.start_sync(), den.hold()]
    event_id = den.alice.send(den.room)
    assert [sync.answer.ids(den.room) for sync in held] == [[event_id]] * 3


def test_what_comes_in_one_moment_is_one_answer(server: WholeServer, den: Den) -> None:
    held = den.hold()
    texts = list("abcde")
    den.alice.send_many(den.room, texts)
    assert held.answer.texts(den.room) == texts


def test_a_sync_waits_for_writes_under_way(server: WholeServer, den: Den) -> None:
    held = den.hold()
    server.database.hold_writes()
    sends = [
        person.start_request(
            "PUT", path("rooms", den.room, "send", "m.room.message", f"t{number}"), {"body": str(number)}
        )
        for number, person in enumerate((den.alice, den.bob, den.alice))
    ]
    assert not held.is_done
    assert den.bob.sync().is_empty
    server.database.release(1)
    assert sends[0].is_done
    assert held.answer.texts(den.room) == ["0"]
    server.database.release()
    assert den.bob.sync().texts(den.room) == ["1", "2"]


def test_nothing_is_stepped_over_while_an_earlier_write_is_under_way(server: WholeServer, den: Den) -> None:
    """A position drawn early and committed late must not hide behind a later one."""
    server.database.hold_writes()
    slow = den.alice.start_request(
        "PUT", path("rooms", den.room, "send", "m.room.message", "slow"), {"body": "slow"}
    )
    den.alice.start_typing(den.room)  # in memory only: complete at once
    assert den.bob.sync().texts(den.room) == []
    server.database.release()
    assert slow.is_done
    synced = den.bob.sync()
    assert synced.texts(den.room) == ["slow"]


def test_a_failed_write_lets_later_ones_be_seen(server: WholeServer, den: Den) -> None:
    server.database.fail_next_write(OSError("disk"))
    answer = den.alice.request(
        "PUT", path("rooms", den.room, "send", "m.room.message", "lost"), {"body": "lost"}
    )
    assert answer.status == 500
    den.alice.send(den.room, "kept")
    assert den.bob.sync().texts(den.room) == ["kept"]


def test_a_client_that_goes_away_leaves_nothing_behind(den: Den, time: FakeClock) -> None:
    before = time.timers
    held = den.hold()
    assert time.timers > before
    held.pending.disconnect()
    assert time.timers == before


def test_a_stopping_server_answers_held_syncs(server: WholeServer, den: Den) -> None:
    held = den.hold()
    server.restart()
    assert held.answer.is_empty
    den.alice.send(den.room, "after")
    assert den.bob.sync().texts(den.room) == ["after"]


def test_a_sync_held_across_a_restart_of_the_client_goes_on(den: Den) -> None:
    token = den.bob.next_batch
    first = den.hold()
    den.alice.send(den.room, "a")
    assert first.answer.texts(den.room) == ["a"]
    assert den.bob.sync(since=token).texts(den.room) == ["a"]


# Presence


def test_presence_wakes_those_who_share_a_room(databases: Any, time: FakeClock, tmp_path: Any) -> None:
    settings = QUIET.replace("presence: {enabled: false}", "presence: {enabled: true}")
    server = WholeServer(databases.fresh("sqlite"), time, settings=settings, folder=tmp_path)
    alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
    alice.create_room(members=[bob])
    for person in (alice, bob, carol):
        person.sync(set_presence="offline")
    time.advance(120)
    bob.sync(set_presence="offline")
    carol.sync(set_presence="offline")
    held = bob.start_sync(set_presence="offline")
    far = carol.start_sync(set_presence="offline")
    alice.ask("PUT", path("presence", alice.user_id, "status"), {"presence": "online", "status_msg": "here"})
    (event,) = held.answer.json["presence"]["events"]
    assert (event["sender"], event["content"]["status_msg"]) == (alice.user_id, "here")
    assert not far.is_done
    server.stop()
