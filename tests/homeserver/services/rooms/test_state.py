"""Reading state and members: now, then, and after leaving.

https://spec.matrix.org/latest/client-server-api/#getting-events-for-a-room
"""

import pytest

from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def test_state_is_all_that_stands(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="Den", room_alias_name="den")
    state = bob.state(room)
    assert set(state) == {
        ("m.room.create", ""),
        ("m.room.member", alice.user_id),
        ("m.room.member", bob.user_id),
        ("m.room.power_levels", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.join_rules", ""),
        ("m.room.history_visibility", ""),
        ("m.room.guest_access", ""),
        ("m.room.name", ""),
    }
    assert {event["room_id"] for event in state.values()} == {room}
    assert state["m.room.name", ""]["sender"] == alice.user_id


def test_state_survives_a_restart(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    for number in range(20):
        alice.set_state(room, "org.example", {"n": number}, state_key=str(number % 7))
    before = alice.state(room)
    each_server.restart()
    assert {key: event["event_id"] for key, event in alice.state(room).items()} == {
        key: event["event_id"] for key, event in before.items()
    }
    assert {event["content"].get("n") for (type_, _), event in before.items() if type_ == "org.example"} == {
        *range(13, 20)
    }


def test_one_state_event_comes_as_content_or_whole(alice: Person) -> None:
    room = alice.create_room(name="Den")
    assert alice.state_of(room, "m.room.name") == {"name": "Den"}
    assert alice.state_of(room, "m.room.name", format="content") == {"name": "Den"}
    event = alice.state_of(room, "m.room.name", format="event")
    assert (event["type"], event["sender"], event["room_id"]) == ("m.room.name", alice.user_id, room)
    alice.state_of(room, "m.room.name", format="pdf", refused="M_INVALID_PARAM")
    alice.state_of(room, "m.room.topic", refused="M_NOT_FOUND")
    alice.state_of(room, "m.room.name", "other", refused="M_NOT_FOUND")


def test_state_is_for_members(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(preset="public_chat", name="Den", invite=[carol.user_id])
    for outsider in (bob, carol):
        outsider.state(room, refused="M_FORBIDDEN")
        outsider.state_of(room, "m.room.name", refused="M_FORBIDDEN")
        outsider.members(room, refused="M_FORBIDDEN")
        outsider.state("!nowhere:test", refused="M_FORBIDDEN")
        outsider.ask("GET", path("rooms", room, "joined_members"), refused="M_FORBIDDEN")


def test_rooms_that_anybody_reads_show_their_state(alice: Person, bob: Person) -> None:
    readable = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    room = alice.create_room(name="Den", initial_state=[readable])
    assert bob.state_of(room, "m.room.name") == {"name": "Den"}
    assert bob.state(room)["m.room.name", ""]["content"] == {"name": "Den"}


def test_who_left_sees_the_state_of_then(each_server: WholeServer) -> None:
    alice, bob, carol = (each_server.register(name) for name in ("alice", "bob", "carol"))
    room = alice.create_room(members=[bob], name="Den")
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "Study"})
    alice.set_state(room, "m.room.topic", {"topic": "bob"})
    alice.invite(room, carol)
    for _ in range(2):
        assert bob.state_of(room, "m.room.name") == {"name": "Den"}
        bob.state_of(room, "m.room.topic", refused="M_NOT_FOUND")
        assert bob.members(room) == {alice.user_id: "join", bob.user_id: "leave"}
        each_server.restart()


def test_who_was_banned_sees_the_state_of_then(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], name="Den")
    alice.ban(room, bob)
    alice.set_state(room, "m.room.name", {"name": "Study"})
    alice.unban(room, bob)
    assert bob.state_of(room, "m.room.name") == {"name": "Den"}
    assert bob.members(room)[bob.user_id] == "ban"


def test_who_comes_back_sees_the_present(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], preset="public_chat", name="Den")
    bob.leave(room)
    alice.set_state(room, "m.room.name", {"name": "Study"})
    bob.join(room)
    assert bob.state_of(room, "m.room.name") == {"name": "Study"}


def test_who_turned_an_invite_down_sees_nothing(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id], name="Den")
    bob.leave(room)
    bob.state(room, refused="M_FORBIDDEN")


# Members


def test_members_can_be_asked_for_by_membership(
    server: WholeServer, alice: Person, bob: Person, carol: Person
) -> None:
    dave, erin = server.register("dave"), server.register("erin")
    room = alice.create_room(members=[bob, carol], invite=[dave.user_id])
    bob.leave(room)
    alice.ban(room, erin)
    everybody = {
        alice.user_id: "join",
        bob.user_id: "leave",
        carol.user_id: "join",
        dave.user_id: "invite",
        erin.user_id: "ban",
    }
    assert alice.members(room) == everybody
    for membership in ("join", "invite", "leave", "ban", "knock"):
        chosen = {user: value for user, value in everybody.items() if value == membership}
        assert alice.members(room, membership=membership) == chosen
        rest = {user: value for user, value in everybody.items() if value != membership}
        assert alice.members(room, not_membership=membership) == rest
    assert alice.members(room, membership="join", not_membership="join") == {}
    alice.members(room, membership="present", refused="M_INVALID_PARAM")


def test_members_at_a_sync_token(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.send(room)
    then = alice.sync().next_batch
    alice.invite(room, carol)
    bob.leave(room)
    assert alice.members(room, at=then) == {alice.user_id: "join", bob.user_id: "join"}
    assert alice.members(room, at=alice.sync().next_batch)[bob.user_id] == "leave"
    assert alice.members(room, at=then, membership="leave") == {}
    alice.members(room, at="nonsense", refused="M_INVALID_PARAM")


def test_members_at_a_page_token(alice: Person, bob: Person) -> None:
    room = alice.create_room()
    marker = alice.send(room, "before bob")
    alice.invite(room, bob)
    bob.join(room)
    alice.send_many(room, "abc")
    token = alice.messages(room, limit=1, start=alice.context(room, marker, limit=0)["end"]).start
    assert alice.members(room, at=token) == {alice.user_id: "join"}


def test_joined_members_have_names_and_pictures(alice: Person, bob: Person, carol: Person) -> None:
    alice.ask("PUT", path("profile", alice.user_id, "avatar_url"), {"avatar_url": "mxc://test/alice"})
    room = alice.create_room(members=[bob], invite=[carol.user_id])
    assert alice.ask("GET", path("rooms", room, "joined_members"))["joined"] == {
        alice.user_id: {"display_name": "alice", "avatar_url": "mxc://test/alice"},
        bob.user_id: {"display_name": "bob", "avatar_url": None},
    }


def test_joined_rooms_are_those_one_is_in(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    rooms = {alice.create_room(members=[bob]) for _ in range(3)}
    alice.create_room(invite=[bob.user_id])
    left = alice.create_room(members=[bob])
    bob.leave(left)
    assert bob.joined_rooms() == rooms
    each_server.restart()
    assert bob.joined_rooms() == rooms


@pytest.mark.parametrize("what", ["state", "members", "joined_members", "messages"])
def test_room_ids_are_checked(alice: Person, what: str) -> None:
    alice.ask("GET", path("rooms", "nonsense", what), refused="M_INVALID_PARAM")
