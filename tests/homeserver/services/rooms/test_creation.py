"""Making rooms: every parameter, every room version.

https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3createroom
"""

from typing import Any

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.support.people import Person
from tests.support.whole_server import WholeServer

EVERY_VERSION = sorted(ROOM_VERSIONS, key=int)
OLD_VERSIONS = [version for version in EVERY_VERSION if int(version) < 12]


def order_of_state(person: Person, room: str) -> list[tuple[str, str]]:
    return [
        (event["type"], event["state_key"])
        for event in person.messages(room, dir="f", limit=100).events
        if "state_key" in event
    ]


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_room_of_every_version_works(alice: Person, bob: Person, version: str) -> None:
    room = alice.create_room(members=[bob], room_version=version, name="Den", topic="Talk")
    event_id = bob.send(room, "hello")
    alice.redact(room, event_id)
    alice.set_state(room, "m.room.name", {"name": "Study"})
    bob.leave(room)
    synced = alice.sync()
    assert synced.known_state(room)["m.room.name", ""]["content"] == {"name": "Study"}
    create = alice.state_of(room, "m.room.create")
    assert create["room_version"] == version
    assert ("creator" in create) == (int(version) <= 10)
    assert (":" in room) == (int(version) < 12)


@pytest.mark.parametrize("version", ["1", "2", "3", "10", "11", "12"])
def test_a_room_of_every_version_survives_a_restart(
    server: WholeServer, alice: Person, bob: Person, version: str
) -> None:
    room = alice.create_room(members=[bob], room_version=version)
    server.restart()
    alice.send(room, "are you there")
    bob.set_state(room, "m.room.name", {"name": "mine"}, refused="M_FORBIDDEN")
    assert bob.messages(room, limit=1).texts == ["are you there"]


def test_rooms_are_of_the_newest_version_unless_asked(alice: Person) -> None:
    assert alice.state_of(alice.create_room(), "m.room.create")["room_version"] == "12"


@pytest.mark.parametrize("version", ["0", "13", "org.example.mine", ""])
def test_unknown_versions_are_refused(alice: Person, version: str) -> None:
    refused = "M_UNSUPPORTED_ROOM_VERSION"
    answer = alice.request("POST", "/createRoom", {"room_version": version})
    assert (answer.status, answer.errcode) == (400, refused) if version else (200, None)


def test_a_version_that_is_a_number_is_refused(alice: Person) -> None:
    alice.ask("POST", "/createRoom", {"room_version": 1}, refused="M_BAD_JSON")


def test_creation_content_cannot_change_version_or_creator(alice: Person) -> None:
    content = {"room_version": "1", "creator": "@mallory:test", "m.federate": False, "type": "m.space"}
    room = alice.create_room(creation_content=content, room_version="10")
    assert alice.state_of(room, "m.room.create") == {
        "room_version": "10",
        "creator": alice.user_id,
        "m.federate": False,
        "type": "m.space",
    }


