"""Room aliases, the canonical alias.

https://spec.matrix.org/latest/client-server-api/#room-aliases
"""

import pytest

from tests.support.people import Person, path
from tests.support.whole_server import WholeServer

DEN = "#den:test"
CANONICAL = "m.room.canonical_alias"


def add(person: Person, room: str, alias: str = DEN, *, refused: str | None = None) -> None:
    person.ask("PUT", path("directory", "room", alias), {"room_id": room}, refused=refused)


def remove(person: Person, alias: str = DEN, *, refused: str | None = None) -> None:
    person.ask("DELETE", path("directory", "room", alias), refused=refused)


def resolve(server: WholeServer, alias: str = DEN) -> str | None:
    answer = server.request("GET", path("directory", "room", alias))
    assert answer.errcode in (None, "M_NOT_FOUND")
    return answer.json["room_id"] if answer.status == 200 else None


def aliases_of(person: Person, room: str, *, refused: str | None = None) -> list[str]:
    found: list[str] = person.ask("GET", path("rooms", room, "aliases"), refused=refused).get("aliases", [])
    return found


@pytest.mark.parametrize("alias", [DEN, "#Wohnküche☕:test", "#a b/c?d:test"])
def test_an_alias_names_a_room(each_server: WholeServer, alias: str) -> None:
    alice = each_server.register("alice")
    room = alice.create_room()
    add(alice, room, alias)
    each_server.restart()
    assert resolve(each_server, alias) == room
    assert aliases_of(alice, room) == [alias]


def test_a_taken_alias_is_refused(alice: Person, bob: Person) -> None:
    room, other = alice.create_room(), bob.create_room()
    add(alice, room)
    for person, wanted in ((alice, room), (bob, other)):
        answer = person.request("PUT", path("directory", "room", DEN), {"room_id": wanted})
        assert (answer.status, answer.errcode) == (409, "M_UNKNOWN")


def test_only_members_name_a_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    add(bob, room, refused="M_FORBIDDEN")
    add(bob, "!nowhere:test", refused="M_NOT_FOUND")
    add(bob, "nonsense", refused="M_INVALID_PARAM")


def test_aliases_belong_to_their_server(server: WholeServer, alice: Person) -> None:
    room = alice.create_room()
    add(alice, room, "#den:elsewhere.example", refused="M_FORBIDDEN")
    add(alice, room, "den", refused="M_INVALID_PARAM")
    assert resolve(server, "#den:elsewhere.example") is None
    assert resolve(server) is None


def test_the_body_names_a_room(alice: Person) -> None:
    for body in ({}, {"room_id": 1}, {"room_id": None}):
        alice.ask("PUT", path("directory", "room", DEN), body, refused="M_BAD_JSON")


def test_who_made_an_alias_removes_it(server: WholeServer, alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    add(bob, room)
    remove(bob)
    assert resolve(server) is None
    remove(bob, refused="M_NOT_FOUND")


def test_others_need_the_power_to(server: WholeServer, alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob, carol])
    add(bob, room)
    remove(carol, refused="M_FORBIDDEN")
    assert resolve(server) == room
    remove(alice)
    assert resolve(server) is None


def test_members_list_aliases(alice: Person, bob: Person) -> None:
    room = alice.create_room(room_alias_name="den")
    add(alice, room, "#attic:test")
    assert aliases_of(alice, room) == ["#attic:test", DEN]
    aliases_of(bob, room, refused="M_FORBIDDEN")
    aliases_of(bob, "!nowhere:test", refused="M_FORBIDDEN")


def test_everybody_lists_the_aliases_of_a_room_that_everybody_reads(alice: Person, bob: Person) -> None:
    open_to_all = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    room = alice.create_room(room_alias_name="den", initial_state=[open_to_all])
    assert aliases_of(bob, room) == [DEN]


# The canonical alias


def test_the_canonical_alias_points_here(alice: Person) -> None:
    room = alice.create_room()
    add(alice, room)
    add(alice, room, "#attic:test")
    alice.set_state(room, CANONICAL, {"alias": DEN, "alt_aliases": ["#attic:test"]})
    assert alice.state_of(room, CANONICAL) == {"alias": DEN, "alt_aliases": ["#attic:test"]}
    alice.set_state(room, CANONICAL, {})


@pytest.mark.parametrize("field", ["alias", "alt_aliases"])
@pytest.mark.parametrize(
    ("alias", "refused"),
    [
        ("#nowhere:test", "M_BAD_ALIAS"),
        ("#other:test", "M_BAD_ALIAS"),
        ("#den:elsewhere.example", "M_BAD_ALIAS"),
        ("den", "M_INVALID_PARAM"),
        ("%%#:test", "M_INVALID_PARAM"),
        ("#den", "M_INVALID_PARAM"),
    ],
)
def test_other_canonical_aliases_are_refused(alice: Person, field: str, alias: str, refused: str) -> None:
    room, other = alice.create_room(), alice.create_room()
    add(alice, other, "#other:test")
    content = {field: alias if field == "alias" else [alias]}
    answer = alice.request("PUT", path("rooms", room, "state", CANONICAL, ""), content)
    assert (answer.status, answer.errcode) == (400, refused)


@pytest.mark.parametrize("content", [{"alias": 1}, {"alt_aliases": DEN}, {"alt_aliases": [1]}])
def test_canonical_aliases_are_texts(alice: Person, content: dict) -> None:
    alice.set_state(alice.create_room(), CANONICAL, content, refused="M_INVALID_PARAM")


def test_a_deleted_alias_cannot_become_canonical(alice: Person) -> None:
    room = alice.create_room()
    add(alice, room)
    remove(alice)
    alice.set_state(room, CANONICAL, {"alias": DEN}, refused="M_BAD_ALIAS")


def test_what_stood_there_before_may_stay(alice: Person) -> None:
    room = alice.create_room(members=[], room_alias_name="den")
    add(alice, room, "#attic:test")
    alice.set_state(room, CANONICAL, {"alias": DEN, "alt_aliases": ["#attic:test"]})
    alice.set_state(room, CANONICAL, {"alias": DEN, "alt_aliases": ["#attic:test"], "org.example": 1})


def test_removing_an_alias_takes_it_out_of_the_canonical_aliases(alice: Person) -> None:
    room = alice.create_room(room_alias_name="den")
    add(alice, room, "#attic:test")
    alice.set_state(room, CANONICAL, {"alias": DEN, "alt_aliases": ["#attic:test"]})
    remove(alice)
    assert alice.state_of(room, CANONICAL) == {"alt_aliases": ["#attic:test"]}
    remove(alice, "#attic:test")
    assert alice.state_of(room, CANONICAL) == {}


def test_who_may_not_change_the_room_still_removes_their_alias(
    server: WholeServer, alice: Person, bob: Person
) -> None:
    room = alice.create_room(members=[bob])
    add(bob, room)
    alice.set_state(room, CANONICAL, {"alias": DEN})
    remove(bob)
    assert resolve(server) is None
    assert alice.state_of(room, CANONICAL) == {"alias": DEN}
