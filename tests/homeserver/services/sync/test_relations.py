"""What a sync tells of edits, threads and references, beside the event that they are about.

https://spec.matrix.org/latest/client-server-api/#server-side-aggregation-of-relationships
"""

from typing import Any

import pytest

from tests.support.people import Person
from tests.support.sync_answers import SyncAnswer
from tests.support.whole_server import WholeServer


@pytest.fixture
def server(each_server: WholeServer) -> WholeServer:
    """On each kind of database."""
    return each_server


@pytest.fixture
def room(alice: Person, bob: Person) -> str:
    return alice.create_room(members=[bob])


def told(synced: SyncAnswer, room: str, event_id: str) -> dict[str, Any]:
    """What came with the event."""
    (event,) = [event for event in synced.timeline(room) if event["event_id"] == event_id]
    found: dict[str, Any] = event["unsigned"].get("m.relations", {})
    return found


def test_what_has_no_children_tells_nothing(alice: Person, bob: Person, room: str) -> None:
    event_id = alice.send(room)
    bob.react(room, event_id)

    assert told(bob.sync(), room, event_id) == {}


@pytest.mark.parametrize("restarts", [False, True])
def test_an_edit_comes_with_its_original(
    alice: Person, bob: Person, room: str, each_server: WholeServer, restarts: bool
) -> None:
    bob.sync()
    original = alice.send(room, "tae")
    edit = alice.edit(room, original, "tea")
    if restarts:
        each_server.restart()

    for since in (bob.next_batch, None):
        replaced = told(bob.sync(since=since), room, original)["m.replace"]
        assert replaced["event_id"] == edit
        assert replaced["content"]["m.new_content"]["body"] == "tea"


def test_an_edit_after_the_sync_comes_with_the_next_first_one(alice: Person, bob: Person, room: str) -> None:
    original = alice.send(room, "tae")
    assert told(bob.sync(), room, original) == {}
    edit = alice.edit(room, original, "tea")

    assert bob.sync().ids(room) == [edit]
    assert told(bob.sync(since=None), room, original)["m.replace"]["event_id"] == edit


def test_an_edit_that_was_taken_back_is_told_no_more(alice: Person, bob: Person, room: str) -> None:
    original = alice.send(room, "tae")
    edit = alice.edit(room, original, "tea")
    assert told(bob.sync(since=None), room, original)["m.replace"]["event_id"] == edit

    alice.redact(room, edit)

    assert told(bob.sync(since=None), room, original) == {}


def test_a_thread_is_told_to_each_as_it_is_theirs(
    alice: Person, bob: Person, each_server: WholeServer, room: str
) -> None:
    carol = each_server.register("carol")
    alice.invite(room, carol)
    carol.join(room)
    root = alice.send(room, "Which tea?")
    latest = bob.reply_in_thread(room, root, "Green")

    threads = [told(person.sync(), room, root)["m.thread"] for person in (carol, alice, bob)]

    assert [thread["current_user_participated"] for thread in threads] == [False, True, True]
    assert {thread["count"] for thread in threads} == {1}
    assert {thread["latest_event"]["event_id"] for thread in threads} == {latest}
    theirs = ["transaction_id" in thread["latest_event"]["unsigned"] for thread in threads]
    assert theirs == [False, False, True]


def test_references_come_by_id(alice: Person, bob: Person, room: str) -> None:
    event_id = alice.send(room)
    relation = {"rel_type": "m.reference", "event_id": event_id}
    reference = bob.send(room, {"body": "see", "m.relates_to": relation})

    assert told(alice.sync(), room, event_id) == {"m.reference": {"chunk": [{"event_id": reference}]}}


def test_who_ignores_somebody_is_not_told_of_their_references(alice: Person, bob: Person, room: str) -> None:
    event_id = alice.send(room)
    relation = {"rel_type": "m.reference", "event_id": event_id}
    bob.send(room, {"body": "see", "m.relates_to": relation})
    alice.ignore(bob)

    assert told(alice.sync(since=None), room, event_id) == {}


def test_who_left_is_told_of_what_they_may_see(alice: Person, bob: Person, room: str) -> None:
    bob.sync()
    original = alice.send(room, "tae")
    seen = alice.edit(room, original, "tea")
    bob.leave(room)
    alice.edit(room, original, "coffee")

    assert told(bob.sync(), room, original)["m.replace"]["event_id"] == seen


def test_an_edit_is_told_when_the_original_left_memory_long_ago(
    alice: Person, bob: Person, room: str
) -> None:
    """More has happened since than is kept at hand."""
    original = alice.send(room, "tae")
    alice.send_many(room, map(str, range(70)))
    edit = alice.edit(room, original, "tea")

    synced = bob.sync(since=None, filter={"room": {"timeline": {"limit": 100}}})
    assert told(synced, room, original)["m.replace"]["event_id"] == edit
