"""What people here see of other servers: directories, profiles, spaces, and history from before they came."""

from typing import Any

import pytest

from homeserver.runtime.http_client import HttpAnswer
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.federation import Federation
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer

V1 = "/_matrix/client/v1"


# Directories


def test_the_public_rooms_of_another_server(federation: Federation, alice: Person, bob: Person) -> None:
    rooms = {alice.create_room(visibility="public", name=f"Room {n}") for n in range(3)}
    page = bob.ask("GET", "/publicRooms", server="one", limit=2)
    rest = bob.ask("GET", "/publicRooms", server="one", since=page["next_batch"])
    assert {room["room_id"] for room in (*page["chunk"], *rest["chunk"])} == rooms
    body = {"filter": {"generic_search_term": "room 2", "room_types": [None]}}
    found = bob.ask("POST", "/publicRooms", body, server="one")["chunk"]
    assert [room["name"] for room in found] == ["Room 2"]
    nobody = bob.server.request("GET", "/publicRooms", server="one")
    assert nobody.errcode == "M_MISSING_TOKEN"
    wrong = bob.server.request("GET", "/publicRooms", token="nonsense", server="one")
    assert wrong.errcode == "M_UNKNOWN_TOKEN"


def test_an_alias_of_a_server_that_is_away(federation: Federation, bob: Person) -> None:
    bob.ask("GET", "/directory/room/%23den:gone.example", refused="M_NOT_FOUND")


@pytest.mark.parametrize(("status", "says"), [(404, "does not exist"), (403, "does not tell: ")])
def test_that_there_is_no_such_alias_is_said_only_when_its_server_says_so(
    federation: Federation, bob: Person, status: int, says: str
) -> None:
    refusal = b'{"errcode":"M_NOT_FOUND","error":"nothing for you"}'
    federation.network.add("odd.example", lambda _: HttpAnswer(status, {}, refusal))
    answer = bob.request("GET", "/directory/room/%23den:odd.example")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    assert says in answer.json["error"]


