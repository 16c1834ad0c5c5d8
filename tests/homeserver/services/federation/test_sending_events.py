"""What is sent to other servers, to whom, in which order, and what of it survives."""

from itertools import pairwise
from typing import Any

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.runtime.http_client import HttpAnswer
from homeserver.services.federation.lines import Line, Lines, LineSettings
from homeserver.services.federation.queue import DestinationQueue
from tests.support.destinations import Destination, join_from, leave_from, refusal
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer

DAY = 86_400


def settle(server: WholeServer, seconds: float = 2.0) -> None:
    server.time.advance(seconds)


def outgoing_rows(server: WholeServer) -> int:
    count: int = result(server.database.read(lambda txn: txn.value("SELECT COUNT(*) FROM outgoing_events")))
    return count


def test_a_message_reaches_every_server_in_the_room_once(
    server: WholeServer, alice: Person, room: str, far: Destination, near: Destination
) -> None:
    join_from(server, room, ["near"])
    event_id = alice.send(room, "hello")
    settle(server)
    assert far.texts == near.texts == ["hello"]
    body = far.taken[0].body
    assert body["origin"] == "test"
    assert body["edus"] == []
    assert body["prev_ids"] == []
    stored = alice.event(room, event_id)
    assert body["pdus"][0]["origin_server_ts"] == stored["origin_server_ts"]
    assert "test" in body["pdus"][0]["signatures"]
    assert "event_id" not in body["pdus"][0]
    assert server.services.traffic.sender.waiting() == 0


