"""What members of one server see of those who come, go, knock and are turned away on others."""

from typing import Any

import pytest

from tests.support.federation import Federation
from tests.support.people import Person, path


def seen(federation: Federation, room: str, whom: Person, *witnesses: Person) -> set[str]:
    """What the witnesses take somebody's membership for."""
    federation.settle()
    return {witness.members(room).get(whom.user_id, "none") for witness in witnesses}


def come(person: Person, room: str, *via: str, refused: str | None = None) -> None:
    """Join by these servers, in this order."""
    query = "&".join(f"via={server}" for server in via)
    answer = person.request("POST", f"/_matrix/client/v3/join/{room}?{query}", {})
    assert answer.errcode == refused, answer.json


def rules(join_rule: str, *rooms: str, **wishes: Any) -> dict[str, Any]:
    """As wishes for a new room."""
    allow = [{"type": "m.room_membership", "room_id": room} for room in rooms]
    content = {"join_rule": join_rule, "allow": allow}
    return {"initial_state": [{"type": "m.room.join_rules", "content": content}], **wishes}


# Invites


def test_all_servers_hear_that_an_invite_was_refused(
    federation: Federation, alice: Person, bob: Person, carol: Person
) -> None:
    room = alice.create_room(preset="public_chat")
    come(carol, room, "one")
    alice.invite(room, bob)
    assert seen(federation, room, bob, alice, carol) == {"invite"}
    bob.leave(room)
    assert seen(federation, room, bob, alice, carol) == {"leave"}


