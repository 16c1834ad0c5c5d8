"""The directory of public rooms.

https://spec.matrix.org/latest/client-server-api/#published-room-directory
"""

from typing import Any

import pytest

from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def listed(person: Person, **query: Any) -> list[str]:
    return [room["room_id"] for room in person.ask("GET", "/publicRooms", **query)["chunk"]]


def search(person: Person, **body: Any) -> Any:
    return person.ask("POST", "/publicRooms", body)


def found(person: Person, **filter_: Any) -> set[str]:
    return {room["room_id"] for room in search(person, filter=filter_)["chunk"]}


def set_visibility(person: Person, room: str, visibility: Any, *, refused: str | None = None) -> None:
    person.ask("PUT", path("directory", "list", "room", room), {"visibility": visibility}, refused=refused)


def test_rooms_are_listed_once_they_are_public(each_server: WholeServer) -> None:
    alice = each_server.register("alice")
    public, private = alice.create_room(visibility="public"), alice.create_room()
    assert listed(alice) == [public]
    set_visibility(alice, private, "public")
    set_visibility(alice, public, "private")
    each_server.restart()
    assert listed(alice) == [private]
    assert alice.ask("GET", path("directory", "list", "room", private)) == {"visibility": "public"}


def test_everybody_may_look(server: WholeServer, alice: Person) -> None:
    room = alice.create_room(visibility="public")
    answer = server.request("GET", "/publicRooms")
    assert [one["room_id"] for one in answer.json["chunk"]] == [room]


def test_a_listing_says_what_the_room_says_of_itself(alice: Person, bob: Person) -> None:
    room = alice.create_room(
        visibility="public",
        name="Den",
        topic="Talk",
        room_alias_name="den",
        creation_content={"type": "m.space"},
        initial_state=[
            {"type": "m.room.avatar", "content": {"url": "mxc://test/den"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
        ],
        members=[bob],
    )
    assert alice.ask("GET", "/publicRooms")["chunk"] == [
        {
            "room_id": room,
            "name": "Den",
            "topic": "Talk",
            "avatar_url": "mxc://test/den",
            "canonical_alias": "#den:test",
            "join_rule": "public",
            "room_type": "m.space",
            "num_joined_members": 2,
            "world_readable": True,
            "guest_can_join": True,
        }
    ]


def test_a_plain_room_leaves_out_what_it_has_not(alice: Person) -> None:
    alice.create_room(visibility="public")
    (room,) = alice.ask("GET", "/publicRooms")["chunk"]
    assert set(room) == {"room_id", "num_joined_members", "world_readable", "guest_can_join", "join_rule"}


def test_the_largest_rooms_come_first(alice: Person, bob: Person, carol: Person) -> None:
    small = alice.create_room(visibility="public")
    large = alice.create_room(visibility="public", members=[bob, carol])
    middle = alice.create_room(visibility="public", members=[bob])
    assert listed(alice) == [large, middle, small]


def test_empty_rooms_are_not_listed(alice: Person) -> None:
    room = alice.create_room(visibility="public")
    alice.leave(room)
    assert listed(alice) == []


def test_pages_lead_forwards_and_back(alice: Person) -> None:
    rooms = {alice.create_room(visibility="public") for _ in range(5)}
    seen: list[str] = []
    page = alice.ask("GET", "/publicRooms", limit=2)
    assert "prev_batch" not in page
    while True:
        seen += [room["room_id"] for room in page["chunk"]]
        assert page["total_room_count_estimate"] == 5
        if "next_batch" not in page:
            break
        page = alice.ask("GET", "/publicRooms", limit=2, since=page["next_batch"])
    assert set(seen) == rooms
    assert len(seen) == 5
    back = alice.ask("GET", "/publicRooms", limit=2, since=page["prev_batch"])
    assert [room["room_id"] for room in back["chunk"]] == seen[2:4]


@pytest.mark.parametrize("token", ["x", "####", "ZDE", "eDE", "ZC0x", "é"])
def test_tokens_of_others_are_refused(alice: Person, token: str) -> None:
    answer = alice.request("GET", "/publicRooms", since=token)
    assert answer.errcode == (None if token == "ZDE" else "M_INVALID_PARAM")


def test_a_search_looks_at_name_topic_and_alias(alice: Person) -> None:
    named = alice.create_room(visibility="public", name="Über Katzen")
    about = alice.create_room(visibility="public", topic="Nur KATZEN hier")
    aliased = alice.create_room(visibility="public", room_alias_name="katzenklo")
    alice.create_room(visibility="public", name="Hunde")
    assert found(alice, generic_search_term="katzen") == {named, about, aliased}
    assert found(alice, generic_search_term="ÜBER") == {named}
    assert found(alice, generic_search_term="") == {named, about, aliased} | found(
        alice, generic_search_term="hunde"
    )
    assert found(alice, generic_search_term="%") == set()


def test_a_search_can_ask_for_types(alice: Person) -> None:
    space = alice.create_room(visibility="public", creation_content={"type": "m.space"})
    plain = alice.create_room(visibility="public")
    assert found(alice, room_types=["m.space"]) == {space}
    assert found(alice, room_types=[None]) == {plain}
    assert found(alice, room_types=["m.space", None]) == {space, plain}
    assert found(alice, room_types=[]) == set()


def test_a_search_can_be_paged(alice: Person) -> None:
    for number in range(3):
        alice.create_room(visibility="public", name=f"Katzen {number}")
    alice.create_room(visibility="public", name="Hunde")
    page = search(alice, limit=2, filter={"generic_search_term": "katzen"})
    assert (len(page["chunk"]), page["total_room_count_estimate"]) == (2, 3)
    rest = search(alice, limit=2, since=page["next_batch"], filter={"generic_search_term": "katzen"})
    assert len(rest["chunk"]) == 1
    assert "next_batch" not in rest


def test_directories_of_other_servers_are_asked_for_there(alice: Person) -> None:
    alice.create_room(visibility="public")
    assert len(listed(alice, server="test")) == 1
    alice.ask("GET", "/publicRooms", server="elsewhere.example", refused="M_CONNECTION_FAILED")
    alice.ask("POST", "/publicRooms", {}, server="no server", refused="M_INVALID_PARAM")


def test_moderators_decide_about_the_directory(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob], power_level_content_override={"users": {bob.user_id: 49}})
    set_visibility(bob, room, "public", refused="M_FORBIDDEN")
    set_visibility(carol, room, "public", refused="M_FORBIDDEN")
    set_visibility(alice, room, "public")
    set_visibility(alice, room, "hidden", refused="M_BAD_JSON")
    set_visibility(alice, "!nowhere:test", "public", refused="M_NOT_FOUND")
    alice.ask("GET", path("directory", "list", "room", "!nowhere:test"), refused="M_NOT_FOUND")


def test_names_that_are_not_texts_are_left_out(alice: Person) -> None:
    odd = [{"type": type_, "content": {"name": 1, "topic": [], "url": None}} for type_ in
           ("m.room.name", "m.room.topic", "m.room.avatar")]  # fmt: skip
    room = alice.create_room(visibility="public", initial_state=odd)
    assert listed(alice) == [room]
    assert found(alice, generic_search_term="1") == set()
