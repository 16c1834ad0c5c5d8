"""Coming into, knocking at, leaving and inviting to rooms of other servers, on whole servers in memory."""

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.received_rooms import ReceivedRoomStore
from tests.support.federation import Federation
from tests.support.people import Person, path

KNOCK = [version for version, row in ROOM_VERSIONS.items() if row.knock]
RESTRICTED = [version for version, row in ROOM_VERSIONS.items() if row.restricted]


# Joining


def test_an_alias_leads_to_a_room_elsewhere(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", room_alias_name="den")
    assert bob.ask("GET", "/directory/room/%23den:one") == {"room_id": room, "servers": ["one"]}
    assert bob.join("#den:one") == {"room_id": room}
    assert bob.joined_rooms() == {room}
    federation.check_agreement(room, "one", "two")


def test_the_servers_that_a_client_names_are_asked_until_one_helps(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat", room_version="12")
    bob.join(room, refused="M_NOT_FOUND")
    federation.servers("three")
    for name in ("via", "server_name"):
        bob.request("POST", path("join", room), {}, **{name: "three"})
    assert bob.joined_rooms() == set()
    answer = bob.server.request(
        "POST", f"/_matrix/client/v3/join/{room}?via=gone.example&via=three&via=one", {}, token=bob.token
    )
    assert answer.status == 200, answer.json
    assert bob.joined_rooms() == {room}


def test_two_who_come_at_once_ask_once(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    dave = federation.all["two"].register("dave")
    joins = [person.start_request("POST", path("join", room), {}, via="one") for person in (bob, dave)]
    federation.settle(2)
    assert [join.answer.status for join in joins] == [200, 200]
    asked = [request for _, request in federation.network.sent if "/make_join/" in request.path]
    assert len(asked) == 1
    federation.check_agreement(room, "one", "two")


def test_the_server_in_the_room_id_is_asked_too(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    bob.join(room)
    assert bob.joined_rooms() == {room}


def test_a_refusal_is_told_as_it_was_given(alice: Person, bob: Person) -> None:
    room = alice.create_room(room_version="11")
    bob.join(room, refused="M_FORBIDDEN")
    alice.ban(room, bob)
    bob.join(room, refused="M_FORBIDDEN")
    assert bob.joined_rooms() == set()


def test_a_room_that_was_left_by_all_of_a_server_is_joined_again_with_help(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    bob.join(room)
    bob.leave(room)
    federation.settle()
    alice.send(room, "while nobody of two was there")
    alice.set_state(room, "m.room.topic", {"topic": "new"})
    bob.join(room)
    federation.check_agreement(room, "one", "two")
    assert bob.state_of(room, "m.room.topic") == {"topic": "new"}
    alice.send(room, "welcome back")
    federation.settle()
    assert "welcome back" in bob.messages(room).texts


@pytest.mark.parametrize("membership", ["join", "knock", "leave"])
def test_a_state_event_changes_no_membership_in_a_room_the_server_has_left(
    federation: Federation, alice: Person, bob: Person, membership: str
) -> None:
    """What it has of the room is old: the endpoints ask others, a state event would not."""
    room = alice.create_room(preset="public_chat", room_version="11")
    bob.join(room)
    bob.leave(room)
    federation.settle()
    alice.set_state(room, "m.room.topic", {"topic": "new"})
    content = {"membership": membership}
    bob.set_state(room, "m.room.member", content, state_key=bob.user_id, refused="M_FORBIDDEN")
    bob.join(room)
    federation.check_agreement(room, "one", "two")


# Inviting


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_an_invite_is_shown_with_what_the_room_is_called_and_accepted(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    room = alice.create_room(name="The den", room_version=version)
    alice.invite(room, bob, reason="Come!")
    invited = bob.sync().invite_state(room)
    assert invited["m.room.name", ""]["content"] == {"name": "The den"}
    assert ("m.room.create", "") in invited
    own = invited["m.room.member", bob.user_id]
    assert own["sender"] == alice.user_id
    assert own["content"] == {"membership": "invite", "reason": "Come!"}
    assert alice.membership_of(room, bob) == "invite"

    bob.join(room)
    assert bob.joined_rooms() == {room}
    federation.check_agreement(room, "one", "two")
    assert bob.sync().invites == {}


def test_a_new_room_invites_people_elsewhere(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(
        preset="trusted_private_chat", invite=[bob.user_id, "@x:gone.example"], is_direct=True
    )
    assert bob.sync().invite_state(room)["m.room.member", bob.user_id]["content"]["is_direct"] is True
    bob.join(room)
    assert set(alice.members(room)) == {alice.user_id, bob.user_id}


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
def test_an_invite_is_refused(federation: Federation, alice: Person, bob: Person, version: str) -> None:
    room = alice.create_room(room_version=version)
    alice.invite(room, bob)
    bob.sync()
    bob.leave(room, reason="No time")
    federation.settle()
    assert alice.membership_of(room, bob) == "leave"
    assert room in bob.sync().left
    assert room not in bob.sync(since=None).invites
    bob.ask("POST", path("join", room), {}, via="one", refused="M_FORBIDDEN")


def test_an_invite_is_refused_although_nobody_can_be_told(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    federation.part("one", "two")
    bob.leave(room)
    assert room not in bob.sync(since=None).invites
    bob.forget(room)


def test_that_an_invite_was_refused_is_told_when_that_can_be(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room, other = alice.create_room(), alice.create_room()
    for place in (room, other):
        alice.invite(place, bob)
    federation.part("one", "two")
    for place in (room, other):
        bob.leave(place)
    federation.time.advance(61)
    federation.network.heal()
    assert alice.membership_of(room, bob) == "invite"
    alice.kick(other, bob)
    federation.settle()
    alice.invite(other, bob)
    assert other in bob.sync().invites
    federation.time.advance(601)
    assert alice.membership_of(room, bob) == "leave"
    assert alice.membership_of(other, bob) == "invite"


def test_that_an_invite_was_refused_is_told_after_a_restart(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    federation.part("one", "two")
    bob.leave(room, reason="No time")
    (two,) = federation.servers("two")
    federation.time.advance(61)
    two.restart()
    federation.network.heal()
    federation.time.advance(601)
    member = alice.state_of(room, "m.room.member", bob.user_id)
    assert (member["membership"], member["reason"]) == ("leave", "No time")
    two.restart()
    assert federation.read(two, ReceivedRoomStore(Identifiers()).untold_leaves) == []


def test_an_invite_is_refused_although_nobody_answers(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    federation.network.silent.add("one")
    leaving = bob.start_request("POST", path("rooms", room, "leave"), {})
    federation.time.advance(11)
    assert leaving.answer.status == 200
    assert room not in bob.sync(since=None).invites


def test_an_invite_is_taken_back(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    bob.sync()
    alice.kick(room, bob)
    federation.settle()
    assert bob.sync().ids(room)
    assert room not in bob.sync(since=None).invites
    bob.ask("POST", path("join", room), {}, via="one", refused="M_FORBIDDEN")


def test_who_blocks_invites_is_not_bothered(alice: Person, bob: Person) -> None:
    bob.put_account_data("m.invite_permission_config", {"default_action": "block"})
    room = alice.create_room()
    alice.invite(room, bob, refused="M_INVITE_BLOCKED")
    assert bob.sync().invites == {}


def test_who_does_not_exist_is_not_invited(alice: Person, federation: Federation) -> None:
    federation.servers("two")
    room = alice.create_room()
    alice.invite(room, "@nobody:two", refused="M_FORBIDDEN")
    assert set(alice.members(room)) == {alice.user_id}


def test_state_events_invite_as_well(alice: Person, bob: Person) -> None:
    room = alice.create_room()
    alice.set_state(room, "m.room.member", {"membership": "invite"}, state_key=bob.user_id)
    bob.join(room)
    assert bob.joined_rooms() == {room}


def test_an_invite_to_a_room_that_the_server_is_in_comes_with_its_events(
    federation: Federation, alice: Person, bob: Person
) -> None:
    dave = federation.servers("two")[0].register("dave")
    room = alice.create_room(preset="public_chat")
    federation.join(bob, room, via="one")
    alice.invite(room, dave)
    federation.settle()
    assert room in dave.sync().invites
    dave.join(room)
    federation.check_agreement(room, "one", "two")


# Knocking


@pytest.mark.parametrize("version", KNOCK)
def test_a_knock_is_heard_and_answered(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    room = alice.create_room(name="The den", room_version=version)
    alice.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
    bob.ask("POST", path("knock", room), {"reason": "Let me in"}, via="one")
    federation.settle()
    assert bob.sync().invite_state(room)["m.room.name", ""]["content"] == {"name": "The den"}
    assert alice.membership_of(room, bob) == "knock"

    alice.invite(room, bob)
    federation.settle()
    bob.join(room)
    federation.check_agreement(room, "one", "two")


def test_a_knock_is_taken_back(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room(room_version="11")
    alice.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
    bob.ask("POST", path("knock", room), {}, via="one")
    bob.leave(room)
    federation.settle()
    assert alice.membership_of(room, bob) == "leave"


def test_closed_rooms_take_no_knocks(alice: Person, bob: Person) -> None:
    room = alice.create_room(room_version="11")
    bob.ask("POST", path("knock", room), {}, via="one", refused="M_FORBIDDEN")
    old = alice.create_room(room_version="6", preset="public_chat")
    bob.ask("POST", path("knock", old), {}, via="one", refused="M_FORBIDDEN")


# Restricted rooms


def restricted_room(alice: Person, version: str = "11") -> tuple[str, str]:
    """A room for the members of another."""
    club = alice.create_room(preset="public_chat", room_version=version)
    room = alice.create_room(room_version=version)
    allow = [{"type": "m.room_membership", "room_id": club}]
    alice.set_state(room, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    return club, room


@pytest.mark.parametrize("version", RESTRICTED)
def test_members_of_the_other_room_come_in_signed_by_the_resident(
    federation: Federation, alice: Person, bob: Person, version: str
) -> None:
    club, room = restricted_room(alice, version)
    bob.ask("POST", path("join", room), {}, via="one", refused="M_FORBIDDEN")
    federation.join(bob, club, via="one")
    federation.join(bob, room, via="one")
    federation.check_agreement(room, "one", "two")
    pdu = federation.pdu(federation.state_of(room, "two")["m.room.member", bob.user_id], "two")
    assert pdu["content"]["join_authorised_via_users_server"] == alice.user_id
    assert set(pdu["signatures"]) == {"one", "two"}


def test_a_server_whose_members_cannot_let_anybody_in_sends_to_one_that_can(
    federation: Federation, alice: Person, bob: Person, carol: Person
) -> None:
    club, room = restricted_room(alice)
    alice.set_state(
        room, "m.room.power_levels", {"users": {alice.user_id: 100}, "invite": 50, "state_default": 50}
    )
    for person in (bob, carol):
        federation.join(person, club, via="one")
    federation.join(bob, room, via="one")
    federation.settle()
    federation.join(carol, room, via="two")
    federation.check_agreement(room, "one", "two", "three")


def test_a_member_of_the_same_server_needs_the_help_of_another_to_come_in(
    federation: Federation, alice: Person, bob: Person
) -> None:
    club, room = restricted_room(alice)
    alice.set_state(
        room, "m.room.power_levels", {"users": {alice.user_id: 100}, "invite": 50, "state_default": 50}
    )
    dave = federation.servers("two")[0].register("dave")
    federation.join(bob, club, via="one")
    federation.join(bob, room, via="one")
    dave.join(club)
    federation.settle()
    dave.join(room)
    federation.check_agreement(room, "one", "two")
    assert dave.joined_rooms() == {club, room}
