"""What relates to what, as rows: on each kind of database."""

from homeserver.protocol.ids import EventId, UserId
from homeserver.runtime.database import Database
from homeserver.storage.relations import RelationStore
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer


def children(database: Database, *parents: str) -> list[tuple[str, str, str, str]]:
    """(parent, relation, child, sender), oldest first."""
    found = result(database.read(RelationStore().children, [EventId(parent) for parent in parents]))
    return [(one.parent_id, one.rel_type, one.event_id, one.sender) for one in found]


def has_annotated(database: Database, person: Person, parent: str, key: str) -> bool:
    answer: bool = result(
        database.read(RelationStore().has_annotated, UserId(person.user_id), EventId(parent), key)
    )
    return answer


def test_children_are_found_by_parent_until_redacted(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    first, second = alice.send(room), alice.send(room)
    reaction = bob.react(room, first)
    edit = alice.edit(room, first, "better")
    reply = bob.reply_in_thread(room, second, "reply")
    database = each_server.database
    assert children(database, first) == [
        (first, "m.annotation", reaction, bob.user_id),
        (first, "m.replace", edit, alice.user_id),
    ]
    assert [child for _, _, child, _ in children(database, second, first)] == [reaction, edit, reply]
    bob.redact(room, reaction)
    assert [child for _, _, child, _ in children(database, first)] == [edit]
    assert children(database) == children(database, "$nothing") == []


def test_many_parents_are_asked_for_at_once(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    parent = alice.send(room)
    reply = alice.reply_in_thread(room, parent, "reply")
    many = [f"$nothing{number}" for number in range(1_200)]
    assert [child for _, _, child, _ in children(each_server.database, *many, parent)] == [reply]


def test_a_reaction_counts_for_its_sender_and_key(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    parent = alice.send(room)
    reaction = bob.react(room, parent, "👍")
    database = each_server.database
    assert has_annotated(database, bob, parent, "👍")
    assert not has_annotated(database, bob, parent, "👎")
    assert not has_annotated(database, alice, parent, "👍")
    bob.redact(room, reaction)
    assert not has_annotated(database, bob, parent, "👍")


def test_malformed_relations_are_none(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    parent = alice.send(room)
    for relation in (
        {"rel_type": 1, "event_id": parent},
        {"event_id": parent},
        {"rel_type": "x", "event_id": 1},
        "x",
    ):
        alice.send(room, {"body": "x", "m.relates_to": relation})
    assert children(each_server.database, parent) == []