def test_an_invite_is_refused_as_often_as_it_comes(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room()
    for _ in range(3):
        alice.invite(room, bob)
        assert room in bob.sync().invites
        bob.leave(room)
        assert seen(federation, room, bob, alice) == {"leave"}
        assert room in bob.sync().left


def test_an_invite_to_a_room_that_all_have_left(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    bob.sync()
    alice.leave(room)
    federation.settle()
    come(bob, room, "one", refused="M_NOT_FOUND")
    bob.leave(room)
    assert room in bob.sync().left
    assert bob.sync(since=None).invites == {}


def test_an_invite_is_refused_where_the_server_is_in_the_room(
    federation: Federation, alice: Person, bob: Person
) -> None:
    dave = federation.all["two"].register("dave")
    room = alice.create_room()
    alice.invite(room, bob)
    bob.join(room)
    alice.invite(room, dave)
    federation.settle()
    assert room in dave.sync().invites
    dave.leave(room)
    assert seen(federation, room, dave, alice, bob) == {"leave"}
    assert dave.sync(since=None).invites == {}


@pytest.mark.parametrize("version", ["6", "11", "12"])
def test_a_join_says_which_invite_it_follows(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    room = alice.create_room(invite=[bob.user_id], is_direct=True, room_version=version)
    bob.sync()
    bob.join(room)
    synced = bob.sync()
    (own,) = [
        event
        for event in [*synced.timeline(room), *synced.state(room).values()]
        if event.get("state_key") == bob.user_id and event["content"]["membership"] == "join"
    ]
    unsigned = own["unsigned"]
    assert unsigned["prev_content"] == {"membership": "invite", "is_direct": True}
    assert unsigned["prev_sender"] == alice.user_id


def test_who_was_banned_is_let_in_again(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    come(bob, room, "one")
    bob.sync()
    alice.ban(room, bob)
    federation.settle()
    assert room in bob.sync().left
    come(bob, room, "one", refused="M_FORBIDDEN")
    alice.unban(room, bob)
    federation.settle()
    alice.invite(room, bob)
    assert room in bob.sync().invites
    come(bob, room, "one")
    assert seen(federation, room, bob, alice, bob) == {"join"}


# Knocks


@pytest.mark.parametrize(("version", "rule"), [("7", "knock"), ("10", "knock_restricted"), ("12", "knock")])
def test_a_knock_from_elsewhere_from_beginning_to_end(
    federation: Federation, alice: Person, bob: Person, carol: Person, version: str, rule: str
) -> None:
    room = alice.create_room(room_version=version, invite=[carol.user_id])
    carol.join(room)

    def knock(reason: str | None = None, *, refused: str | None = None) -> None:
        body = {} if reason is None else {"reason": reason}
        bob.ask("POST", path("knock", room), body, via="one", refused=refused)

    knock("Can I knock anyway?", refused="M_FORBIDDEN")
    alice.set_state(room, "m.room.join_rules", {"join_rule": rule})
    come(bob, room, "one", refused="M_FORBIDDEN")
    for reason in ("Let me in", "I like knocking"):
        knock(reason)
        assert room in bob.sync().knocks
        assert seen(federation, room, bob, alice, carol) == {"knock"}
        assert alice.state_of(room, "m.room.member", bob.user_id)["reason"] == reason
    bob.leave(room)
    assert seen(federation, room, bob, alice, carol) == {"leave"}
    knock("Again")
    federation.settle()
    alice.kick(room, bob, reason="I do not think so")
    assert seen(federation, room, bob, alice, carol) == {"leave"}
    assert room in bob.sync().left
    knock()
    assert "reason" not in alice.state_of(room, "m.room.member", bob.user_id)
    alice.invite(room, bob)
    federation.settle()
    assert room in bob.sync().invites
    knock("Am I invited?", refused="M_FORBIDDEN")
    bob.join(room)
    knock("Am I in?", refused="M_FORBIDDEN")
    alice.ban(room, bob)
    federation.settle()
    knock("I did not mean it", refused="M_FORBIDDEN")


@pytest.mark.parametrize("rule", ["knock", "knock_restricted", "public"])
def test_the_directory_says_how_one_gets_in(
    federation: Federation, alice: Person, bob: Person, rule: str
) -> None:
    alice.create_room(visibility="public", preset="private_chat", **rules(rule))
    for person, query in ((alice, {}), (bob, {"server": "one"})):
        (listed,) = person.ask("GET", "/publicRooms", **query)["chunk"]
        assert listed["join_rule"] == rule


# Restricted rooms


@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
def test_who_gets_into_a_restricted_room_elsewhere(
    federation: Federation, alice: Person, bob: Person, rule: str
) -> None:
    club = alice.create_room(preset="public_chat")
    room = alice.create_room(room_version="10", **rules(rule, club))
    come(bob, room, "one", refused="M_FORBIDDEN")
    come(bob, club, "one")
    come(bob, room, "one")
    unused = {"membership": "join", "displayname": "Robert", "join_authorised_via_users_server": "unused"}
    bob.set_state(room, "m.room.member", unused, state_key=bob.user_id)
    assert seen(federation, room, bob, alice, bob) == {"join"}
    assert alice.state_of(room, "m.room.member", bob.user_id)["displayname"] == "Robert"
    for place in (room, club):
        bob.leave(place)
    federation.settle()
    come(bob, room, "one", refused="M_FORBIDDEN")
    alice.invite(room, bob)
    come(bob, room, "one")
    bob.leave(room)
    come(bob, club, "one")
    federation.settle()
    for allow in (["invalid"], "invalid", [{"type": "m.room_membership"}], None):
        alice.set_state(room, "m.room.join_rules", {"join_rule": rule, "allow": allow})
        come(bob, room, "one", refused="M_FORBIDDEN")


def test_others_let_in_whom_the_server_itself_cannot(
    federation: Federation, alice: Person, bob: Person
) -> None:
    """And once they are gone and its own members may invite, those do."""
    club = alice.create_room(preset="public_chat", room_version="11")
    levels = {"invite": 50, "users": {alice.user_id: 100}}
    room = alice.create_room(
        room_version="11", power_level_content_override=levels, **rules("restricted", club)
    )
    dave = federation.all["two"].register("dave")
    alice.invite(room, bob)
    bob.join(room)
    bob.invite(room, dave, refused="M_FORBIDDEN")
    come(dave, room, "two", refused="M_FORBIDDEN")
    come(dave, club, "one")
    come(dave, room, "two")
    assert seen(federation, room, dave, alice, bob) == {"join"}
    alice.set_state(room, "m.room.power_levels", {"invite": 0, "users": {alice.user_id: 100}})
    alice.leave(room)
    federation.settle()
    dave.leave(room)
    come(dave, room, "two")
    assert seen(federation, room, dave, bob) == {"join"}
    authoriser = bob.state_of(room, "m.room.member", dave.user_id)["join_authorised_via_users_server"]
    assert authoriser == bob.user_id


def test_who_cannot_tell_leaves_it_to_others(
    federation: Federation, alice: Person, bob: Person, carol: Person
) -> None:
    club = alice.create_room(preset="public_chat")
    levels = {"invite": 100, "users": {alice.user_id: 100}}
    room = alice.create_room(
        room_version="11", power_level_content_override=levels, **rules("restricted", club)
    )
    for person in (bob, carol):
        come(person, club, "one")
    come(bob, room, "one")
    federation.settle()
    federation.part("one")
    come(carol, room, "two", refused="M_UNABLE_TO_GRANT_JOIN")
    federation.heal()
    come(carol, room, "two", "one")
    assert seen(federation, room, carol, alice, bob, carol) == {"join"}

    levels["users"][bob.user_id] = 100
    alice.set_state(room, "m.room.power_levels", levels)
    carol.leave(room)
    bob.leave(club)
    federation.settle()
    federation.part("one")
    come(carol, room, "two", refused="M_UNABLE_TO_AUTHORISE_JOIN")
    federation.heal()
    come(carol, room, "two", "one")
    assert seen(federation, room, carol, alice, bob, carol) == {"join"}
    content = bob.state_of(room, "m.room.member", carol.user_id)
    assert content["join_authorised_via_users_server"] == alice.user_id


@pytest.mark.parametrize("version", ["11", "12"])
def test_a_member_with_the_power_lets_in_without_asking_others(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    club = alice.create_room(preset="public_chat")
    room = alice.create_room(room_version=version, **rules("restricted", club))
    dave = federation.all["two"].register("dave")
    for person in (bob, dave):
        come(person, club, "one")
    come(bob, room, "one")
    users = {bob.user_id: 50} if version == "12" else {alice.user_id: 100, bob.user_id: 50}
    alice.set_state(room, "m.room.power_levels", {"invite": 50, "users": users})
    federation.settle()
    come(dave, room, "two")
    assert seen(federation, room, dave, alice, bob) == {"join"}
    content = alice.state_of(room, "m.room.member", dave.user_id)
    assert content["join_authorised_via_users_server"] == bob.user_id


def test_a_space_shows_its_restricted_rooms_to_members(
    federation: Federation, alice: Person, bob: Person
) -> None:
    dave = federation.all["one"].register("dave")
    readable = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    space = alice.create_room(
        preset="public_chat", creation_content={"type": "m.space"}, initial_state=[readable]
    )
    here = alice.create_room(room_version="8", **rules("restricted", space))
    there = bob.create_room(room_version="8", **rules("restricted", space))
    alice.set_state(space, "m.space.child", {"via": ["one"]}, state_key=here)
    alice.set_state(space, "m.space.child", {"via": ["two"]}, state_key=there)

    def shown(person: Person) -> set[str]:
        federation.time.advance(3_600)  # nothing that others told is remembered for so long
        answer = person.ask("GET", f"/_matrix/client/v1/rooms/{space}/hierarchy")
        return {room["room_id"] for room in answer["rooms"]}

    assert (shown(alice), shown(dave)) == ({space, here}, {space})
    come(bob, space, "one")
    federation.settle()
    assert (shown(alice), shown(dave)) == ({space, here, there}, {space})
    dave.join(space)
    federation.settle()
    assert shown(dave) == {space, here, there}


# Redactions and upgrades


@pytest.mark.parametrize("version", ["6", "11"])
def test_what_is_not_known_here_is_redacted_elsewhere(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    levels = {"redact": 0}
    room = alice.create_room(preset="public_chat", room_version=version, power_level_content_override=levels)
    early = alice.send(room, "from before you came")
    come(bob, room, "one")
    bob.redact(room, early, reason="reasons")
    federation.settle()
    assert alice.event(room, early)["content"] == {}
    messages = bob.messages(room, limit=100).events
    assert [event["content"] for event in messages if event["event_id"] == early] == [{}]
    alice.set_state(room, "m.room.power_levels", {"users": {alice.user_id: 100}, "redact": 50})
    federation.settle()
    bob.redact(room, "$notknown", refused="M_FORBIDDEN")
    bob.leave(room)
    federation.settle()
    alice.redact(room, "$notknown", refused="M_NOT_FOUND")


@pytest.mark.parametrize("by_hand", [False, True])
def test_settings_go_along_to_a_room_that_was_upgraded_elsewhere(
    federation: Federation, alice: Person, bob: Person, *, by_hand: bool
) -> None:
    dave = federation.all["two"].register("dave")
    room = alice.create_room(preset="public_chat", room_version="10")
    come(bob, room, "one")
    dave.join(room)
    for person in (bob, dave):
        person.ask("PUT", path("pushrules", "global", "room", room), {"actions": []})
    if by_hand:
        predecessor = {"room_id": room, "event_id": "$x"}
        new = alice.create_room(
            preset="public_chat", room_version="11", creation_content={"predecessor": predecessor}
        )
        alice.set_state(room, "m.room.tombstone", {"body": "Over there", "replacement_room": new})
    else:
        body = {"new_version": "11"}
        new = alice.ask("POST", path("rooms", room, "upgrade"), body)["replacement_room"]
    federation.settle()
    for person in (bob, dave):
        come(person, new, "one")
        federation.settle()
        assert person.ask("GET", path("pushrules", "global", "room", new))["actions"] == []
