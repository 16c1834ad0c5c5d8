"""Postroom and Synapse as neighbours: what is shown of a room's past, and to whom; what was missed comes."""

import time
from typing import Any

import pytest

from tests.peers.federation.people import Neighbour, Outside
from tests.peers.federation.sides import Sides, numbers, same_history, same_room, same_state
from tests.support.people import V1, path

pytestmark = [pytest.mark.xdist_group("synapse history"), pytest.mark.slow]


def visibility(value: str) -> list[dict[str, Any]]:
    """For `initial_state`."""
    content = {"history_visibility": value}
    return [{"type": "m.room.history_visibility", "state_key": "", "content": content}]


def seen_of(person: Neighbour, room: str, *event_ids: str) -> list[str]:
    """Those of the events that paging back shows; asking for each one by one tells the same."""
    found = {event["event_id"] for event in person.history(room)}
    for event_id in event_ids:
        assert person.sees(room, event_id) == (event_id in found), (
            f"/event and /messages differ on {event_id}"
        )
    return [event_id for event_id in event_ids if event_id in found]


# Who sees what


@pytest.mark.parametrize("version", ["10", "12"])
@pytest.mark.parametrize(
    ("value", "is_seen"),
    [("joined", (False, False, True)), ("invited", (False, True, True)),
     ("shared", (True, True, True)), ("world_readable", (True, True, True))],
)  # fmt: skip
def test_history_visibility(sides: Sides, version: str, value: str, is_seen: tuple[bool, ...]) -> None:
    """Of what was said before the invite, between invite and join, and after the join."""
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", room_version=version, initial_state=visibility(value))
    before = anna.send_many(room, ["before", "before too"])[-1]
    anna.invite(room, bela)
    between = anna.send_many(room, ["between", "between too"])[-1]
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    after = anna.send(room, "after")
    bela.reads(room, after)
    events = (before, between, after)
    expected = [event_id for event_id, seen in zip(events, is_seen, strict=True) if seen]
    bela.soon(lambda: seen_of(bela, room, *events) == expected, f"{is_seen} of {events}")
    assert seen_of(anna, room, *events) == list(events)


def test_visibility_that_changes(sides: Sides) -> None:
    """Each event is shown by what was the rule when it was sent."""
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", initial_state=visibility("shared"))
    shared = anna.send(room, "for everybody who will come")
    anna.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden = anna.send(room, "for those who are here")
    anna.set_state(room, "m.room.history_visibility", {"history_visibility": "shared"})
    again = anna.send(room, "for everybody again")
    sides.enter(room, bela, anna)
    bela.soon(lambda: seen_of(bela, room, shared, hidden, again) == [shared, again], "two of three")


