"""Coming and going: invite, join, leave, kick, ban, unban, forget.

https://spec.matrix.org/latest/client-server-api/#room-membership
"""

import pytest

from tests.support.clock import FakeClock
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def member_event(person: Person, room: str, whom: Person) -> dict:
    event: dict = person.state_of(room, "m.room.member", whom.user_id, format="event")
    return event


# Joining


@pytest.mark.parametrize("way", ["/join/{room}", "/rooms/{room}/join", "/join/%23den:test"])
def test_anybody_joins_a_public_room(alice: Person, bob: Person, way: str) -> None:
    room = alice.create_room(preset="public_chat", room_alias_name="den")
    assert bob.ask("POST", way.format(room=room)) == {"room_id": room}
    assert bob.joined_rooms() == {room}
    assert alice.members(room) == {alice.user_id: "join", bob.user_id: "join"}


def test_only_the_invited_join_a_private_room(alice: Person, bob: Person) -> None:
    room = alice.create_room()
    bob.join(room, refused="M_FORBIDDEN")
    alice.invite(room, bob)
    bob.join(room)


def test_joining_twice_changes_nothing(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    before = member_event(bob, room, bob)["event_id"]
    assert bob.join(room) == {"room_id": room}
    assert member_event(bob, room, bob)["event_id"] == before


def test_a_join_carries_profile_and_reason(alice: Person, bob: Person) -> None:
    bob.ask("PUT", path("profile", bob.user_id, "displayname"), {"displayname": "Bob B."})
    room = alice.create_room(invite=[bob.user_id])
    bob.join(room, reason="why not")
    assert member_event(alice, room, bob)["content"] == {
        "membership": "join",
        "displayname": "Bob B.",
        "reason": "why not",
    }


def test_rooms_that_are_not_known_cannot_be_joined(alice: Person) -> None:
    for room in ("!nowhere:test", "!nowhere:elsewhere.example", "#nowhere:test", "#x:elsewhere.example"):
        alice.join(room, refused="M_NOT_FOUND")
    alice.join("nonsense", refused="M_INVALID_PARAM")


def test_two_people_join_at_once(server: WholeServer, alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(preset="public_chat")
    server.database.hold_writes()
    joins = [person.start_request("POST", path("join", room)) for person in (bob, carol)]
    server.database.release()
    assert [join.answer.status for join in joins] == [200, 200]
    assert set(alice.members(room)) == {alice.user_id, bob.user_id, carol.user_id}
    server.restart()
    assert set(alice.members(room)) == {alice.user_id, bob.user_id, carol.user_id}


# Inviting


def test_members_invite_unless_the_levels_forbid_it(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.invite(room, carol)
    assert alice.membership_of(room, carol) == "invite"
    strict = alice.create_room(members=[bob], power_level_content_override={"invite": 50})
    bob.invite(strict, carol, refused="M_FORBIDDEN")


def test_an_invite_carries_the_profile_of_the_invited_and_a_reason(alice: Person, bob: Person) -> None:
    bob.ask("PUT", path("profile", bob.user_id, "displayname"), {"displayname": "Bob B."})
    room = alice.create_room()
    alice.invite(room, bob, reason="come")
    assert member_event(alice, room, bob)["content"] == {
        "membership": "invite",
        "displayname": "Bob B.",
        "reason": "come",
    }


def test_who_is_not_in_the_room_cannot_invite(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(preset="public_chat")
    bob.invite(room, carol, refused="M_FORBIDDEN")
    bob.invite(room, bob, refused="M_FORBIDDEN")


def test_members_and_banned_people_cannot_be_invited(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.invite(room, bob, refused="M_FORBIDDEN")
    alice.invite(room, alice, refused="M_FORBIDDEN")
    alice.ban(room, bob)
    alice.invite(room, bob, refused="M_FORBIDDEN")


def test_invites_name_somebody_who_can_be_reached(alice: Person) -> None:
    room = alice.create_room()
    alice.invite(room, "bob", refused="M_INVALID_PARAM")
    alice.invite(room, "@bob:elsewhere.example", refused="M_CONNECTION_FAILED")
    alice.ask("POST", path("rooms", room, "invite"), {}, refused="M_MISSING_PARAM")


def test_who_blocks_invites_gets_none(alice: Person, bob: Person) -> None:
    bob.put_account_data("m.invite_permission_config", {"default_action": "block"})
    room = alice.create_room()
    alice.invite(room, bob, refused="M_INVITE_BLOCKED")
    alice.set_state(
        room, "m.room.member", {"membership": "invite"}, state_key=bob.user_id, refused="M_INVITE_BLOCKED"
    )
    alice.ask("POST", "/createRoom", {"invite": [bob.user_id]}, refused="M_INVITE_BLOCKED")
    bob.put_account_data("m.invite_permission_config", {})
    alice.invite(room, bob)


def test_an_invite_can_be_turned_down_and_made_again(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    bob.leave(room)
    assert alice.membership_of(room, bob) == "leave"
    bob.join(room, refused="M_FORBIDDEN")
    alice.invite(room, bob)
    bob.join(room)


def test_an_invite_can_be_turned_down_after_everybody_left(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    alice.leave(room)
    bob.leave(room)
    assert bob.sync(since=None).invites == {}


def test_the_founder_can_leave_and_be_invited_back(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.leave(room)
    bob.invite(room, alice)
    alice.join(room)
    assert alice.joined_rooms() == {room}


# Leaving


def test_who_left_is_out(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.leave(room, reason="enough")
    assert member_event(alice, room, bob)["content"] == {"membership": "leave", "reason": "enough"}
    assert bob.joined_rooms() == set()
    bob.send(room, "still here?", refused="M_FORBIDDEN")
    bob.set_state(room, "m.room.name", {"name": "x"}, refused="M_FORBIDDEN")
    bob.ask("GET", path("rooms", room, "joined_members"), refused="M_FORBIDDEN")


def test_leaving_twice_changes_nothing(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.leave(room)
    before = member_event(alice, room, bob)["event_id"]
    bob.leave(room)
    assert member_event(alice, room, bob)["event_id"] == before


def test_who_was_never_there_cannot_leave(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    bob.leave(room, refused="M_FORBIDDEN")
    bob.leave("!nowhere:test", refused="M_FORBIDDEN")


def test_the_banned_cannot_leave(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.ban(room, bob)
    bob.leave(room, refused="M_FORBIDDEN")


# Kicking and banning


def test_moderators_kick_whom_they_stand_above(alice: Person, bob: Person, carol: Person) -> None:
    levels = {"users": {bob.user_id: 50}}
    room = alice.create_room(members=[bob, carol], power_level_content_override=levels)
    carol.kick(room, bob, refused="M_FORBIDDEN")
    bob.kick(room, alice, refused="M_FORBIDDEN")
    bob.kick(room, carol, reason="noise")
    assert member_event(alice, room, carol)["content"] == {"membership": "leave", "reason": "noise"}
    assert carol.joined_rooms() == set()


def test_who_is_not_there_cannot_be_kicked(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.kick(room, carol, refused="M_FORBIDDEN")
    bob.leave(room)
    alice.kick(room, bob, refused="M_FORBIDDEN")


def test_a_kick_takes_back_an_invite(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    alice.kick(room, bob)
    assert bob.sync().invites == {}
    bob.join(room, refused="M_FORBIDDEN")


def test_the_banned_stay_out_until_the_ban_is_lifted(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob], preset="public_chat")
    alice.ban(room, bob, reason="spam")
    assert member_event(alice, room, bob)["content"] == {"membership": "ban", "reason": "spam"}
    bob.join(room, refused="M_FORBIDDEN")
    bob.unban(room, bob, refused="M_FORBIDDEN")
    alice.unban(room, bob, reason="sorry")
    assert member_event(alice, room, bob)["content"] == {"membership": "leave", "reason": "sorry"}
    bob.join(room)


def test_somebody_who_never_came_can_be_banned(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    alice.ban(room, bob)
    bob.join(room, refused="M_FORBIDDEN")
    alice.ban(room, "@stranger:elsewhere.example")


def test_only_who_is_there_and_strong_enough_bans(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob])
    bob.ban(room, alice, refused="M_FORBIDDEN")
    bob.ban(room, carol, refused="M_FORBIDDEN")
    carol.ban(room, bob, refused="M_FORBIDDEN")


def test_who_is_not_banned_cannot_be_unbanned(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    alice.unban(room, bob, refused="M_BAD_STATE")
    assert alice.membership_of(room, bob) == "join"


def test_a_moderator_who_left_kicks_nobody(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(
        members=[bob, carol], room_version="11", power_level_content_override={"users": {alice.user_id: 100}}
    )
    alice.leave(room)
    alice.kick(room, bob, refused="M_FORBIDDEN")
    alice.ban(room, bob, refused="M_FORBIDDEN")


@pytest.mark.parametrize("what", ["kick", "ban", "unban"])
def test_bodies_name_a_user(alice: Person, what: str) -> None:
    room = alice.create_room()
    alice.ask("POST", path("rooms", room, what), {}, refused="M_BAD_JSON")
    alice.ask("POST", path("rooms", room, what), {"user_id": 1}, refused="M_BAD_JSON")
    alice.ask("POST", path("rooms", room, what), {"user_id": "bob"}, refused="M_INVALID_PARAM")


# Forgetting


def test_a_room_one_is_in_cannot_be_forgotten(alice: Person, bob: Person) -> None:
    room = alice.create_room(invite=[bob.user_id])
    alice.forget(room, refused="M_UNKNOWN")
    bob.forget(room, refused="M_UNKNOWN")
    bob.forget("!nowhere:test", refused="M_FORBIDDEN")


def test_a_forgotten_room_shows_no_messages(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room, "before")
    bob.leave(room)
    assert bob.sees(room, event_id)
    bob.forget(room)
    for what in ("messages", "members", "state"):
        bob.ask("GET", path("rooms", room, what), refused="M_FORBIDDEN", dir="b")
    assert not bob.sees(room, event_id)


def test_forgetting_survives_a_restart(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(members=[bob])
    bob.leave(room)
    bob.forget(room)
    each_server.restart()
    include = {"room": {"include_leave": True}}
    assert bob.sync(since=None, filter=include).left == {}
    bob.ask("GET", path("rooms", room, "messages"), dir="b", refused="M_FORBIDDEN")


def test_the_kicked_the_banned_and_the_uninterested_can_forget(
    alice: Person, bob: Person, carol: Person
) -> None:
    room = alice.create_room(members=[bob], invite=[carol.user_id])
    alice.kick(room, bob)
    bob.forget(room)
    carol.leave(room)
    carol.forget(room)
    alice.ban(room, carol)
    carol.forget(room)


def test_who_forgot_a_room_can_come_back(alice: Person, bob: Person) -> None:
    room = alice.create_room(members=[bob])
    event_id = alice.send(room, "before")
    bob.leave(room)
    bob.forget(room)
    alice.invite(room, bob)
    assert set(bob.sync(since=None).invites) == {room}
    bob.join(room)
    assert bob.sees(room, event_id)
    assert set(bob.sync(since=None).joined) == {room}


# Member events by hand


def test_member_events_can_be_put_by_hand(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    custom = {"membership": "join", "displayname": "Robert", "org.example.mood": "fine"}
    bob.set_state(room, "m.room.member", custom, state_key=bob.user_id)
    assert alice.state_of(room, "m.room.member", bob.user_id) == custom
    alice.set_state(room, "m.room.member", {"membership": "ban"}, state_key=bob.user_id)
    assert alice.membership_of(room, bob) == "ban"


def test_member_events_by_hand_keep_the_rules(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(members=[bob])
    join = {"membership": "join"}
    carol.set_state(room, "m.room.member", join, state_key=carol.user_id, refused="M_FORBIDDEN")
    bob.set_state(room, "m.room.member", join, state_key=carol.user_id, refused="M_FORBIDDEN")
    alice.set_state(
        room, "m.room.member", {"membership": "away"}, state_key=alice.user_id, refused="M_BAD_JSON"
    )
    alice.set_state(room, "m.room.member", {}, state_key=alice.user_id, refused="M_BAD_JSON")


@pytest.mark.parametrize("membership", ["invite", "join", "leave", "ban", "knock"])
@pytest.mark.parametrize("target", ["", "bob", "@bob", "@bob:", "@bob:test:", "!room:test"])
def test_members_are_users(alice: Person, membership: str, target: str) -> None:
    room = alice.create_room()
    answer = alice.request(
        "PUT", path("rooms", room, "state", "m.room.member", target), {"membership": membership}
    )
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    assert set(alice.members(room)) == {alice.user_id}


# Profiles in rooms


def test_a_new_name_is_told_in_every_room(alice: Person, bob: Person, time: FakeClock) -> None:
    rooms = [alice.create_room(members=[bob]), bob.create_room(members=[alice])]
    alice.sync()
    bob.ask("PUT", path("profile", bob.user_id, "displayname"), {"displayname": "Robert"})
    bob.ask("PUT", path("profile", bob.user_id, "avatar_url"), {"avatar_url": "mxc://test/bob"})
    time.advance(60)  # one change after the other
    synced = alice.sync()
    for room in rooms:
        assert [event["content"] for event in synced.timeline(room)][-1] == {
            "membership": "join",
            "displayname": "Robert",
            "avatar_url": "mxc://test/bob",
        }