def test_a_canonical_alias_may_be_that_of_another_server(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat", room_alias_name="den")
    federation.join(bob, room, via="one")
    users = {alice.user_id: 100, bob.user_id: 100}
    other = bob.create_room(room_version="11", power_level_content_override={"users": users})
    bob.set_state(other, "m.room.canonical_alias", {"alias": "#den:one"}, refused="M_BAD_ALIAS")
    bob.set_state(other, "m.room.canonical_alias", {"alias": "#no:one"}, refused="M_BAD_ALIAS")


# Profiles


def test_profiles_of_other_servers_are_asked_for_and_remembered(
    federation: Federation, alice: Person, bob: Person
) -> None:
    alice.ask("PUT", f"/profile/{alice.user_id}/displayname", {"displayname": "Alice"})
    for _ in range(2):
        assert bob.ask("GET", f"/profile/{alice.user_id}")["displayname"] == "Alice"
    assert bob.ask("GET", f"/profile/{alice.user_id}/displayname") == {"displayname": "Alice"}
    bob.ask("GET", f"/profile/{alice.user_id}/m.tz", refused="M_NOT_FOUND")
    asked = [request for _, request in federation.network.sent if "/query/profile" in request.path]
    assert len(asked) == 1
    alice.ask("PUT", f"/profile/{alice.user_id}/displayname", {"displayname": "Al"})
    federation.time.advance(301)
    assert bob.ask("GET", f"/profile/{alice.user_id}")["displayname"] == "Al"


def test_a_profile_is_asked_for_again_when_a_shared_room_shows_that_it_changed(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat")
    federation.join(bob, room, via="one")
    alice.ask("PUT", f"/profile/{alice.user_id}/displayname", {"displayname": "Alice"})
    federation.time.advance(5)
    assert bob.ask("GET", f"/profile/{alice.user_id}")["displayname"] == "Alice"
    before = len(federation.network.sent)
    alice.send(room, "no news of her name")
    federation.time.advance(5)
    bob.ask("GET", f"/profile/{alice.user_id}")
    assert not [one for _, one in federation.network.sent[before:] if "/query/profile" in one.path]
    alice.ask("PUT", f"/profile/{alice.user_id}/displayname", {"displayname": "Al"})
    federation.time.advance(5)
    assert bob.ask("GET", f"/profile/{alice.user_id}")["displayname"] == "Al"


def test_there_is_no_profile_of_who_is_not_there(federation: Federation, alice: Person, bob: Person) -> None:
    bob.ask("GET", "/profile/@nobody:one", refused="M_NOT_FOUND")
    bob.ask("GET", "/profile/@x:gone.example", refused="M_NOT_FOUND")
    before = len(federation.network.sent)
    bob.ask("GET", "/profile/@nobody:one", refused="M_NOT_FOUND")
    assert len(federation.network.sent) == before
    assert alice.user_id


def test_strangers_do_not_make_the_server_ask_around(databases: Databases, time: FakeClock) -> None:
    settings = (
        "server_name: test\nregistration: {mode: open}\npasswords: {hash_passes: 1, hash_memory_kib: 8}"
    )
    server = WholeServer(databases.fresh("sqlite"), time, settings=settings)
    paths = [
        "/profile/@u{}:gone.example",
        "/profile/@u{}:gone.example/displayname",
        "/directory/room/%23a{}:x",
    ]
    answers = [server.request("GET", path.format(n)).errcode for n in range(15) for path in paths]
    assert set(answers[:30]) == {"M_NOT_FOUND"}
    assert set(answers[30:]) == {"M_LIMIT_EXCEEDED"}
    alice = server.register("alice")
    assert alice.request("GET", "/profile/@more:gone.example").errcode == "M_NOT_FOUND"
    assert server.request("GET", f"/profile/{alice.user_id}").status == 200
    server.stop()


# Spaces


def tree(person: Person, room: str, *, refused: str | None = None, **query: Any) -> Any:
    query = {"from": query.pop("start", None), **query}
    return person.ask("GET", f"{V1}/rooms/{room}/hierarchy", refused=refused, **query)


def names(answer: Any) -> list[str]:
    return [room.get("name", "?") for room in answer["rooms"]]


def space(person: Person, name: str, children: dict[str, str], **wishes: Any) -> str:
    """`children`: the order of each."""
    content = {"type": "m.space"}
    made = person.create_room(preset="public_chat", name=name, creation_content=content, **wishes)
    for child, order in children.items():
        via = [person.user_id.partition(":")[2]]
        person.set_state(made, "m.space.child", {"via": via, "order": order}, state_key=child)
    return made


def test_a_space_is_walked_depth_first(alice: Person) -> None:
    leaf = alice.create_room(preset="public_chat", name="Leaf")
    inner = space(alice, "Inner", {leaf: "a"})
    other = alice.create_room(preset="public_chat", name="Other")
    root = space(alice, "Root", {other: "b", inner: "a", "!unknown:gone.example": "0"})
    assert names(tree(alice, root)) == ["Root", "Inner", "Leaf", "Other"]
    assert names(tree(alice, root, max_depth=1)) == ["Root", "Inner", "Other"]
    assert names(tree(alice, root, max_depth=0)) == ["Root"]
    first = tree(alice, root, limit=2)
    assert names(first) == ["Root", "Inner"]
    assert names(tree(alice, root, start=first["next_batch"])) == ["Leaf", "Other"]
    assert "next_batch" not in tree(alice, root, limit=4)
    tree(alice, root, start=first["next_batch"], max_depth=1, refused="M_INVALID_PARAM")
    tree(alice, root, start="x", refused="M_INVALID_PARAM")
    tree(alice, root, limit=0, refused="M_INVALID_PARAM")
    assert tree(alice, root)["rooms"][0]["children_state"][1]["state_key"] == inner


def test_rooms_within_are_shown_to_those_who_could_enter(federation: Federation, alice: Person) -> None:
    dave = federation.all["one"].register("dave")
    hidden = alice.create_room(name="Hidden")
    knock = alice.create_room(name="Knock", room_version="11")
    alice.set_state(knock, "m.room.join_rules", {"join_rule": "knock"})
    root = space(alice, "Root", {hidden: "a", knock: "b"})
    assert names(tree(alice, root)) == ["Root", "Hidden", "Knock"]
    assert names(tree(dave, root)) == ["Root", "Knock"]
    alice.invite(hidden, dave)
    assert names(tree(dave, root)) == ["Root", "Hidden", "Knock"]
    tree(dave, alice.create_room(), refused="M_FORBIDDEN")
    tree(dave, "!none:one", refused="M_FORBIDDEN")


def test_spaces_that_name_one_another_end(alice: Person) -> None:
    one = space(alice, "One", {})
    two = space(alice, "Two", {one: "a"})
    alice.set_state(one, "m.space.child", {"via": ["one"]}, state_key=two)
    assert names(tree(alice, one)) == ["One", "Two"]


def test_a_space_goes_on_at_another_server(federation: Federation, alice: Person, bob: Person) -> None:
    leaf = alice.create_room(preset="public_chat", name="Leaf")
    hidden = alice.create_room(name="Hidden")
    inner = space(alice, "Inner", {leaf: "a", hidden: "b"})
    root = bob.create_room(preset="public_chat", name="Root", creation_content={"type": "m.space"})
    bob.set_state(root, "m.space.child", {"via": ["gone.example", "one"]}, state_key=inner)
    assert names(tree(bob, root)) == ["Root", "Inner", "Leaf"]
    before = len(federation.network.sent)
    assert names(tree(bob, root)) == ["Root", "Inner", "Leaf"]
    assert len(federation.network.sent) == before


def test_a_space_elsewhere_is_asked_about_again_when_something_here_changes(
    federation: Federation, alice: Person, bob: Person
) -> None:
    inner = space(alice, "Inner", {})
    root = bob.create_room(preset="public_chat", name="Root", creation_content={"type": "m.space"})
    bob.set_state(root, "m.space.child", {"via": ["gone.example"]}, state_key=inner)
    assert names(tree(bob, root)) == ["Root"]
    bob.set_state(root, "m.space.child", {"via": ["one"]}, state_key=inner)
    assert names(tree(bob, root)) == ["Root", "Inner"]


def test_what_is_remembered_of_spaces_elsewhere_is_bounded(
    federation: Federation, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = federation.all["two"].services.rooms.spaces
    spaces._remembered._max_size = 4_000
    large = [space(alice, f"{number}" * 2_000, {}) for number in range(4)]
    root = bob.create_room(preset="public_chat", name="Root", creation_content={"type": "m.space"})
    for inner in large:
        bob.set_state(root, "m.space.child", {"via": ["one"]}, state_key=inner)
    assert len(names(tree(bob, root))) == 5
    assert len(spaces._remembered) <= 1


def test_rooms_are_looked_at_before_coming_in(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", name="Den", room_alias_name="den", room_version="11")
    seen = bob.ask("GET", f"{V1}/room_summary/%23den:one")
    assert (seen["room_id"], seen["name"], seen["membership"]) == (room, "Den", "leave")
    assert seen["room_version"] == "11"
    assert "children_state" not in seen
    own = alice.ask("GET", f"{V1}/room_summary/{room}")
    assert own["membership"] == "join"
    anybody = federation.all["one"].request("GET", f"{V1}/room_summary/{room}")
    assert "membership" not in anybody.json
    closed = alice.create_room()
    assert federation.all["one"].request("GET", f"{V1}/room_summary/{closed}").errcode == "M_NOT_FOUND"
    bob.ask("GET", f"{V1}/room_summary/{closed}", refused="M_NOT_FOUND", via="one")
    bob.ask("GET", f"{V1}/room_summary/!none:one", refused="M_NOT_FOUND")


# History


def test_history_from_before_the_join_is_fetched_when_it_is_read(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.send_many(room, [f"message {n}" for n in range(250)])
    federation.join(bob, room, via="one")
    read: list[str] = []
    start = None
    for _ in range(30):
        page = bob.messages(room, limit=20, start=start)
        read += page.texts
        if page.end is None:
            break
        start = page.end
    assert read == [f"message {n}" for n in reversed(range(250))]
    assert bob.messages(room, limit=500).events[-1]["type"] == "m.room.create"


def test_history_ends_where_nobody_can_be_asked(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.send_many(room, ["old", "older"])
    federation.join(bob, room, via="one")
    federation.part("one", "two")
    page = bob.messages(room, limit=50)
    assert "old" not in page.texts
    while page.end is not None and page.events:
        page = bob.messages(room, limit=50, start=page.end)
    assert page.end is None
    federation.network.heal()
    federation.time.advance(3_600)
    assert bob.messages(room, limit=50).texts == ["older", "old"]


def test_hidden_history_stays_hidden(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    alice.send(room, "secret")
    federation.join(bob, room, via="one")
    alice.send(room, "for bob")
    federation.settle()
    assert bob.messages(room, limit=100).texts == ["for bob"]


def test_the_event_nearest_to_a_time_long_ago(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    first = alice.send(room, "long ago")
    then = federation.time.now_ms()
    federation.time.advance(86_400)
    alice.send_many(room, [f"{n}" for n in range(30)])
    federation.join(bob, room, via="one")
    found = bob.ask("GET", f"{V1}/rooms/{room}/timestamp_to_event", ts=then, dir="b")
    assert found["event_id"] == first
    assert bob.context(room, first)["event"]["content"]["body"] == "long ago"


@pytest.mark.parametrize("dir", ["f", "b"])
def test_the_event_nearest_to_a_time_shortly_before_the_join(
    federation: Federation, alice: Person, bob: Person, dir: str
) -> None:
    """What is known here is near, too: the join. Nearer is what the others have."""
    room = alice.create_room(preset="public_chat", room_version="11")
    before = alice.send(room, "before")
    federation.time.advance(1)
    then = federation.time.now_ms()
    federation.time.advance(1)
    after = alice.send(room, "after")
    federation.join(bob, room, via="one")
    found = bob.ask("GET", f"{V1}/rooms/{room}/timestamp_to_event", ts=then, dir=dir)
    assert found["event_id"] == {"f": after, "b": before}[dir]


def test_nobody_is_asked_for_an_event_that_can_only_be_here(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.send_many(room, [f"{number}" for number in range(30)])
    federation.join(bob, room, via="one")
    federation.time.advance(1)
    then = federation.time.now_ms()
    sent = bob.send(room, "here")
    federation.settle()
    before = len(federation.network.sent)
    found = bob.ask("GET", f"{V1}/rooms/{room}/timestamp_to_event", ts=then, dir="f")
    assert found["event_id"] == sent
    assert len(federation.network.sent) == before


def test_path_segments_are_encoded(bob: Person) -> None:
    assert path("join", "!a/b:one") == "/join/%21a%2Fb%3Aone"
    bob.join("!a/b:one", refused="M_NOT_FOUND")