def test_a_transaction_names_the_one_before_it(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    for text in "abc":
        alice.send(room, text)
        settle(server)
    ids = [taken.txn_id for taken in far.taken]
    assert len(set(ids)) == 3
    assert [taken.body["prev_ids"] for taken in far.taken] == [[], [ids[0]], [ids[1]]]


def test_a_room_of_local_people_leaves_no_trace(
    server: WholeServer, alice: Person, bob: Person, far: Destination
) -> None:
    alice.send(alice.create_room(members=[bob]))
    settle(server)
    assert far.attempts == 0
    assert outgoing_rows(server) == 0


def test_at_most_fifty_events_travel_together_and_in_order(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send(room, "lost at first")
    settle(server)
    texts = [str(number) for number in range(120)]
    alice.send_many(room, texts)
    server.network.heal()
    settle(server, 60)
    assert far.texts == ["lost at first", *texts]
    assert [len(taken.body["pdus"]) for taken in far.taken] == [50, 50, 21]


def test_whoever_is_removed_hears_of_it_and_of_nothing_after(
    server: WholeServer, alice: Person, room: str, far: Destination, near: Destination
) -> None:
    join_from(server, room, ["near"])
    alice.send(room, "before")
    alice.kick(room, "@zoe:far")
    alice.send(room, "after")
    settle(server)
    assert far.texts == ["before"]
    assert far.pdus[-1]["content"]["membership"] == "leave"
    assert near.texts == ["before", "after"]


def test_a_server_that_was_away_gets_only_what_happened_while_it_was_in_the_room(
    server: WholeServer, alice: Person, room: str, far: Destination, near: Destination
) -> None:
    join_from(server, room, ["near"])
    server.network.down.add("far")
    alice.send(room, "for both")
    settle(server)
    leave_from(server, room, "far")
    alice.send(room, "for near")
    join_from(server, room, ["far"])
    alice.send(room, "for both again")
    server.network.heal()
    settle(server, 120)
    assert far.texts == ["for both", "for both again"]
    assert near.texts == ["for both", "for near", "for both again"]


def test_pauses_grow_to_a_day_and_vary(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(502)
    times: list[float] = []

    def note(body: dict[str, Any]) -> HttpAnswer:
        times.append(server.time.monotonic())
        return refusal(502)

    far.refuse = note
    alice.send(room)
    server.time.advance(6 * DAY)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for number, pause in enumerate(pauses):
        whole = min(DAY, 2 * 1.5**number)
        assert whole * 0.5 <= pause <= whole + 3, f"pause {number}"
    assert (
        len({round(pause / min(DAY, 2 * 1.5**number), 2) for number, pause in enumerate(pauses[9:], 9)}) > 3
    )
    assert pauses[-1] >= DAY / 2
    assert server.services.traffic.sender.waiting() == 0


def test_a_server_that_is_left_alone_is_asked_nothing_either(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send(room)
    server.time.advance(4 * 3600)
    server.network.heal()
    server.network.sent.clear()
    alice.ask("GET", "/profile/@frida:far", refused="M_NOT_FOUND")
    assert server.network.sent == []
    server.time.advance(DAY)
    alice.request("GET", "/profile/@frida:far")
    assert "/query/profile" in server.network.sent[-1][1].path


def test_a_server_that_speaks_to_us_is_tried_at_once(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send(room, "hello")
    server.time.advance(4 * 3600)
    server.network.heal()
    speak(server, far)
    settle(server)
    assert far.texts == ["hello"]


def test_a_server_that_speaks_once_right_after_a_failure_is_tried_soon(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send(room, "hello")
    server.time.advance(4 * 3600)
    server.time.advance(waiting_s(server, far))
    while waiting_s(server, far) <= 0:
        server.time.advance(0.1)
    assert waiting_s(server, far) > 3600, "it was tried a moment ago"
    server.network.heal()
    speak(server, far)
    server.time.advance(3)
    assert far.texts == ["hello"]


def test_speaking_to_us_does_not_make_us_hammer_a_server_that_cannot_be_reached(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(502)
    alice.send(room, "hello")
    server.time.advance(3600)
    attempts = far.attempts
    for _ in range(3600):
        speak(server, far)
        server.time.advance(1)
    assert far.attempts - attempts <= 60 + 10
    assert waiting_s(server, far) < 2 * 3600, "extra tries do not make the pauses longer"


def test_a_server_that_speaks_but_said_when_to_come_back_is_left_alone_until_then(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=90_000)
    alice.send(room, "hello")
    for _ in range(80):
        server.time.advance(1)
        speak(server, far)
    assert far.attempts == 1


def speak(server: WholeServer, far: Destination) -> None:
    server.services.traffic.destinations.note_alive(ServerName(far.name))


def waiting_s(server: WholeServer, far: Destination) -> float:
    """How long it is left alone from now on."""
    view = result(server.services.traffic.destinations.get(ServerName(far.name)))
    return (view.row.retry_at_ms - server.time.now_ms()) / 1000


def test_after_a_long_time_the_newest_event_of_each_room_comes_and_nothing_older(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    second = alice.create_room()
    join_from(server, second, ["far"])
    server.network.down.add("far")
    for number in range(5):
        alice.send(room, f"first {number}")
        alice.send(second, f"second {number}")
    server.time.advance(3 * DAY)
    server.network.heal()
    server.time.advance(2 * DAY)
    assert far.texts == ["second 4", "first 4"]
    alice.send(room, "new")
    settle(server)
    assert far.texts[2:] == ["new"]


def test_what_was_not_delivered_is_delivered_by_the_next_process(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send_many(room, ["a", "b"])
    settle(server, 5)
    server.restart()
    server.network.heal()
    server.time.advance(60)
    assert far.texts == ["a", "b"]


def test_a_process_killed_right_after_the_commit_loses_nothing(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    alice.send(room, "first")
    settle(server)
    alice.send(room, "committed, and nothing more")
    other = server.twin()  # the first process is never heard of again: its clock stands still for it
    other.services.traffic.sender.wake(far.name)  # type: ignore[arg-type]
    settle(server)
    assert set(far.texts) == {"first", "committed, and nothing more"}
    other.stop()


def test_a_process_killed_before_it_noted_what_arrived_repeats_the_same_transaction(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    alice.send(room, "hello")
    server.time.advance(0.1)
    assert far.texts == ["hello"]
    other = server.twin()
    settle(server)
    assert {taken.txn_id for taken in far.taken} == {far.taken[0].txn_id}
    other.stop()


@pytest.mark.parametrize("status", [400, 413])
def test_one_event_that_is_refused_does_not_hold_up_the_others(
    server: WholeServer, alice: Person, room: str, far: Destination, status: int
) -> None:
    server.network.down.add("far")
    alice.send_many(room, ["good", "bad", "also good"])
    settle(server)

    def refuse(body: dict[str, Any]) -> HttpAnswer | None:
        return refusal(status) if any(pdu["content"].get("body") == "bad" for pdu in body["pdus"]) else None

    far.refuse = refuse
    server.network.heal()
    server.time.advance(60)
    assert far.texts == ["good", "also good"]
    alice.send(room, "later")
    settle(server)
    assert far.texts[2:] == ["later"]


def test_a_server_that_refuses_everything_loses_nothing(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(400)
    alice.send_many(room, ["a", "b", "c"])
    server.time.advance(3600)
    assert far.attempts < 100
    far.refuse = lambda body: None
    server.time.advance(4 * 3600)
    assert far.texts == ["a", "b", "c"]


def test_a_server_may_say_when_to_come_back(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=90_000)
    alice.send(room, "hello")
    settle(server)
    far.refuse = lambda body: None
    server.time.advance(80)
    assert far.texts == []
    server.time.advance(20)
    assert far.texts == ["hello"]


def test_rows_of_events_that_everybody_has_go_away(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    alice.send_many(room, [str(number) for number in range(10)])
    settle(server)
    assert outgoing_rows(server) == 10
    server.time.advance(400)
    assert outgoing_rows(server) == 1
    server.network.down.add("far")
    alice.send_many(room, ["a", "b", "c"])
    server.time.advance(400)
    assert outgoing_rows(server) >= 3
    server.network.heal()
    server.time.advance(2000)
    assert far.texts[10:] == ["a", "b", "c"]


def test_a_new_process_knows_whom_to_leave_alone(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    far.refuse = lambda body: refusal(502)
    alice.send(room)
    while far.attempts < 7:
        server.time.advance(5)
    attempts = far.attempts
    server.restart()
    alice.send(room)
    settle(server, 5)
    assert far.attempts == attempts


def destinations(server: WholeServer) -> list[str]:
    read = "SELECT server FROM destinations ORDER BY server"
    names: list[str] = result(server.database.read(lambda txn: txn.column(read)))
    return names


def test_servers_that_we_only_asked_something_leave_no_trace(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    alice.send(room)
    settle(server)
    for number in range(20):
        alice.ask("GET", f"/profile/@x:gone{number}.example", refused="M_NOT_FOUND")
    troubles = server.services.traffic.destinations._troubles
    assert len(troubles) == 20
    server.time.advance(3600)
    assert destinations(server) == ["far"]
    assert len(troubles) == 0


def test_a_server_that_failed_a_question_is_sent_what_waits_for_it_when_its_pause_is_over(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.ask("GET", "/profile/@zoe:far", refused="M_NOT_FOUND")
    alice.send(room, "hello")
    settle(server, 0.5)
    assert far.attempts == 0
    server.network.heal()
    settle(server, 5)
    assert far.texts == ["hello"]


def test_who_speaks_to_us_does_not_wait_behind_servers_that_do_not_answer(
    server: WholeServer, alice: Person, room: str, far: Destination
) -> None:
    dead = ["dead0", "dead1"]
    join_from(server, room, dead)
    server.network.down.update(["far", *dead])
    alice.send(room, "hello")
    server.time.advance(3600)
    served: list[str] = []
    line = Line(0, lambda line, queue: served.append(queue.server))
    server.services.traffic.sender._lines.failed = line  # all places are taken
    for name in dead:  # it is their time
        server.services.traffic.destinations._troubles[ServerName(name)].retry_at_ms = 0
        server.services.traffic.sender.wake(ServerName(name))
        settle(server, 0)
    speak(server, far)
    settle(server, 0)
    for _ in range(3):
        line.done()
    assert served[0] == far.name
    assert set(served[1:]) == set(dead)


def test_servers_that_take_long_to_answer_stand_in_a_line_of_their_own(
    server: WholeServer, room: str, far: Destination
) -> None:
    served: list[str] = []
    lines = Lines(
        LineSettings(well=2, failed=1, slow=1), server.services.traffic.destinations, server.time,
        lambda line, queue: served.append(queue.server),
    )  # fmt: skip
    began = server.time.monotonic()
    server.time.advance(20)
    for number in range(5):
        lines.note_time(ServerName(f"slow{number}"), began)
        lines.put(DestinationQueue(ServerName(f"slow{number}")))
    lines.put(DestinationQueue(ServerName("well")))
    assert served == ["slow0", "well"]
    lines.slow.done()
    assert served == ["slow0", "well", "slow1"]
    lines.note_time(ServerName("slow0"), server.time.monotonic())
    lines.put(DestinationQueue(ServerName("slow0")))
    assert served[-1] == "slow0"
