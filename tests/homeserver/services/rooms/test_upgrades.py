"""A room is replaced by one of another version."""

from typing import Any

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.support.people import Person, path


def upgrade(person: Person, room: str, version: str, *, refused: str | None = None, **body: Any) -> str:
    answer = person.ask(
        "POST", path("rooms", room, "upgrade"), {"new_version": version, **body}, refused=refused
    )
    return str(answer.get("replacement_room"))


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_the_new_room_is_like_the_old_one(alice: Person, bob: Person, version: str) -> None:
    room = alice.create_room(
        preset="public_chat", name="Den", topic="Talk", members=[bob], room_version="10",
        initial_state=[{"type": "org.example.own", "content": {"a": 1}}],
    )  # fmt: skip
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    last = alice.send(room, "the last")
    new = upgrade(alice, room, version)

    create = alice.state_of(new, "m.room.create")
    assert create["room_version"] == version
    assert create["predecessor"] == {"room_id": room, "event_id": last}
    for type_ in ("m.room.name", "m.room.topic", "m.room.history_visibility", "m.room.join_rules"):
        assert alice.state_of(new, type_) == alice.state_of(room, type_)
    alice.state_of(new, "org.example.own", refused="M_NOT_FOUND")
    assert alice.members(new) == {alice.user_id: "join"}
    tombstone = alice.state_of(room, "m.room.tombstone")
    assert tombstone["replacement_room"] == new
    bob.join(new)
    bob.send(new, "here we are")


def test_nobody_talks_in_the_old_room_any_more(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", members=[bob], room_version="11")
    upgrade(alice, room, "12")
    bob.send(room, refused="M_FORBIDDEN")
    levels = alice.state_of(room, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (50, 50)


def test_aliases_and_the_place_in_the_directory_go_along(alice: Person, bob: Person) -> None:
    room = alice.create_room(visibility="public", room_alias_name="den", preset="public_chat")
    new = upgrade(alice, room, "11")
    assert bob.ask("GET", "/directory/room/%23den:test")["room_id"] == new
    assert alice.state_of(new, "m.room.canonical_alias") == {"alias": "#den:test"}
    assert alice.state_of(room, "m.room.canonical_alias") == {}
    assert bob.ask("GET", f"/directory/list/room/{new}")["visibility"] == "public"
    assert bob.ask("GET", f"/directory/list/room/{room}")["visibility"] == "private"


def test_bans_hold_in_the_new_room(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat")
    alice.ban(room, bob)
    new = upgrade(alice, room, "11")
    bob.join(new, refused="M_FORBIDDEN")


def test_spaces_keep_their_rooms(alice: Person) -> None:
    child = alice.create_room()
    space = alice.create_room(creation_content={"type": "m.space", "m.federate": False})
    alice.set_state(space, "m.space.child", {"via": ["test"]}, state_key=child)
    alice.set_state(space, "m.space.child", {}, state_key="!gone:test")
    new = upgrade(alice, space, "11")
    assert alice.state_of(new, "m.room.create")["type"] == "m.space"
    assert alice.state_of(new, "m.room.create")["m.federate"] is False
    children = {key for type_, key in alice.state(new) if type_ == "m.space.child"}
    assert children == {child}


def test_power_is_kept_where_the_new_version_lets_it(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(preset="public_chat", members=[bob, carol], room_version="9")
    users = {alice.user_id: 100, bob.user_id: 100, carol.user_id: 50}
    alice.set_state(room, "m.room.power_levels", {"users": users, "ban": "60", "events": {"m.room.name": 70}})
    new = upgrade(bob, room, "12", additional_creators=[alice.user_id])
    levels = bob.state_of(new, "m.room.power_levels")
    assert levels["users"] == {carol.user_id: 50}
    assert levels["ban"] == 60
    assert levels["events"] == {"m.room.name": 70, "m.room.tombstone": 150}
    assert bob.state_of(new, "m.room.create")["additional_creators"] == [alice.user_id]
    back = upgrade(bob, new, "11", additional_creators=[alice.user_id])
    assert bob.state_of(back, "m.room.power_levels")["users"] == {bob.user_id: 100, carol.user_id: 50}
    assert "additional_creators" not in bob.state_of(back, "m.room.create")


def test_join_rules_that_the_version_does_not_know_close_the_room(alice: Person) -> None:
    room = alice.create_room(room_version="11")
    alice.set_state(room, "m.room.join_rules", {"join_rule": "knock_restricted", "allow": []})
    assert alice.state_of(upgrade(alice, room, "10"), "m.room.join_rules")["join_rule"] == "knock_restricted"
    assert alice.state_of(upgrade(alice, room, "9"), "m.room.join_rules") == {"join_rule": "invite"}


def test_who_may_not_replace_a_room(alice: Person, bob: Person, carol: Person) -> None:
    room = alice.create_room(preset="public_chat", members=[bob])
    upgrade(bob, room, "11", refused="M_FORBIDDEN")
    upgrade(carol, room, "11", refused="M_FORBIDDEN")
    upgrade(alice, "!none:test", "11", refused="M_FORBIDDEN")
    upgrade(alice, room, "org.example", refused="M_UNSUPPORTED_ROOM_VERSION")
    upgrade(alice, room, "12", refused="M_BAD_JSON", additional_creators=["bob"])
    alice.ask("POST", path("rooms", room, "upgrade"), {}, refused="M_BAD_JSON")
    alice.state_of(room, "m.room.tombstone", refused="M_NOT_FOUND")


def test_personal_settings_go_along(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", members=[bob])
    where = path("user", bob.user_id, "rooms", room, "tags", "m.favourite")
    bob.ask("PUT", where, {"order": 0.5})
    bob.ask("PUT", path("pushrules", "global", "room", room), {"actions": ["notify"]})
    muted = {"kind": "event_match", "key": "room_id", "pattern": room}
    bob.ask("PUT", path("pushrules", "global", "override", room), {"actions": [], "conditions": [muted]})
    bob.put_account_data("m.direct", {alice.user_id: [room], "@x:test": ["!other:test"]})
    new = upgrade(alice, room, "11")
    bob.join(new)

    tags = bob.ask("GET", path("user", bob.user_id, "rooms", new, "tags"))["tags"]
    assert tags == {"m.favourite": {"order": 0.5}}
    assert bob.ask("GET", path("pushrules", "global", "room", new))["actions"] == ["notify"]
    override = bob.ask("GET", path("pushrules", "global", "override", new))
    assert override["conditions"] == [{**muted, "pattern": new}]
    direct = bob.ask("GET", path("user", bob.user_id, "account_data", "m.direct"))
    assert direct == {alice.user_id: [room, new], "@x:test": ["!other:test"]}


def test_strangers_to_the_old_room_have_nothing_to_take_along(alice: Person, carol: Person) -> None:
    room = alice.create_room(preset="public_chat")
    carol.put_account_data("m.direct", {alice.user_id: [room]})
    carol.join(upgrade(alice, room, "11"))
    direct = carol.ask("GET", path("user", carol.user_id, "account_data", "m.direct"))
    assert direct == {alice.user_id: [room]}
