"""The authorisation rules apart from membership and power levels: who may create, send, redact."""

import pytest

from homeserver.protocol.auth_rules import check
from homeserver.protocol.auth_rules.power_levels import PowerLevels, may_redact
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Draft, Event, build
from homeserver.protocol.ids import UserId
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, CAROL, KEY, Room, versions


def refusal(room: Room, event: Event) -> str:
    with pytest.raises(AuthFailure) as failure:
        room.check(event)
    return failure.value.rule


def after_members(version: str, offset: int) -> str:
    """Rules after that for m.room.member: it is the 5th in versions 1 to 5 and 12, the 4th in between."""
    return str((4 if 6 <= int(version) <= 11 else 5) + offset)


def create_event(version: str, content: dict, *, room_id: str | None = None, prev: tuple = ()) -> Event:
    room = Room(version)
    draft = Draft(
        type="m.room.create", sender=ALICE, content=content, state_key="", depth=1, origin_server_ts=1,
        room_id=room_id or (None if version == "12" else "!r:a.example"), prev_event_ids=prev,
    )  # fmt: skip
    return build(draft, room.version, "a.example", KEY)


def create_refusal(event: Event) -> str:
    with pytest.raises(AuthFailure) as failure:
        check(event, {})
    return failure.value.rule


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_room_begins_with_its_create_event(version):
    good = {"creator": ALICE, "room_version": version}
    check(create_event(version, good), {})
    check(create_event(version, {"creator": ALICE}), {})
    assert create_refusal(create_event(version, good, prev=("$a:a",))) == "1.1"
    wrong_room = "!" + "A" * 43 if version == "12" else "!r:b.example"
    assert create_refusal(create_event(version, good, room_id=wrong_room)) == "1.2"
    for unknown in ("99", "", 12, None, ["1"]):
        assert create_refusal(create_event(version, {**good, "room_version": unknown})) == "1.3"


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_creator_is_named_until_version_10(version):
    event = create_event(version, {"room_version": version})
    if int(version) <= 10:
        assert create_refusal(event) == "1.4"
    else:
        check(event, {})


@pytest.mark.parametrize("additional", [None, "x", {}, [1], [BOB, "bob"], ["@bob"], [[BOB]]], ids=repr)
def test_additional_creators_are_user_ids_in_version_12(additional):
    assert create_refusal(create_event("12", {"additional_creators": additional})) == "1.4"
    check(create_event("11", {"additional_creators": additional}), {})
    check(create_event("12", {"additional_creators": [BOB, CAROL]}), {})
    check(create_event("12", {"additional_creators": []}), {})


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_nothing_happens_without_the_create_event(version):
    room = Room(version)
    message = room.event("m.room.message", ALICE, {})
    room.state.pop(("m.room.create", ""))
    assert refusal(room, message) == ("2" if version == "12" else "2.4")


def test_the_room_of_version_12_is_the_one_its_create_event_names():
    room, other = Room("12"), Room("12", predecessor={})
    room.state[("m.room.create", "")] = other.create
    assert refusal(room, room.event("m.room.message", ALICE, {})) == "2"


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_room_that_does_not_federate_is_for_the_users_of_one_server(version):
    room = Room(version, **{"m.federate": False})
    room.set_join_rule("public")
    assert refusal(room, room.member(BOB, "join")) == ("4" if version == "12" else "3")
    room.check(room.member(UserId("@dora:a.example"), "join"))
    for federate in (True, None, 0, "false"):
        open_room = Room(version, **{"m.federate": federate})
        open_room.set_join_rule("public")
        open_room.check(open_room.member(BOB, "join"))


@pytest.mark.parametrize("version", versions(1, 5))
def test_aliases_belong_to_servers_until_version_5(version):
    room = Room(version)
    room.check(room.event("m.room.aliases", BOB, {"aliases": []}, "b.example"))
    assert refusal(room, room.event("m.room.aliases", BOB, {}, "a.example")) == "4.2"
    assert refusal(room, room.event("m.room.aliases", BOB, {})) == "4.1"


@pytest.mark.parametrize("version", versions(6))
def test_aliases_are_ordinary_state_from_version_6(version):
    room = Room(version)
    assert refusal(room, room.event("m.room.aliases", BOB, {}, "b.example")) == after_members(version, 1)
    room.check(room.event("m.room.aliases", ALICE, {}, "b.example"))


