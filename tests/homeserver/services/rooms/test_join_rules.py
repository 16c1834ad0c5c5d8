"""Who may come in: knocking, restricted joins, guests.

https://spec.matrix.org/latest/client-server-api/#mroomjoin_rules
"""

from typing import Any

import pytest

from tests.support.people import Person
from tests.support.whole_server import WholeServer

KNOCKABLE = ["7", "8", "9", "10", "11", "12"]
RESTRICTABLE = ["8", "9", "10", "11", "12"]


def join_rules(rule: str, *rooms: str) -> dict[str, Any]:
    """As initial_state."""
    content: dict[str, Any] = {"join_rule": rule}
    if rooms:
        content["allow"] = [{"type": "m.room_membership", "room_id": room} for room in rooms]
    return {"type": "m.room.join_rules", "content": content}


# Knocking


@pytest.mark.parametrize("version", KNOCKABLE)
def test_a_knock_is_answered_with_an_invite(alice: Person, bob: Person, version: str) -> None:
    room = alice.create_room(room_version=version, initial_state=[join_rules("knock")])
    bob.join(room, refused="M_FORBIDDEN")
    assert bob.knock(room, reason="let me in") == {"room_id": room}
    assert alice.state_of(room, "m.room.member", bob.user_id) == {
        "membership": "knock",
        "displayname": "bob",
        "reason": "let me in",
    }
    bob.join(room, refused="M_FORBIDDEN")
    alice.invite(room, bob)
    bob.join(room)


@pytest.mark.parametrize("version", ["1", "6"])
def test_old_rooms_know_no_knocking(alice: Person, bob: Person, version: str) -> None:
    room = alice.create_room(room_version=version, initial_state=[join_rules("knock")])
    bob.knock(room, refused="M_FORBIDDEN")


@pytest.mark.parametrize("rule", ["invite", "public", "private"])
def test_only_rooms_that_say_so_are_knocked_at(alice: Person, bob: Person, rule: str) -> None:
    room = alice.create_room(initial_state=[join_rules(rule)])
    bob.knock(room, refused="M_FORBIDDEN")


def test_a_knock_can_be_taken_back_or_turned_down(alice: Person, bob: Person) -> None:
    room = alice.create_room(initial_state=[join_rules("knock")])
    bob.knock(room)
    bob.leave(room)
    assert alice.membership_of(room, bob) == "leave"
    bob.knock(room)
    alice.kick(room, bob)
    assert alice.membership_of(room, bob) == "leave"
    alice.ban(room, bob)
    bob.knock(room, refused="M_FORBIDDEN")


def test_members_and_invited_people_do_not_knock(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob], invite=[carol.user_id], initial_state=[join_rules("knock")])
    bob.knock(room, refused="M_FORBIDDEN")
    carol.knock(room, refused="M_FORBIDDEN")


def test_knocks_reach_a_room_by_its_alias(alice: Person, bob: Person) -> None:
    room = alice.create_room(room_alias_name="den", initial_state=[join_rules("knock")])
    assert bob.knock("#den:test") == {"room_id": room}
    bob.knock("#nowhere:test", refused="M_NOT_FOUND")
    bob.knock("!nowhere:test", refused="M_NOT_FOUND")


# Restricted rooms


@pytest.mark.parametrize("version", RESTRICTABLE)
def test_members_of_an_allowed_room_come_in(alice: Person, bob: Person, carol: Person, version: str) -> None:
    club = alice.create_room(members=[bob])
    room = alice.create_room(room_version=version, initial_state=[join_rules("restricted", club)])
    bob.join(room)
    content = alice.state_of(room, "m.room.member", bob.user_id)
    assert content["join_authorised_via_users_server"] == alice.user_id
    carol.join(room, refused="M_FORBIDDEN")


def test_one_of_several_conditions_is_enough(alice: Person, bob: Person) -> None:
    clubs = [alice.create_room(), alice.create_room(members=[bob]), "!nowhere:test"]
    bob.join(alice.create_room(initial_state=[join_rules("restricted", *clubs)]))


def test_a_room_that_nobody_here_is_in_lets_nobody_here_in(alice: Person, bob: Person) -> None:
    """Whoever were in it, this server would be too."""
    left = alice.create_room()
    alice.leave(left)
    for club in ("!nowhere:else.example", left):
        bob.join(alice.create_room(initial_state=[join_rules("restricted", club)]), refused="M_FORBIDDEN")


