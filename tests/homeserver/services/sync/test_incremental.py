"""What changed since a token: timelines, gaps, state, coming and going.

https://spec.matrix.org/latest/client-server-api/#syncing
"""

from typing import Any

import pytest

from tests.support.people import Person
from tests.support.sync_answers import SyncAnswer
from tests.support.whole_server import WholeServer


def limited_to(limit: int) -> dict[str, Any]:
    return {"room": {"timeline": {"limit": limit}}}


def names(answer: SyncAnswer, room: str) -> list[str]:
    """Of the room, in the answer's state and timeline."""
    events = [*answer.state(room).values(), *answer.timeline(room)]
    return [event["content"]["name"] for event in events if event["type"] == "m.room.name"]


def test_nothing_new_is_nothing(alice: Person, bob: Person) -> None:
    alice.create_room(members=[bob])
    bob.sync()
    assert bob.sync().is_empty
    assert bob.sync().is_empty


def test_only_rooms_with_news_come(alice: Person) -> None:
    quiet, loud = alice.create_room(), alice.create_room()
    alice.sync()
    event_id = alice.send(loud)
    synced = alice.sync()
    assert set(synced.joined) == {loud}
    assert synced.ids(loud) == [event_id]
    assert synced.state(loud) == {}
    assert not synced.is_limited(loud)
    assert alice.sync().is_empty
    assert quiet not in synced.joined


