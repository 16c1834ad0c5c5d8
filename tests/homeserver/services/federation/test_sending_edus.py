"""Typing, receipts and lasting EDUs on their way to other servers."""

from collections.abc import Sequence
from typing import Any

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Transaction
from homeserver.services.federation.kept_edus import KEPT
from tests.support.destinations import Destination, join_from, leave_from, refusal
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer


def append(
    server: WholeServer, servers: Sequence[str], key: str, content: dict[str, Any], type_: str
) -> None:
    def work(txn: Transaction) -> None:
        names = [ServerName(name) for name in servers]
        server.services.traffic.sender.append_edu(txn, names, type_, key=key, content=content)

    result(server.database.write(work))


def readers(edu: dict[str, Any], room: str) -> dict[str, Any]:
    found: dict[str, Any] = edu[room]["m.read"]
    return found


def test_typing_is_told_and_taken_back(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    alice.start_typing(room)
    server.time.advance(1)
    alice.stop_typing(room)
    server.time.advance(1)
    typing = {"room_id": room, "user_id": "@alice:test"}
    assert far.edus("m.typing") == [{**typing, "typing": True}, {**typing, "typing": False}]
    assert far.pdus == []


def test_typing_on_is_repeated_but_seldom(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    for _ in range(20):
        alice.start_typing(room)
        server.time.advance(4)
    assert [edu["typing"] for edu in far.edus("m.typing")] == [True, True, True]


def test_typing_to_a_server_that_is_away_is_not_told_later(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send(room, "hello")
    server.time.advance(1)
    alice.start_typing(room)
    server.time.advance(1)
    server.network.heal()
    server.time.advance(60)
    assert far.texts == ["hello"]
    assert {"room_id": room, "user_id": "@alice:test", "typing": True} not in far.edus("m.typing")


def test_typing_of_other_servers_users_is_not_passed_on(
    server: WholeServer, alice: Person, room: str, far: Destination, near: Destination
) -> None:
    join_from(server, room, ["near"])
    typing = server.services.typing_notifications
    result(typing.start(room, "@zoe:near"))  # type: ignore[arg-type]
    server.time.advance(2)
    assert far.attempts == near.attempts == 0


def test_typing_in_a_local_room_goes_nowhere(
    server: WholeServer, alice: Person, bob: Person, far: Destination
) -> None:
    alice.start_typing(alice.create_room(members=[bob]))
    server.time.advance(5)
    assert far.attempts == 0


def test_a_public_receipt_is_told_with_time_and_thread(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    event_id = alice.send(room, "hello")
    server.time.advance(2)
    read_at = server.time.now_ms()
    alice.read(room, event_id, thread_id="main")
    server.time.advance(2)
    (edu,) = far.edus("m.receipt")
    assert readers(edu, room) == {
        "@alice:test": {"data": {"ts": read_at, "thread_id": "main"}, "event_ids": [event_id]}
    }


def test_a_private_receipt_stays_here(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    event_id = alice.send(room, "hello")
    alice.read(room, event_id, receipt="m.read.private")
    alice.read(room, event_id, receipt="m.fully_read")
    server.time.advance(5)
    assert far.edus("m.receipt") == []


def test_receipts_of_a_moment_travel_together(
    server: WholeServer, alice: Person, bob: Person, room: str, far: Destination
) -> None:
    bob.join(room)
    first, second = alice.send_many(room, ["a", "b"])
    server.time.advance(2)
    alice.read(room, first)
    alice.read(room, second)
    bob.read(room, first)
    server.time.advance(2)
    (edu,) = far.edus("m.receipt")
    assert {user: one["event_ids"] for user, one in readers(edu, room).items()} == {
        "@alice:test": [second],
        "@bob:test": [first],
    }


def test_receipts_in_two_threads_need_two_edus(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    event_id = alice.send(room)
    server.time.advance(2)
    alice.read(room, event_id)
    alice.read(room, event_id, thread_id="main")
    server.time.advance(2)
    edus = far.edus("m.receipt")
    assert sorted(readers(edu, room)["@alice:test"]["data"].get("thread_id", "") for edu in edus) == [
        "",
        "main",
    ]


def test_a_server_that_was_away_gets_the_newest_receipt_only(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    events = alice.send_many(room, ["a", "b", "c"])
    server.time.advance(2)
    server.network.down.add("far")
    for event_id in events:
        alice.read(room, event_id)
        server.time.advance(2)
    server.time.advance(3600)
    server.restart()
    server.network.heal()
    server.time.advance(2 * 3600)
    (edu,) = far.edus("m.receipt")
    assert readers(edu, room)["@alice:test"]["event_ids"] == [events[-1]]


def test_a_receipt_survives_a_kill(server: WholeServer, alice: Person, room: str, far: Destination) -> None:
    event_id = alice.send(room)
    server.time.advance(2)
    alice.read(room, event_id)
    other = server.twin()
    server.services.traffic.edus.stop()  # the first process is dead before it told anybody
    server.time.advance(5)
    assert [readers(edu, room)["@alice:test"]["event_ids"] for edu in far.edus("m.receipt")] == [[event_id]]
    other.stop()


def test_receipts_are_not_told_to_a_server_that_has_left(
    server: WholeServer, alice: Person, room: str, far: Destination, near: Destination
) -> None:
    join_from(server, room, ["near"])
    second = alice.create_room()
    join_from(server, second, ["far"])
    event_id = alice.send(room)
    server.time.advance(2)
    server.network.down.add("far")
    alice.read(room, event_id)
    server.time.advance(5)
    leave_from(server, room, "far")
    server.network.heal()
    alice.send(second, "wakes it")
    server.time.advance(3600)
    assert far.edus("m.receipt") == []
    assert len(near.edus("m.receipt")) == 1


def test_a_lasting_edu_arrives_after_a_restart_and_once(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    append(server, ["far"], "m1", {"message_id": "m1"}, "m.direct_to_device")
    server.time.advance(5)
    server.restart()
    server.network.heal()
    server.time.advance(120)
    assert far.edus("m.direct_to_device") == [{"message_id": "m1"}]
    server.restart()
    server.time.advance(120)
    assert len(far.edus("m.direct_to_device")) == 1


def test_a_later_edu_with_the_same_key_takes_the_place_of_the_earlier(
    server: WholeServer, alice: Person, room: str, far: Destination, near: Destination
) -> None:
    join_from(server, room, ["near"])
    server.network.down.add("far")
    for number in (1, 2, 3):
        append(server, ["far", "near"], "alice", {"stream_id": number}, "m.device_list_update")
        server.time.advance(1)
    server.network.heal()
    server.time.advance(120)
    assert far.edus("m.device_list_update") == [{"stream_id": 3}]
    assert [edu["stream_id"] for edu in near.edus("m.device_list_update")] == [1, 2, 3]
    server.time.advance(400)
    assert result(server.database.read(lambda txn: txn.value("SELECT COUNT(*) FROM edu_contents"))) == 0


def test_messages_to_devices_come_before_other_edus_and_at_most_a_hundred_together(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    for number in range(80):
        append(server, ["far"], f"user {number}", {"number": number}, "m.device_list_update")
    for number in range(80):
        append(server, ["far"], f"message {number}", {"number": number}, "m.direct_to_device")
    server.time.advance(5)
    server.network.heal()
    server.time.advance(120)
    first, second = [[edu["edu_type"] for edu in taken.body["edus"]] for taken in far.taken]
    assert first == ["m.direct_to_device"] * 80 + ["m.device_list_update"] * 20
    assert second == ["m.device_list_update"] * 60


@pytest.mark.parametrize("type_", sorted(KEPT))
def test_edus_wait_only_so_long_for_a_server_that_does_not_come(
    server: WholeServer, alice: Person, room: str, far: Destination,
    type_: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(KEPT, type_, KEPT[type_]._replace(for_ms=7_200_000))
    server.network.down.add("far")
    append(server, ["far"], "old", {"is": "old"}, type_)
    server.time.advance(3_600)
    append(server, ["far"], "new", {"is": "new"}, type_)
    server.time.advance(5_400)
    server.network.heal()
    result(server.services.traffic.destinations.reset(ServerName("far")))  # pauses are drawn by lot
    server.time.advance(60)
    assert far.edus(type_) == [{"is": "new"}]


@pytest.mark.parametrize("type_", sorted(KEPT))
def test_of_too_many_edus_that_wait_the_newest_arrive(
    server: WholeServer, alice: Person, room: str, far: Destination,
    type_: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setitem(KEPT, type_, KEPT[type_]._replace(most=5))
    server.network.down.add("far")
    for number in range(12):
        append(server, ["far"], str(number), {"n": number}, type_)
    server.time.advance(600)
    assert "7 EDUs are dropped" in caplog.text
    assert result(server.database.read(lambda txn: txn.value("SELECT COUNT(*) FROM edu_contents"))) == 5
    server.network.heal()
    server.time.advance(86_400)
    assert [edu["n"] for edu in far.edus(type_)] == [7, 8, 9, 10, 11]


def test_an_edu_that_is_refused_is_given_up_and_the_rest_arrives(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(400) if any(edu["content"].get("bad") for edu in body["edus"]) else None
    server.network.down.add("far")
    alice.send(room, "hello")
    append(server, ["far"], "good", {"good": True}, "m.direct_to_device")
    append(server, ["far"], "bad", {"bad": True}, "m.direct_to_device")
    server.time.advance(5)
    server.network.heal()
    server.time.advance(120)
    assert far.texts == ["hello"]
    assert far.edus("m.direct_to_device") == [{"good": True}]