def test_nobody_authorises_themselves(alice: Person, bob: Person, carol: Person) -> None:
    club = alice.create_room(members=[carol])
    room = alice.create_room(initial_state=[join_rules("restricted", club)])
    content = {"membership": "join", "join_authorised_via_users_server": alice.user_id}
    for person, refused in ((bob, "M_FORBIDDEN"), (carol, None)):
        person.set_state(room, "m.room.member", content, state_key=person.user_id, refused=refused)
    assert set(alice.members(room)) == {alice.user_id, carol.user_id}
    named = {**content, "join_authorised_via_users_server": bob.user_id, "displayname": "Carla"}
    carol.set_state(room, "m.room.member", named, state_key=carol.user_id)
    expected = {"membership": "join", "displayname": "Carla"}
    assert alice.state_of(room, "m.room.member", carol.user_id) == expected


def test_who_left_the_allowed_room_stays_out(alice: Person, bob: Person) -> None:
    club = alice.create_room(members=[bob])
    room = alice.create_room(initial_state=[join_rules("restricted", club)])
    bob.leave(club)
    bob.join(room, refused="M_FORBIDDEN")
    alice.invite(room, bob)
    bob.join(room)


def test_conditions_of_unknown_kinds_let_nobody_in(alice: Person, bob: Person) -> None:
    odd = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": [{"type": "x"}, 1]}}
    bob.join(alice.create_room(initial_state=[odd]), refused="M_FORBIDDEN")
    none = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": "all"}}
    bob.join(alice.create_room(initial_state=[none]), refused="M_FORBIDDEN")


def test_somebody_who_may_invite_must_be_there(alice: Person, bob: Person, carol: Person) -> None:
    club = alice.create_room(members=[bob, carol])
    room = alice.create_room(
        members=[carol],
        room_version="11",
        initial_state=[join_rules("restricted", club)],
        power_level_content_override={"invite": 50},
    )
    alice.leave(room)
    bob.join(room, refused="M_FORBIDDEN")


def test_rooms_of_both_rules_take_members_and_knocks(alice: Person, bob: Person, carol: Person) -> None:
    club = alice.create_room(members=[bob])
    room = alice.create_room(initial_state=[join_rules("knock_restricted", club)])
    bob.join(room)
    carol.join(room, refused="M_FORBIDDEN")
    carol.knock(room)
    alice.invite(room, carol)
    carol.join(room)


def test_the_banned_stay_out_of_restricted_rooms(alice: Person, bob: Person) -> None:
    club = alice.create_room(members=[bob])
    room = alice.create_room(initial_state=[join_rules("restricted", club)])
    alice.ban(room, bob)
    bob.join(room, refused="M_FORBIDDEN")


def test_a_member_of_a_restricted_room_changes_their_name(alice: Person, bob: Person) -> None:
    club = alice.create_room(members=[bob])
    room = alice.create_room(initial_state=[join_rules("restricted", club)])
    bob.join(room)
    bob.leave(club)
    bob.ask("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "Robert"})
    assert alice.state_of(room, "m.room.member", bob.user_id)["displayname"] == "Robert"
    assert alice.membership_of(room, bob) == "join"


# Guests


def test_guests_come_where_they_are_welcome(server: WholeServer, alice: Person) -> None:
    guest = server.register_guest()
    welcome = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    room = alice.create_room(preset="public_chat", initial_state=[welcome])
    guest.join(room)
    guest.send(room, "hello")
    closed = alice.create_room(preset="public_chat")
    guest.join(closed, refused="M_GUEST_ACCESS_FORBIDDEN")
    join = {"membership": "join"}
    guest.set_state(
        closed, "m.room.member", join, state_key=guest.user_id, refused="M_GUEST_ACCESS_FORBIDDEN"
    )


def test_guests_are_shown_out_when_they_are_no_longer_welcome(server: WholeServer, alice: Person) -> None:
    guest = server.register_guest()
    welcome = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    room = alice.create_room(preset="public_chat", initial_state=[welcome])
    guest.join(room)
    alice.set_state(room, "m.room.guest_access", {"guest_access": "forbidden"})
    assert alice.membership_of(room, guest) == "leave"
    assert alice.membership_of(room, alice) == "join"
    guest.join(room, refused="M_GUEST_ACCESS_FORBIDDEN")