def test_who_has_left_sees_what_there_was(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    before = anna.send(room, "before")
    bela.reads(room, before)
    carla = sides.another_guest()
    carla.join_from(room)
    anna.sees_member_soon(room, carla, "join")
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    after = anna.send(room, "after")
    carla.reads(room, after)
    assert bela.sees(room, before)
    assert not bela.sees(room, after)


# What relates to what


def test_reactions_edits_and_threads(sides: Sides) -> None:
    """They are counted, applied and listed on both servers alike, also those from before the join."""
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat")
    root = anna.send(room, "who cooks?")
    old = [anna.react(room, root, "🍲"), anna.edit(room, root, "who cooks today?"),
           anna.reply_in_thread(room, root, "not me")]  # fmt: skip
    sides.enter(room, bela, anna)
    same_history(room, anna, bela)
    new = [bela.react(room, root, "🍲"), bela.reply_in_thread(room, root, "I do")]
    anna.reads(room, *new)
    mine = bela.send(room, "soup")
    anna.reads(room, mine)
    edit = bela.edit(room, mine, "stew")
    anna.reads(room, edit)
    for person in (anna, bela):
        thread = person.event(room, root)["unsigned"]["m.relations"]
        assert thread["m.thread"]["count"] == 2
        assert thread["m.thread"]["latest_event"]["event_id"] == new[1]
        if person.server.kind != "synapse":  # it goes on saying what it said before the first answer
            assert thread["m.thread"]["current_user_participated"] is True
        assert thread["m.replace"]["event_id"] == old[1]
        assert person.event(room, mine)["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit
        related = person.ask("GET", f"{V1}{path('rooms', room, 'relations', root, 'm.annotation')}")["chunk"]
        assert [event["event_id"] for event in related] == [new[0], old[0]]
        in_thread = person.ask("GET", f"{V1}{path('rooms', room, 'relations', root, 'm.thread')}")["chunk"]
        assert [event["event_id"] for event in in_thread] == [new[1], old[2]]
        threads = person.ask("GET", f"{V1}{path('rooms', room, 'threads')}")["chunk"]
        assert [event["event_id"] for event in threads] == [root]


def test_a_reaction_is_taken_back(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    root = anna.send(room, "who cooks?")
    bela.reads(room, root)
    reaction = bela.react(room, root)
    anna.reads(room, reaction)
    redaction = bela.redact(room, reaction)
    anna.reads(room, redaction)
    for person in (anna, bela):
        related = person.ask("GET", f"{V1}{path('rooms', room, 'relations', root)}")["chunk"]
        assert [event for event in related if event["content"]] == []


def test_mentions_count_on_the_other_server(sides: Sides) -> None:
    anna, bela, room = sides.shared_room()
    for one, other in ((anna, bela), (bela, anna)):
        read = one.send(room, "read")
        other.reads(room, read)
        other.read(room, read)
        call = {"msgtype": "m.text", "body": "hey you", "m.mentions": {"user_ids": [other.user_id]}}
        last = [one.send(room, "unread"), one.send(room, call)][-1]
        other.reads(room, last)
        other.soon(lambda o=other: o.sync(since=None).unread(room) == (2, 1), "two unread, one of them loud")


def test_what_a_state_event_replaced_is_told(sides: Sides) -> None:
    anna, bela, room = sides.shared_room(name="Kitchen")
    old = anna.state(room)["m.room.name", ""]["event_id"]
    changed = anna.set_state(room, "m.room.name", {"name": "Bathroom"})
    (event,) = bela.reads(room, changed)
    assert event["unsigned"]["prev_content"] == {"name": "Kitchen"}
    assert event["unsigned"]["replaces_state"] == old
    assert "transaction_id" not in event["unsigned"]


# By time


def test_the_event_nearest_to_a_time(sides: Sides) -> None:
    """Also of a time before the own server came; paging goes on from there, to both sides."""
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat")
    first = anna.send_many(room, [f"early {number}" for number in range(12)])
    time.sleep(0.3)
    middle_ms = time.time_ns() // 1_000_000
    time.sleep(0.3)
    late = anna.send_many(room, [f"late {number}" for number in range(30)])
    sides.enter(room, bela, anna)
    for person in (anna, bela):
        for direction, expected in (("f", late[0]), ("b", first[-1])):
            target = f"{V1}{path('rooms', room, 'timestamp_to_event')}"
            answer = person.ask("GET", target, ts=middle_ms, dir=direction)
            assert answer["event_id"] == expected, (person, direction)
            assert answer["origin_server_ts"] == anna.event(room, expected)["origin_server_ts"]
    found = bela.soon(lambda: bela.context(room, late[0], limit=4), "the context")
    assert found["event"]["event_id"] == late[0]
    back = bela.messages(room, start=found["start"], dir="b", limit=3)
    assert back.ids[-1] in first
    forth = bela.messages(room, start=found["end"], dir="f", limit=3)
    assert set(forth.ids) < set(late)


# Being away


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("who", ["guest", "host"])
def test_a_server_that_is_away_for_a_while(sides: Sides, who: str, how: str) -> None:
    """What was said meanwhile arrives, once and in order, and so does what it had to say itself."""
    anna, bela, room = sides.shared_room()
    away, present = (bela, anna) if who == "guest" else (anna, bela)
    server = away.server
    assert isinstance(server, Outside)
    said = [present.send(room, "until soon")]
    away.reads(room, *said)
    said.append(away.send(room, "my last word"))
    if how == "killed":
        server.process.kill()
    else:
        server.process.stop()
    server.hang_up()
    said += present.send_many(room, [f"missed {number}" for number in range(25)])
    name = present.send(room, "a last one")
    server.process.start()
    said.append(name)
    there = away.send(room, "I am back")
    present.reads(room, there, within=60)
    present.send(room, "good")
    away.soon(lambda: set(said) <= {event["event_id"] for event in away.history(room)}, "what was missed")
    order = [event["event_id"] for event in away.history(room) if event["event_id"] in said]
    assert order.count(said[1]) == 1
    assert [event_id for event_id in order if event_id != said[1]] == [e for e in said if e != said[1]]
    same_state(room, anna, bela)


def test_a_room_in_which_both_have_changed_much(sides: Sides) -> None:
    """Turns of state by both; afterwards nothing differs, neither in the state nor in what clients know."""
    anna, bela, room = sides.shared_room()
    sides.power(room, anna, bela, 50)
    for number in range(6):
        for one, other in ((anna, bela), (bela, anna)):
            changed = one.set_state(
                room, "org.example.turn", {"turn": number}, state_key=f"of {one.user_id[1:5]}"
            )
            topic = one.set_state(room, "m.room.topic", {"topic": f"{next(numbers)}"})
            other.reads(room, changed, topic)
    same_room(room, anna, bela)
