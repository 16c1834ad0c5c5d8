"""Threads, edits, reactions and references: what is told with an event, and what is found from it."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.people import V1, Person, path
from tests.support.whole_server import WholeServer


@pytest.fixture
def server(each_server: WholeServer) -> WholeServer:
    """On each kind of database."""
    return each_server


@pytest.fixture
def room(alice: Person, bob: Person) -> str:
    return alice.create_room(members=[bob])


def children(person: Person, room: str, parent: str, *kinds: str, **query: Any) -> Any:
    query["from"] = query.pop("start", None)
    return person.ask("GET", V1 + path("rooms", room, "relations", parent, *kinds), **query)


def ids(answer: Mapping[str, Any]) -> list[str]:
    return [event["event_id"] for event in answer["chunk"]]


def threads(person: Person, room: str, **query: Any) -> Any:
    query["from"] = query.pop("start", None)
    return person.ask("GET", V1 + path("rooms", room, "threads"), **query)


def relations_of(person: Person, room: str, event_id: str) -> dict[str, Any]:
    """As /event tells them."""
    found: dict[str, Any] = person.event(room, event_id)["unsigned"].get("m.relations", {})
    return found


def refer(person: Person, room: str, event_id: str) -> str:
    return person.send(
        room, {"body": "see", "m.relates_to": {"rel_type": "m.reference", "event_id": event_id}}
    )


def test_an_event_without_children_tells_nothing(alice: Person, room: str) -> None:
    event_id = alice.send(room)

    assert relations_of(alice, room, event_id) == {}
    assert children(alice, room, event_id) == {"chunk": []}


def test_the_newest_edit_comes_with_the_original(
    alice: Person, bob: Person, room: str, time: FakeClock
) -> None:
    original = alice.send(room, "tae")
    alice.edit(room, original, "teh")
    time.advance(1)
    newest = alice.edit(room, original, "tea")

    told = relations_of(bob, room, original)["m.replace"]

    assert told["event_id"] == newest
    assert told["content"]["m.new_content"]["body"] == "tea"
    assert bob.event(room, original)["content"]["body"] == "tae"


def test_only_the_sender_edits(alice: Person, bob: Person, room: str) -> None:
    original = alice.send(room, "tea")
    bob.edit(room, original, "coffee")

    assert relations_of(alice, room, original) == {}


def test_an_edit_that_is_redacted_no_longer_counts(alice: Person, room: str, time: FakeClock) -> None:
    original = alice.send(room, "tae")
    first = alice.edit(room, original, "teh")
    time.advance(1)
    second = alice.edit(room, original, "tea")

    alice.redact(room, second)

    assert relations_of(alice, room, original)["m.replace"]["event_id"] == first


def test_a_redacted_original_shows_no_edit(alice: Person, room: str) -> None:
    original = alice.send(room, "secret")
    alice.edit(room, original, "still secret")

    alice.redact(room, original)

    assert relations_of(alice, room, original) == {}


def test_a_thread_is_told_with_its_root(
    alice: Person, bob: Person, each_server: WholeServer, room: str
) -> None:
    root = alice.send(room, "Which tea?")
    bob.reply_in_thread(room, root, "Green")
    latest = bob.reply_in_thread(room, root, "Blakc")
    edit = bob.edit(room, latest, "Black")
    carol = each_server.register("carol")
    alice.invite(room, carol)
    carol.join(room)

    told = relations_of(alice, room, root)["m.thread"]

    assert (told["count"], told["current_user_participated"]) == (2, True)
    assert told["latest_event"]["event_id"] == latest
    assert told["latest_event"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit
    assert relations_of(bob, room, root)["m.thread"]["current_user_participated"] is True
    assert relations_of(carol, room, root)["m.thread"]["current_user_participated"] is False


def test_redacted_answers_leave_the_thread(alice: Person, bob: Person, room: str) -> None:
    root = alice.send(room)
    first = bob.reply_in_thread(room, root, "one")
    second = bob.reply_in_thread(room, root, "two")

    bob.redact(room, second)
    told = relations_of(alice, room, root)["m.thread"]
    assert (told["count"], told["latest_event"]["event_id"]) == (1, first)

    bob.redact(room, first)
    assert relations_of(alice, room, root) == {}


def test_ignored_users_do_not_count(alice: Person, bob: Person, room: str) -> None:
    root = alice.send(room)
    alice.reply_in_thread(room, root, "mine")
    bob.reply_in_thread(room, root, "his")
    refer(bob, room, root)

    alice.ignore(bob)

    told = relations_of(alice, room, root)
    assert told["m.thread"]["count"] == 1
    assert "m.reference" not in told


def test_references_are_listed(alice: Person, bob: Person, room: str) -> None:
    event_id = alice.send(room)
    expected = [{"event_id": refer(person, room, event_id)} for person in (alice, bob)]

    assert relations_of(alice, room, event_id) == {"m.reference": {"chunk": expected}}


def test_reactions_are_not_bundled_but_found(alice: Person, bob: Person, room: str) -> None:
    event_id = alice.send(room)
    reaction = bob.react(room, event_id)

    assert relations_of(alice, room, event_id) == {}
    assert ids(children(alice, room, event_id, "m.annotation", "m.reaction")) == [reaction]


def test_pages_of_history_and_context_tell_relations_too(alice: Person, room: str) -> None:
    root = alice.send(room, "root")
    alice.reply_in_thread(room, root, "answer")

    page = {event["event_id"]: event for event in alice.messages(room).events}
    context = alice.context(room, root)["event"]

    assert page[root]["unsigned"]["m.relations"]["m.thread"]["count"] == 1
    assert context["unsigned"]["m.relations"]["m.thread"]["count"] == 1


def test_children_are_found_by_kind(alice: Person, bob: Person, room: str) -> None:
    event_id = alice.send(room)
    reaction = bob.react(room, event_id)
    edit = alice.edit(room, event_id, "better")
    alice.send(room, "unrelated")

    assert ids(children(alice, room, event_id)) == [edit, reaction]
    assert ids(children(alice, room, event_id, dir="f")) == [reaction, edit]
    assert ids(children(alice, room, event_id, "m.replace")) == [edit]
    assert ids(children(alice, room, event_id, "m.replace", "m.room.message")) == [edit]
    assert ids(children(alice, room, event_id, "m.replace", "m.reaction")) == []


def test_children_of_children(alice: Person, bob: Person, room: str) -> None:
    root = alice.send(room)
    answer = bob.reply_in_thread(room, root, "answer")
    edit = bob.edit(room, answer, "better answer")
    reaction = alice.react(room, answer)

    direct = children(alice, room, root)
    deep = children(alice, room, root, recurse=True)

    assert ids(direct) == [answer]
    assert "recursion_depth" not in direct
    assert (ids(deep), deep["recursion_depth"]) == ([reaction, edit, answer], 3)
    assert ids(children(alice, room, root, "m.thread", recurse=True)) == [answer]
    assert ids(children(alice, room, root, "m.annotation", recurse=True)) == [reaction]


@pytest.mark.parametrize("dir", ["b", "f"])
def test_paging_through_children(alice: Person, room: str, dir: str) -> None:
    root = alice.send(room)
    sent = [alice.reply_in_thread(room, root, f"{number}") for number in range(7)]

    pages = [children(alice, room, root, dir=dir, limit=3)]
    assert "prev_batch" not in pages[0]
    while (token := pages[-1].get("next_batch")) is not None:
        pages.append(children(alice, room, root, dir=dir, limit=3, start=token))
        assert pages[-1]["prev_batch"] == token

    assert [len(page["chunk"]) for page in pages] == [3, 3, 1]
    found = [event_id for page in pages for event_id in ids(page)]
    assert found == (sent if dir == "f" else sent[::-1])


def test_children_before_a_sync(alice: Person, room: str) -> None:
    root = alice.send(room)
    before = alice.reply_in_thread(room, root, "before")
    token = alice.sync().next_batch
    alice.reply_in_thread(room, root, "after")

    assert ids(children(alice, room, root, start=token)) == [before]


def test_strangers_see_no_relations(each_server: WholeServer, alice: Person, room: str) -> None:
    root = alice.send(room)
    alice.reply_in_thread(room, root, "answer")
    mallory = each_server.register("mallory")

    children(mallory, room, root, refused="M_FORBIDDEN")
    threads(mallory, room, refused="M_FORBIDDEN")
    children(alice, room, "$nowhere", refused="M_NOT_FOUND")


def test_threads_come_newest_first(alice: Person, bob: Person, room: str) -> None:
    first, second, third = alice.send_many(room, ["one", "two", "three"])
    for root in (first, third, second, first):
        bob.reply_in_thread(room, root, "answer")

    found = threads(alice, room)

    assert ids(found) == [first, second, third]
    assert found["chunk"][0]["unsigned"]["m.relations"]["m.thread"]["count"] == 2
    assert "next_batch" not in found


def test_threads_in_pages(alice: Person, room: str) -> None:
    roots = alice.send_many(room, [f"{number}" for number in range(5)])
    for root in roots:
        alice.reply_in_thread(room, root, "answer")

    found: list[str] = []
    token = None
    while True:
        page = threads(alice, room, limit=2, start=token)
        found += ids(page)
        token = page.get("next_batch")
        if token is None:
            break

    assert found == roots[::-1]
    threads(alice, room, start="nonsense", refused="M_INVALID_PARAM")


def test_threads_one_takes_part_in(each_server: WholeServer, alice: Person, bob: Person, room: str) -> None:
    carol = each_server.register("carol")
    alice.invite(room, carol)
    carol.join(room)
    of_alice, of_bob = alice.send(room, "hers"), bob.send(room, "his")
    for root in (of_alice, of_bob):
        bob.reply_in_thread(room, root, "answer")

    assert ids(threads(alice, room, include="participated")) == [of_alice]
    assert ids(threads(bob, room, include="participated")) == [of_bob, of_alice]
    assert ids(threads(carol, room, include="participated")) == []
    assert ids(threads(carol, room)) == [of_bob, of_alice]


# What counts, and what is refused


@pytest.mark.parametrize(
    ("type_", "changes"),
    [
        ("m.sticker", {}),
        ("m.room.message", {"m.new_content": "text"}),
        ("m.room.message", {"m.new_content": None}),
    ],
)
def test_what_is_no_edit(alice: Person, room: str, type_: str, changes: dict[str, Any]) -> None:
    original = alice.send(room, "tea")
    relation = {"rel_type": "m.replace", "event_id": original}
    alice.send(
        room, {"body": "x", "m.new_content": {"body": "x"}, "m.relates_to": relation, **changes}, type_=type_
    )
    assert relations_of(alice, room, original) == {}


def test_neither_state_nor_edits_can_be_edited(alice: Person, room: str) -> None:
    edit = alice.edit(room, alice.send(room, "tae"), "tea")
    alice.edit(room, edit, "coffee")
    name = alice.set_state(room, "m.room.name", {"name": "Den"})
    alice.send(
        room,
        {"m.new_content": {"name": "x"}, "m.relates_to": {"rel_type": "m.replace", "event_id": name}},
        type_="m.room.name",
    )
    assert relations_of(alice, room, edit) == relations_of(alice, room, name) == {}


def test_encrypted_edits_hide_their_new_content(alice: Person, room: str) -> None:
    original = alice.send(room, {"ciphertext": "a"}, type_="m.room.encrypted")
    relation = {"rel_type": "m.replace", "event_id": original}
    edit = alice.send(room, {"ciphertext": "b", "m.relates_to": relation}, type_="m.room.encrypted")
    assert relations_of(alice, room, original)["m.replace"]["event_id"] == edit


def test_no_thread_begins_at_an_event_of_another(alice: Person, bob: Person, room: str) -> None:
    root = alice.send(room, "Which tea?")
    reply = bob.reply_in_thread(room, root, "Green")
    edit = alice.edit(room, root, "Which tea, then?")
    for wrong in (reply, edit):
        relation = {"rel_type": "m.thread", "event_id": wrong}
        bob.send(room, {"body": "x", "m.relates_to": relation}, refused="M_UNKNOWN")
    relation = {"rel_type": "m.thread", "event_id": "$unknown"}
    bob.send(room, {"body": "x", "m.relates_to": relation})
