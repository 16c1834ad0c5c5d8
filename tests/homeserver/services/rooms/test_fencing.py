"""Many writers of one room: nothing lost, nothing doubled, nobody writes on an old view of the room.

The database's writes are held back, so that what is under way can be looked at.
"""

from itertools import pairwise
from typing import Any

import pytest

from homeserver.protocol.ids import RoomId, UserId
from homeserver.services.rooms.writer import Proposal, StaleRoom
from tests.support.http import Pending
from tests.support.people import Person, path
from tests.support.running import Running, result
from tests.support.whole_server import WholeServer


def put(person: Person, room: str, text: str, *, txn_id: str | None = None) -> Pending:
    target = path("rooms", room, "send", "m.room.message", txn_id or text)
    return person.start_request("PUT", target, {"msgtype": "m.text", "body": text})


def event_of(sent: Pending) -> str:
    return str(sent.answer.json["event_id"])


def texts(person: Person, room: str) -> list[str]:
    return person.messages(room, dir="f", limit=1000).texts


def message(sender: Person, text: str) -> Proposal:
    return Proposal("m.room.message", UserId(sender.user_id), {"msgtype": "m.text", "body": text})


@pytest.fixture
def two_servers(server: WholeServer) -> tuple[WholeServer, WholeServer]:
    """Two processes on one database, which must not be, and still must not hurt."""
    return server, server.twin()


# One process