def test_first_events_come_in_the_order_of_the_specification(alice: Person, bob: Person) -> None:
    room = alice.create_room(
        invite=[bob.user_id],
        name="Den",
        topic="Talk",
        room_alias_name="den",
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
    )
    assert order_of_state(alice, room) == [
        ("m.room.create", ""),
        ("m.room.member", alice.user_id),
        ("m.room.power_levels", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.join_rules", ""),
        ("m.room.history_visibility", ""),
        ("m.room.guest_access", ""),
        ("m.room.encryption", ""),
        ("m.room.name", ""),
        ("m.room.topic", ""),
        ("m.room.member", bob.user_id),
    ]


@pytest.mark.parametrize(
    ("wishes", "join_rule", "guest_access"),
    [
        ({}, "invite", "can_join"),
        ({"visibility": "private"}, "invite", "can_join"),
        ({"visibility": "public"}, "public", "forbidden"),
        ({"preset": "private_chat"}, "invite", "can_join"),
        ({"preset": "trusted_private_chat"}, "invite", "can_join"),
        ({"preset": "public_chat"}, "public", "forbidden"),
        ({"preset": "private_chat", "visibility": "public"}, "invite", "can_join"),
    ],
)
def test_presets(alice: Person, wishes: dict[str, Any], join_rule: str, guest_access: str) -> None:
    room = alice.create_room(**wishes)
    assert alice.state_of(room, "m.room.join_rules") == {"join_rule": join_rule}
    assert alice.state_of(room, "m.room.history_visibility") == {"history_visibility": "shared"}
    assert alice.state_of(room, "m.room.guest_access") == {"guest_access": guest_access}


@pytest.mark.parametrize("visibility", ["public", "private"])
def test_visibility_is_that_of_the_directory(alice: Person, visibility: str) -> None:
    room = alice.create_room(visibility=visibility)
    assert alice.ask("GET", f"/directory/list/room/{room}") == {"visibility": visibility}


def test_unknown_presets_and_visibilities_are_refused(alice: Person) -> None:
    alice.ask("POST", "/createRoom", {"preset": "open_chat"}, refused="M_BAD_JSON")
    alice.ask("POST", "/createRoom", {"visibility": "secret"}, refused="M_BAD_JSON")


def test_topic_has_a_plain_and_a_rich_form(alice: Person) -> None:
    room = alice.create_room(topic="Talk")
    content = alice.state_of(room, "m.room.topic")
    assert content["topic"] == "Talk"
    assert content["m.topic"]["m.text"] == [{"body": "Talk", "mimetype": "text/plain"}]


def test_name_and_topic_win_over_initial_state(alice: Person) -> None:
    given = [
        {"type": "m.room.topic", "content": {"topic": "from initial state"}},
        {"type": "m.room.name", "content": {"name": "from initial state"}},
    ]
    room = alice.create_room(topic="Talk", name="Den", initial_state=given)
    assert alice.state_of(room, "m.room.topic")["topic"] == "Talk"
    assert alice.state_of(room, "m.room.name") == {"name": "Den"}
    only_given = alice.create_room(initial_state=given)
    assert alice.state_of(only_given, "m.room.topic") == {"topic": "from initial state"}


def test_initial_state_wins_over_the_preset(alice: Person) -> None:
    room = alice.create_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
            {"type": "org.example.thing", "state_key": "key", "content": {"is": "kept"}},
        ],
    )
    assert alice.state_of(room, "m.room.history_visibility") == {"history_visibility": "joined"}
    assert alice.state_of(room, "org.example.thing", "key") == {"is": "kept"}
    assert alice.state_of(room, "m.room.join_rules") == {"join_rule": "public"}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "m.room.create", "content": {"room_version": "12"}},
        {"type": "m.room.power_levels", "content": {"users": {"@mallory:test": "many"}}},
        {"type": "m.room.member", "state_key": "@bob:test", "content": {"membership": "join"}},
    ],
)
def test_initial_state_that_the_rules_refuse_makes_no_room(alice: Person, item: dict[str, Any]) -> None:
    alice.ask("POST", "/createRoom", {"initial_state": [item]}, refused="M_INVALID_ROOM_STATE")
    assert alice.joined_rooms() == set()
    assert alice.sync().joined == {}