@pytest.mark.parametrize("version", ALL_VERSIONS)
@pytest.mark.parametrize("membership", [None, "invite", "leave", "ban", "knock"])
def test_only_members_send(version, membership):
    room = Room(version)
    if membership:
        room.set_member(BOB, membership)
    assert refusal(room, room.event("m.room.message", BOB, {})) == after_members(version, 1)
    assert refusal(room, room.event("m.room.power_levels", BOB, {}, "")) == after_members(version, 1)
    room.set_member(BOB, "join")
    room.check(room.event("m.room.message", BOB, {}))


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_each_event_type_needs_its_level(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.set_levels(
        users={BOB: 10}, events={"m.room.topic": 10, "quiet": 11}, events_default=10, state_default=11
    )
    level = after_members(version, 3)
    room.check(room.event("m.room.message", BOB, {}))
    room.check(room.event("m.room.topic", BOB, {}, ""))
    assert refusal(room, room.event("quiet", BOB, {})) == level
    assert refusal(room, room.event("m.room.name", BOB, {}, "")) == level
    room.set_levels(events_default=1)
    assert refusal(room, room.event("m.room.message", BOB, {})) == level


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_without_power_levels_only_the_creator_sets_state(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.check(room.event("m.room.topic", ALICE, {}, ""))
    room.check(room.event("m.room.message", BOB, {}))
    assert refusal(room, room.event("m.room.topic", BOB, {}, "")) == after_members(version, 3)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_state_under_a_user_id_is_that_users(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.set_levels(users={BOB: 50})
    room.check(room.event("custom", BOB, {}, BOB))
    room.check(room.event("custom", BOB, {}, "x@"))
    assert refusal(room, room.event("custom", BOB, {}, ALICE)) == after_members(version, 4)
    assert refusal(room, room.event("custom", BOB, {}, "@")) == after_members(version, 4)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_third_party_invites_need_the_level_to_invite(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.check(room.event("m.room.third_party_invite", BOB, {}, "token"))
    room.set_levels(invite=1)
    third_party = room.event("m.room.third_party_invite", BOB, {}, "token")
    assert refusal(room, third_party) == after_members(version, 2) + ".1"
    room.set_levels(invite=1, users={BOB: 1}, events={"m.room.third_party_invite": 99})
    room.check(room.event("m.room.third_party_invite", BOB, {}, "token"))


@pytest.mark.parametrize("version", versions(1, 2))
def test_redactions_are_authorised_in_versions_1_and_2(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.set_levels(redact=40, users={CAROL: 40})
    room.set_member(CAROL, "join")
    target = room.event("m.room.message", ALICE, {}).event_id
    assert refusal(room, room.event("m.room.redaction", BOB, {}, redacts=target)) == "11.3"
    assert refusal(room, room.event("m.room.redaction", BOB, {})) == "11.3"
    room.check(room.event("m.room.redaction", CAROL, {}, redacts=target))
    own = room.event("m.room.message", BOB, {}).event_id
    room.check(room.event("m.room.redaction", BOB, {}, redacts=own))


@pytest.mark.parametrize("version", versions(3))
def test_redactions_are_events_like_any_other_from_version_3(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.set_member(CAROL, "join")
    room.set_levels(redact=40, users={CAROL: 40})
    target = room.event("m.room.message", ALICE, {})
    by_bob = room.event("m.room.redaction", BOB, {}, redacts=target.event_id)
    by_carol = room.event("m.room.redaction", CAROL, {}, redacts=target.event_id)
    by_neighbour = room.event("m.room.redaction", UserId("@dora:a.example"), {}, redacts=target.event_id)
    room.check(by_bob)
    levels = PowerLevels(room.state)
    assert not may_redact(by_bob, target, levels)
    assert may_redact(by_carol, target, levels)
    assert may_redact(by_neighbour, target, levels)
    elsewhere = Room(version, predecessor={}).event("m.room.message", ALICE, {})
    if version == "12":
        assert not may_redact(by_carol, elsewhere, levels)
    room.set_levels(events={"m.room.redaction": 1})
    assert refusal(room, room.event("m.room.redaction", BOB, {}, redacts=target.event_id)) == after_members(
        version, 3
    )