def test_every_event_comes_once_and_in_order(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    bob.sync()
    sent: list[str] = []
    got: list[str] = []
    for number in range(30):
        sent.append((alice if number % 3 else bob).send(room, str(number)))
        if number % 7 == 0:
            got += bob.sync().ids(room)
        if number % 11 == 0:
            each_server.restart()
    got += bob.sync().ids(room)
    assert got == sent


def test_old_tokens_stay_good(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    tokens = []
    for text in "abcdefg":
        tokens.append(alice.sync(filter=limited_to(50)).next_batch)
        alice.send(room, text)
    for _ in range(2):
        for index, token in enumerate(tokens):
            assert alice.sync(since=token, filter=limited_to(50)).texts(room) == list("abcdefg"[index:])
        each_server.restart()


def test_a_token_of_before_a_backup_was_restored_begins_anew(each_server: WholeServer) -> None:
    """Otherwise what is said until the positions have caught up would never reach that client."""
    alice = each_server.register("alice")
    room = alice.create_room()
    token = f"s{int(alice.sync().next_batch[1:]) + 1_000_000}"
    alice.send(room, "after the restore")
    synced = alice.sync(since=token)
    assert "after the restore" in synced.texts(room)
    assert int(synced.next_batch[1:]) < int(token[1:])
    alice.send(room, "more")
    assert alice.sync().texts(room) == ["more"]


def test_two_devices_sync_apart(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    phone = server.log_in("alice")
    alice.sync()
    alice.send(room, "a")
    assert phone.sync().texts(room) == ["a"]
    assert alice.sync().texts(room) == ["a"]
    alice.send(room, "b")
    assert [person.sync().texts(room) for person in (alice, phone)] == [["b"], ["b"]]


# Gaps


@pytest.mark.parametrize("limit", [0, 1, 3, 10])
def test_a_long_timeline_has_a_gap(each_server: WholeServer, limit: int) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    since = alice.sync().next_batch
    alice.send_many(room, map(str, range(100)))
    for _ in range(2):
        synced = alice.sync(since=since, filter=limited_to(limit))
        assert synced.is_limited(room)
        assert synced.texts(room) == [str(number) for number in range(100)][100 - limit :]
        older = alice.messages(room, start=synced.prev_batch(room), limit=1)
        assert older.texts == [str(99 - limit)]
        each_server.restart()


def test_the_state_of_a_gap_is_what_changed_in_it(each_server: WholeServer) -> None:
    alice, bob, carol = (each_server.register(name) for name in ("alice", "bob", "carol"))
    room = alice.create_room(members=[bob], invite=[carol.user_id])
    alice.set_state(room, "m.room.topic", {"topic": "old"})
    since = alice.sync().next_batch
    for number in range(3):
        alice.set_state(room, "m.room.name", {"name": str(number)})
    carol.join(room)
    alice.send_many(room, "abc")
    for _ in range(2):
        synced = alice.sync(since=since, filter=limited_to(2))
        assert set(synced.state(room)) == {("m.room.name", ""), ("m.room.member", carol.user_id)}
        assert names(synced, room) == ["2"]
        each_server.restart()


def test_state_changed_in_gap_and_timeline_comes_from_before_the_timeline(alice: Person) -> None:
    room = alice.create_room()
    alice.sync()
    alice.set_state(room, "m.room.name", {"name": "in the gap"})
    alice.send(room)
    alice.set_state(room, "m.room.name", {"name": "in the timeline"})
    synced = alice.sync(filter=limited_to(1))
    assert synced.state(room)["m.room.name", ""]["content"] == {"name": "in the gap"}
    assert synced.timeline(room)[0]["content"] == {"name": "in the timeline"}


def test_state_that_was_there_before_the_gap_is_not_repeated(alice: Person) -> None:
    room = alice.create_room(name="before")
    alice.sync()
    alice.send_many(room, "abc")
    alice.set_state(room, "m.room.name", {"name": "after"})
    synced = alice.sync(filter=limited_to(1))
    assert synced.state(room) == {}
    assert names(synced, room) == ["after"]


def test_following_by_gaps_ends_at_the_present_state(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    known = bob.sync(filter=limited_to(1)).known_state(room)
    for number in range(40):
        alice.set_state(room, "org.example", {"n": number}, state_key=str(number % 5))
        if number % 3 == 0:
            alice.send(room)
        if number % 7 == 0:
            known |= bob.sync(filter=limited_to(1 + number % 3)).known_state(room)
    known |= bob.sync(filter=limited_to(2)).known_state(room)
    assert {key: event["event_id"] for key, event in known.items()} == {
        key: event["event_id"] for key, event in bob.state(room).items()
    }


# full_state and state_after


def test_full_state_brings_all_state_and_only_new_events(alice: Person) -> None:
    room = alice.create_room(name="Den")
    quiet = alice.create_room()
    alice.sync()
    event_id = alice.send(room)
    synced = alice.sync(full_state=True)
    assert synced.ids(room) == [event_id]
    assert set(synced.state(room)) == set(alice.state(room))
    assert set(synced.state(quiet)) == set(alice.state(quiet))
    assert synced.timeline(quiet) == []


def test_full_state_answers_at_once(alice: Person) -> None:
    alice.create_room()
    alice.sync()
    assert alice.start_sync(full_state=True).is_done


def test_full_state_brings_all_account_data(alice: Person) -> None:
    alice.put_account_data("org.example", {"a": 1})
    alice.sync()
    assert alice.sync(full_state=True).account_data["org.example"] == {"a": 1}


def test_state_after_is_the_state_at_the_end(alice: Person) -> None:
    room = alice.create_room(name="0")
    first = alice.sync(use_state_after=True, filter=limited_to(1))
    assert "state" not in first.room(room)
    assert set(first.state_after(room)) == set(alice.state(room))
    for number in "123":
        alice.set_state(room, "m.room.name", {"name": number})
        alice.send(room)
    synced = alice.sync(use_state_after=True, filter=limited_to(2))
    assert set(synced.state_after(room)) == {("m.room.name", "")}
    assert synced.state_after(room)["m.room.name", ""]["content"] == {"name": "3"}


def test_state_after_without_a_gap_holds_what_the_timeline_changed(alice: Person) -> None:
    room = alice.create_room()
    alice.sync()
    alice.set_state(room, "m.room.name", {"name": "Den"})
    alice.send(room)
    synced = alice.sync(use_state_after=True)
    assert not synced.is_limited(room)
    assert set(synced.state_after(room)) == {("m.room.name", "")}
    alice.send(room)
    synced = alice.sync(use_state_after=True)
    assert synced.room(room)["state_after"] == {"events": []}


# Coming and going


def test_a_new_room_comes_whole(alice: Person, bob: Person) -> None:
    room = alice.create_room(name="Den")
    alice.send_many(room, map(str, range(20)))
    bob.sync()
    alice.invite(room, bob)
    bob.join(room)
    synced = bob.sync(filter=limited_to(3))
    assert synced.is_limited(room)
    assert len(synced.timeline(room)) == 3
    assert {key: event["event_id"] for key, event in synced.known_state(room).items()} == {
        key: event["event_id"] for key, event in bob.state(room).items()
    }
    assert synced.summary(room)["m.joined_member_count"] == 2


def test_a_new_room_brings_receipts_and_account_data(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room)
    alice.read(room, event_id)
    bob.put_account_data("org.example", {"a": 1}, room=room)
    bob.leave(room)
    bob.sync()
    alice.invite(room, bob)
    bob.join(room)
    synced = bob.sync()
    assert alice.user_id in synced.receipts(room)[event_id]["m.read"]
    assert synced.room_account_data(room) == {"org.example": {"a": 1}}


def test_a_rejoined_room_comes_whole(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob], preset="public_chat")
    bob.sync()
    bob.leave(room)
    assert set(bob.sync().left) == {room}
    alice.set_state(room, "m.room.name", {"name": "meanwhile"})
    alice.send_many(room, map(str, range(20)))
    bob.join(room)
    token = bob.next_batch
    for _ in range(2):
        synced = bob.sync(since=token)
        assert set(synced.joined) == {room}
        assert synced.left == {}
        assert synced.is_limited(room)
        assert set(synced.known_state(room)) == set(bob.state(room))
        each_server.restart()


def test_leaving_and_coming_back_between_syncs(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], preset="public_chat")
    bob.sync()
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "meanwhile"})
    bob.join(room)
    synced = bob.sync()
    assert synced.left == {}
    assert synced.known_state(room)["m.room.name", ""]["content"] == {"name": "meanwhile"}
    assert synced.known_state(room)["m.room.member", bob.user_id]["content"]["membership"] == "join"