def test_invited_people_get_an_invite(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(invite=[bob.user_id, carol.user_id, bob.user_id], is_direct=True)
    for person in (bob, carol):
        member = person.sync().invite_state(room)["m.room.member", person.user_id]
        assert member["content"]["membership"] == "invite"
        assert member["content"]["is_direct"] is True
        assert member["sender"] == alice.user_id


@pytest.mark.parametrize("user_id", ["bob", "@bob", ""])
def test_somebody_who_cannot_be_invited_makes_no_room(alice: Person, user_id: str) -> None:
    answer = alice.request("POST", "/createRoom", {"invite": [user_id], "room_alias_name": "den"})
    assert answer.status in (400, 404)
    assert alice.joined_rooms() == set()
    assert alice.request("GET", "/directory/room/%23den:test").errcode == "M_NOT_FOUND"


def test_somebody_whose_server_does_not_answer_does_not_keep_the_room_from_being_made(alice: Person) -> None:
    room = alice.create_room(invite=["@nobody:elsewhere.example"])
    assert set(alice.members(room)) == {alice.user_id}


def test_the_alias_points_to_the_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(room_alias_name="den", preset="public_chat")
    assert alice.ask("GET", "/directory/room/%23den:test") == {"room_id": room, "servers": ["test"]}
    assert alice.state_of(room, "m.room.canonical_alias") == {"alias": "#den:test"}
    assert bob.join("#den:test") == {"room_id": room}


def test_a_taken_alias_makes_no_room(alice: Person, bob: Person) -> None:
    alice.create_room(room_alias_name="den")
    bob.ask("POST", "/createRoom", {"room_alias_name": "den"}, refused="M_ROOM_IN_USE")
    assert bob.joined_rooms() == set()
    assert bob.sync().joined == {}


@pytest.mark.parametrize("localpart", ["", "a:b", "#den:test", "x" * 300, "nul\0"])
def test_bad_aliases_are_refused(alice: Person, localpart: str) -> None:
    assert alice.request("POST", "/createRoom", {"room_alias_name": localpart}).status == 400


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_the_creator_has_power_level_100(alice: Person, version: str) -> None:
    room = alice.create_room(room_version=version)
    assert alice.state_of(room, "m.room.power_levels")["users"] == {alice.user_id: 100}


def test_creators_of_version_12_stand_above_levels(alice: Person) -> None:
    room = alice.create_room()
    content = alice.state_of(room, "m.room.power_levels")
    assert content["users"] == {}
    assert content["events"]["m.room.tombstone"] == 150
    alice.set_state(room, "m.room.tombstone", {"body": "moved", "replacement_room": "!other"})


def test_trusted_chats_give_everybody_the_same_power(alice: Person, bob: Person) -> None:
    old = alice.create_room(members=[bob], preset="trusted_private_chat", room_version="11")
    assert alice.state_of(old, "m.room.power_levels")["users"] == {alice.user_id: 100, bob.user_id: 100}
    new = alice.create_room(members=[bob], preset="trusted_private_chat")
    assert alice.state_of(new, "m.room.create")["additional_creators"] == [bob.user_id]
    for room in (old, new):
        bob.set_state(room, "m.room.power_levels", {**bob.state_of(room, "m.room.power_levels"), "ban": 60})


def test_power_levels_can_be_overridden(alice: Person, bob: Person) -> None:
    override = {"users": {alice.user_id: 100, bob.user_id: 50}, "events_default": 10}
    room = alice.create_room(members=[bob], room_version="11", power_level_content_override=override)
    content = alice.state_of(room, "m.room.power_levels")
    assert content["users"] == override["users"]
    assert (content["events_default"], content["state_default"]) == (10, 50)


def test_levels_of_version_12_cannot_name_a_creator(alice: Person) -> None:
    body = {"power_level_content_override": {"users": {alice.user_id: 100}}}
    assert alice.request("POST", "/createRoom", body).status == 400


def test_additional_creators_must_be_user_ids(alice: Person) -> None:
    for given in ("@bob:test", [1], ["bob"]):
        body = {"creation_content": {"additional_creators": given}}
        assert alice.request("POST", "/createRoom", body).status == 400


def test_two_rooms_made_in_the_same_millisecond_are_two(alice: Person) -> None:
    assert len({alice.create_room() for _ in range(3)}) == 3
    assert len(alice.joined_rooms()) == 3


def test_null_stands_for_absent(alice: Person) -> None:
    body = dict.fromkeys(
        ["name", "topic", "invite", "preset", "visibility", "initial_state", "creation_content", "is_direct"]
    )
    assert alice.request("POST", "/createRoom", body).status == 200


def test_a_room_needs_no_body(alice: Person) -> None:
    assert alice.request("POST", "/createRoom", b"").status == 200


def test_content_must_be_canonical_json(alice: Person) -> None:
    alice.ask("POST", "/createRoom", {"creation_content": {"pi": 3.14}}, refused="M_BAD_JSON")
    item = {"type": "org.example", "content": {"big": 2**60}}
    alice.ask("POST", "/createRoom", {"initial_state": [item]}, refused="M_BAD_JSON")
    assert alice.joined_rooms() == set()


def test_a_name_that_is_too_long_for_an_event_is_refused(alice: Person) -> None:
    alice.ask("POST", "/createRoom", {"name": "x" * 70_000}, refused="M_TOO_LARGE")
    assert alice.joined_rooms() == set()


def test_a_new_room_is_told_to_its_creator(alice: Person) -> None:
    alice.sync()
    room = alice.create_room(name="Den")
    state = alice.sync().known_state(room)
    assert state["m.room.create", ""]["sender"] == alice.user_id
    assert state["m.room.member", alice.user_id]["content"]["membership"] == "join"
    assert state["m.room.name", ""]["content"] == {"name": "Den"}