def test_events_written_together_form_a_line(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    server.database.hold_writes()
    sends = [
        put(person, room, f"{person.user_id[1]}{number}") for number in range(10) for person in (alice, bob)
    ]
    assert server.database.held == 20
    server.database.release()
    ids = [event_of(sent) for sent in sends]
    page = alice.messages(room, dir="f", limit=100)
    assert page.ids[-20:] == ids
    loaded = result(server.services.rooms.rooms.load(RoomId(room)))
    assert loaded.heads == (ids[-1],)
    signed = result(server.services.rooms.events.signed(ids))
    for before, after in pairwise(ids):
        assert signed[after].prev_event_ids == (before,)
        assert signed[after].depth == signed[before].depth + 1


@pytest.mark.parametrize("failing", [0, 3, 9])
def test_a_failed_write_takes_only_its_own_event(
    server: WholeServer, alice: Person, bob: Person, failing: int
) -> None:
    room = alice.create_room(members=[bob])
    server.database.hold_writes()
    sends = [put(alice, room, str(number)) for number in range(10)]
    server.database.release(failing)
    server.database.fail_next_write(OSError("disk"))
    server.database.release()
    expected = [str(number) for number in range(10) if number != failing]
    assert [sent.answer.status for sent in sends].count(500) == 1
    assert sends[failing].answer.status == 500
    assert sorted(texts(alice, room)) == expected
    assert sorted(bob.sync(since=None, filter={"room": {"timeline": {"limit": 50}}}).texts(room)) == expected
    server.restart()
    assert sorted(texts(alice, room)) == expected


def test_state_of_a_failed_write_does_not_stand(server: WholeServer, alice: Person) -> None:
    room = alice.create_room(name="Den")
    server.database.fail_next_write(OSError("disk"))
    answer = alice.request("PUT", path("rooms", room, "state", "m.room.name", ""), {"name": "lost"})
    assert answer.status == 500
    assert alice.state_of(room, "m.room.name") == {"name": "Den"}
    alice.send(room, "after")
    assert alice.sync().known_state(room)["m.room.name", ""]["content"] == {"name": "Den"}


def test_what_was_built_on_a_failed_write_is_judged_anew(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    """Bob's message passed because he had just joined; the join was lost, so the message must be too."""
    room = alice.create_room(preset="public_chat")
    server.database.hold_writes()
    join = bob.start_request("POST", path("join", room))
    sent = put(bob, room, "hello")
    server.database.fail_next_write(OSError("disk"))
    server.database.release()
    assert join.answer.status == 500
    assert sent.answer.errcode == "M_FORBIDDEN"
    assert set(alice.members(room)) == {alice.user_id}
    assert texts(alice, room) == []


def test_state_not_yet_stored_is_not_told(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="Den")
    bob.sync()
    server.database.hold_writes()
    change = alice.start_request("PUT", path("rooms", room, "state", "m.room.name", ""), {"name": "new"})
    assert bob.state_of(room, "m.room.name") == {"name": "Den"}
    assert bob.state(room)["m.room.name", ""]["content"] == {"name": "Den"}
    assert bob.sync(full_state=True).state(room)["m.room.name", ""]["content"] == {"name": "Den"}
    server.database.release()
    assert change.is_done
    assert bob.state_of(room, "m.room.name") == {"name": "new"}
    assert bob.sync().known_state(room)["m.room.name", ""]["content"] == {"name": "new"}


def test_a_member_put_out_sends_nothing_more(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    server.database.hold_writes()
    kick = alice.start_request("POST", path("rooms", room, "kick"), {"user_id": bob.user_id})
    sent = put(bob, room, "too late")
    server.database.release()
    assert kick.answer.status == 200
    assert sent.answer.errcode == "M_FORBIDDEN"
    assert texts(alice, room) == []


def test_levels_count_as_soon_as_they_are_set(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.send(room, "before")
    levels = {**alice.state_of(room, "m.room.power_levels"), "events_default": 50}
    server.database.hold_writes()
    change = alice.start_request("PUT", path("rooms", room, "state", "m.room.power_levels", ""), levels)
    sent = put(bob, room, "too late")
    server.database.release()
    assert change.answer.status == 200
    assert sent.answer.errcode == "M_FORBIDDEN"
    assert texts(alice, room) == ["before"]


def test_many_rooms_at_once(server: WholeServer, alice: Person) -> None:
    server.database.hold_writes()
    pending = [alice.start_request("POST", "/createRoom", {"name": str(number)}) for number in range(10)]
    server.database.fail_next_write(OSError("disk"))
    server.database.release()
    made = [one.answer.json["room_id"] for one in pending if one.answer.status == 200]
    assert len(set(made)) == 9
    assert alice.joined_rooms() == set(made)
    assert set(alice.sync().joined) == set(made)


# Two processes


def test_a_second_writer_is_fenced_off_and_tries_again(two_servers: tuple[WholeServer, WholeServer]) -> None:
    one, two = two_servers
    alice = one.register("alice")
    alice_there = Person(two, alice.user_id, alice.device_id, alice.token)
    room = alice.create_room()
    alice_there.send(room, "there")
    for number in range(5):  # each finds the room where it did not leave it
        alice.send(room, f"here {number}")
        alice_there.send(room, f"there {number}")
    expected = ["there", *(f"{where} {number}" for number in range(5) for where in ("here", "there"))]
    one.restart()
    assert texts(alice, room) == expected


def test_a_writer_that_never_catches_up_says_so(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    rooms = server.services.rooms

    def lose_every_race(*_: Any, **__: Any) -> bool:
        return False

    rooms.writer.rows._stores.rooms.advance = lose_every_race  # type: ignore[method-assign]
    with pytest.raises(StaleRoom):
        result(rooms.writer.append(RoomId(room), [message(alice, "hello")]))
    answer = put(alice, room, "again").answer
    assert (answer.status, answer.errcode) == (503, "M_UNKNOWN")
    del rooms.writer.rows._stores.rooms.advance  # type: ignore[method-assign]
    alice.send(room, "at last")
    assert texts(alice, room) == ["at last"]


# Several events at once


def test_a_batch_happens_whole_or_not_at_all(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    writer = server.services.rooms.writer
    events = result(writer.append(RoomId(room), [message(alice, "a"), message(bob, "b")]))
    assert [event.content["body"] for event in events] == ["a", "b"]
    stranger = Proposal("m.room.message", UserId("@carol:test"), {"body": "c"})
    with pytest.raises(Exception, match="carol"):
        result(writer.append(RoomId(room), [message(alice, "x"), stranger]))
    assert texts(alice, room) == ["a", "b"]
    alice.send(room, "c")
    assert bob.sync(since=None).texts(room) == ["a", "b", "c"]


def test_a_refused_batch_does_not_hide_what_was_under_way(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    room = alice.create_room(members=[bob])
    bob.sync()
    server.database.hold_writes()
    sent = put(alice, room, "under way")
    stranger = Proposal("m.room.message", UserId("@carol:test"), {"body": "c"})
    refused = Running(server.services.rooms.writer.append(RoomId(room), [message(bob, "x"), stranger]))
    assert refused.is_done
    assert bob.state(room)  # somebody looks at the room meanwhile
    server.database.release()
    assert sent.answer.status == 200
    assert bob.sync().texts(room) == ["under way"]
    assert texts(alice, room) == ["under way"]
    alice.send(room, "after")
    assert bob.sync().texts(room) == ["after"]


def test_a_room_read_before_a_write_and_answered_after_it_is_read_again(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    room = alice.create_room(members=[bob])
    bob.sync()
    server.database.hold_writes()
    sent = put(alice, room, "under way")
    rooms = server.services.rooms.rooms
    loaded = rooms.find(RoomId(room))
    assert loaded is not None
    rooms.discard(loaded)
    server.database.hold_answers()
    looking = bob.start_request("GET", path("rooms", room, "state"))
    server.database.release()
    server.database.release_answers()
    assert sent.answer.status == looking.answer.status == 200
    assert bob.sync().texts(room) == ["under way"]
    assert bob.send(room, "answer")
    assert texts(alice, room) == ["under way", "answer"]


def test_a_room_dropped_from_memory_while_it_is_written_loses_nothing(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    rooms = server.services.rooms.rooms
    room = alice.create_room(members=[bob])
    bob.sync()
    server.database.hold_writes()
    sent = put(alice, room, "under way")
    rooms._most_members = 0  # what comes next drives out what was there
    other = RoomId(room)
    loaded = rooms.find(other)
    assert loaded is not None
    server.database.release(0)
    bob_room = bob.start_request("POST", "/createRoom", {})
    server.database.release()
    assert bob_room.answer.status == 200
    assert sent.answer.status == 200
    assert bob.sync().texts(room) == ["under way"]
    assert bob.sync(since=None).texts(room) == ["under way"]


def test_a_room_with_more_members_than_memory_holds_works(
    server: WholeServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [server.register(f"user{number}") for number in range(8)]
    room = alice.create_room(members=others, room_version="11")
    server.restart()
    monkeypatch.setattr("homeserver.services.rooms.room.MEMBER_EVENTS", 2)
    for other in others:
        other.send(room, other.user_id)
        alice.invite(room, other, refused="M_FORBIDDEN")
    for other in others[::2]:
        alice.kick(room, other)
    for other in others[1::2]:
        other.leave(room)
    assert texts(alice, room) == [other.user_id for other in others]
    assert alice.members(room, membership="join") == {alice.user_id: "join"}