def test_state_changed_unseen_comes_with_the_return(alice: Person, bob: Person) -> None:
    hidden = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = alice.create_room(preset="public_chat", initial_state=[hidden], members=[bob])
    bob.sync()
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "unseen"})
    bob.join(room)
    synced = bob.sync()
    assert {key: event["event_id"] for key, event in synced.known_state(room).items()} == {
        key: event["event_id"] for key, event in bob.state(room).items()
    }


def test_others_see_people_come_and_go(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    alice.sync()
    bob.join(room)
    bob.leave(room)
    bob.join(room)
    memberships = [event["content"]["membership"] for event in alice.sync().timeline(room)]
    assert memberships == ["join", "leave", "join"]


def test_changing_ones_name_is_no_rejoin(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.sync()
    bob.ask("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "Robert"})
    synced = bob.sync()
    assert [event["type"] for event in synced.timeline(room)] == ["m.room.member"]
    assert synced.state(room) == {}


# Ignored users


def test_messages_of_ignored_people_do_not_come(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob, carol])
    bob.sync()
    bob.ignore(alice)
    alice.send(room, "ignored")
    carol.send(room, "heard")
    alice.set_state(room, "m.room.name", {"name": "Den"})
    synced = bob.sync()
    assert synced.texts(room) == ["heard"]
    assert names(synced, room) == ["Den"]
    assert bob.sync(since=None).texts(room) == ["heard"]
    assert carol.sync(since=None).texts(room) == ["ignored", "heard"]
    bob.ignore()
    alice.send(room, "heard again")
    assert bob.sync().texts(room) == ["heard again"]


def test_invites_of_ignored_people_do_not_come(alice: Person, bob: Person, carol: Person) -> None:
    bob.sync()
    bob.ignore(alice)
    alice.create_room(invite=[bob.user_id])
    welcome = carol.create_room(invite=[bob.user_id])
    assert set(bob.sync().invites) == {welcome}
    assert set(bob.sync(since=None).invites) == {welcome}


def test_ignored_people_do_not_type(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.ignore(alice)
    bob.sync()
    alice.start_typing(room)
    assert bob.sync().typing(room) == set()
