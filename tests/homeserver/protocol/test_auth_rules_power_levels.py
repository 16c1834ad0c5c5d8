"""Power levels: how they are read, and which changes of them are allowed, in each room version."""

import json
import math

import pytest

from homeserver.protocol.auth_rules.power_levels import (
    PowerLevels,
    creators,
    is_creator,
    level_to_send,
    power_level,
    read_level,
)
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, CAROL, Room, versions


class Case:
    """Alice is the creator, Bob has 50; Bob's changes are judged."""

    def __init__(self, version: str, **levels) -> None:
        self.room = Room(version)
        self.room.set_member(BOB, "join")
        users = levels.pop("users", {})
        self.before = dict(self.room.set_levels(users={BOB: 50, **users}, **levels).content)
        number = int(version)
        self.rule = 9 if 6 <= number <= 11 else 10
        self.first = {12: 5}.get(number, 4 if number >= 10 else 2)

    def change(self, *, by=BOB, without: str | None = None, **levels) -> Event:
        content = {name: value for name, value in {**self.before, **levels}.items() if name != without}
        return self.room.event("m.room.power_levels", by, content, "")

    def change_users(self, by=BOB, **users) -> Event:
        """Users by localpart letter: a, b, c; None removes."""
        names = {"a": ALICE, "b": BOB, "c": CAROL}
        merged = {**self.before["users"], **{names[letter]: level for letter, level in users.items()}}
        return self.change(by=by, users={user: level for user, level in merged.items() if level is not None})

    def allows(self, event: Event) -> None:
        self.room.check(event)

    def refuses(self, event: Event, *, by_rule: int | None = None, sub: str = "1", exactly: str = "") -> None:
        """`by_rule` counts from the rule "if there is no previous event, allow"."""
        with pytest.raises(AuthFailure) as failure:
            self.room.check(event)
        expected = exactly or f"{self.rule}.{self.first + (by_rule or 0)}.{sub}"
        assert failure.value.rule == expected


@pytest.fixture(params=ALL_VERSIONS)
def version(request) -> str:
    return request.param


def test_the_first_power_levels_may_say_anything(version):
    room = Room(version)
    room.send("m.room.power_levels", ALICE, {"users": {BOB: 1000}, "ban": 9999}, "")


def test_saying_the_same_again_is_allowed(version):
    case = Case(version, ban=99, events={"m.room.name": 99}, users={CAROL: 99})
    case.allows(case.change())


@pytest.mark.parametrize(
    "name", ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"]
)
def test_levels_move_only_below_the_senders_own(version, name):
    case = Case(
        version,
        events={"m.room.power_levels": 0},
        **{name: 50, "users_default" if name != "users_default" else "ban": 0},
    )
    case.allows(case.change(**{name: 49}))
    case.allows(case.change(without=name))
    case.refuses(case.change(**{name: 51}), by_rule=1, sub="2")
    high = Case(version, events={"m.room.power_levels": 0}, **{name: 51})
    high.refuses(high.change(**{name: 50}), by_rule=1, sub="1")
    high.refuses(high.change(without=name), by_rule=1, sub="1")
    missing = Case(version, events={"m.room.power_levels": 0})
    missing.allows(missing.change(**{name: 50}))
    missing.refuses(missing.change(**{name: 51}), by_rule=1, sub="2")


def test_levels_of_event_types_move_only_below_the_senders_own(version):
    case = Case(version, events={"low": 50, "high": 51})
    case.allows(case.change(events={"low": 0, "high": 51, "new": 50}))
    case.allows(case.change(events={"high": 51}))
    case.refuses(case.change(events={"low": 50, "high": 50}), by_rule=2)
    case.refuses(case.change(events={"low": 50}), by_rule=2)
    case.refuses(case.change(without="events"), by_rule=2)
    case.refuses(case.change(events={"low": 51, "high": 51}), by_rule=3)
    case.refuses(case.change(events={"low": 50, "high": 51, "new": 51}), by_rule=3)


def test_levels_of_notifications_are_limited_from_version_6(version):
    case = Case(version, notifications={"room": 51})
    for change, rule in (
        (case.change(notifications={"room": 50}), 2),
        (case.change(notifications={"room": 51, "x": 51}), 3),
    ):
        if int(version) >= 6:
            case.refuses(change, by_rule=rule)
        else:
            case.allows(change)


def test_users_are_moved_only_by_those_above_them(version):
    case = Case(version, users={CAROL: 49})
    case.allows(case.change_users(c=50))
    case.allows(case.change_users(c=0))
    case.allows(case.change_users(c=None))
    case.refuses(case.change_users(c=51), by_rule=5)
    equal = Case(version, users={CAROL: 50})
    equal.refuses(equal.change_users(c=49), by_rule=4)
    equal.refuses(equal.change_users(c=None), by_rule=4)
    new = Case(version)
    new.allows(new.change_users(c=50))
    new.refuses(new.change_users(c=51), by_rule=5)


def test_users_may_step_down_and_not_up(version):
    case = Case(version, users_default=0)
    case.room.set_member(BOB, "join")
    case.allows(case.change_users(b=49))
    case.refuses(case.change_users(b=51), by_rule=5)
    if int(version) < 12:
        case.refuses(case.change_users(a=50), by_rule=4)


@pytest.mark.parametrize("version", versions(12))
def test_creators_of_version_12_cannot_be_given_a_level(version):
    room = Room(version, additional_creators=[CAROL])
    for user in (ALICE, CAROL):
        with pytest.raises(AuthFailure) as failure:
            room.check(room.event("m.room.power_levels", ALICE, {"users": {user: 100}}, ""))
        assert failure.value.rule == "10.4"
    room.check(room.event("m.room.power_levels", ALICE, {"users": {BOB: 2**53 - 1}}, ""))


def test_creators_have_infinite_power_from_version_12(version):
    room = Room(version, additional_creators=[CAROL])
    assert power_level(room.state, ALICE) == (math.inf if version == "12" else 100)
    assert power_level(room.state, CAROL) == (math.inf if version == "12" else 0)
    room.set_levels(users={BOB: 10**9}, users_default=7)
    assert power_level(room.state, ALICE) == (math.inf if version == "12" else 100)
    assert power_level(room.state, CAROL) == (math.inf if version == "12" else 7)
    assert creators(room.create) == ({ALICE, CAROL} if version == "12" else {ALICE})
    assert is_creator(room.create, CAROL) is (version == "12")


def test_the_creator_is_the_one_named_until_version_10(version):
    pdu = {**Room(version).create.pdu, "content": {"creator": BOB}}
    create = Event.from_pdu(ROOM_VERSIONS[version], pdu)
    assert creators(create) == ({BOB} if int(version) <= 10 else {ALICE})
    assert power_level({("m.room.create", ""): create}, BOB) == (100 if int(version) <= 10 else 0)


def test_defaults_when_the_room_says_nothing(version):
    for levels in (PowerLevels(Room(version).state), PowerLevels({})):
        assert (levels.to_invite, levels.to_kick, levels.to_ban, levels.to_redact) == (0, 50, 50, 50)
        assert levels.to_notify("room") == 50
        assert levels.to_send("m.room.message", is_state=False) == 0
        assert levels.to_send("m.room.topic", is_state=True) == 50
        assert levels.of_user(BOB) == 0
    assert PowerLevels({}).of_user(ALICE) == 0


def test_levels_are_read_where_the_room_says_something(version):
    room = Room(version)
    room.set_levels(
        ban=1, kick=2, redact=3, invite=4, events_default=5, state_default=6, users_default=7,
        events={"x": 8}, notifications={"room": 9}, users={BOB: 10},
    )  # fmt: skip
    levels = PowerLevels(room.state)
    assert (levels.to_ban, levels.to_kick, levels.to_redact, levels.to_invite) == (1, 2, 3, 4)
    assert levels.to_send("m.room.message", is_state=False) == 5
    assert level_to_send(room.state, "m.room.topic", is_state=True) == 6
    assert levels.of_user(CAROL) == 7
    assert level_to_send(room.state, "x", is_state=True) == 8
    assert levels.to_notify("room") == 9
    assert levels.of_user(BOB) == 10


@pytest.mark.parametrize("text", ["100", "000100", "+100", " 100 ", " 00100 ", " +100 ", "\t100\n"])
def test_strings_are_levels_until_version_9(version, text):
    assert read_level(ROOM_VERSIONS[version], text) == (100 if int(version) <= 9 else None)
    assert read_level(ROOM_VERSIONS[version], "-" + text.strip(" \t\n+")) == (
        -100 if int(version) <= 9 else None
    )


@pytest.mark.parametrize("value", [
    "", "x", "1.5", "1e3", "0x10", "--1", "1 0", "1_000", "\u0661", "9" * 5000, None, True, False, [], {},
    math.inf, math.nan,
], ids=lambda value: repr(value)[:20])  # fmt: skip
def test_what_is_no_level_in_any_version(version, value):
    assert read_level(ROOM_VERSIONS[version], value) is None


def test_floats_are_levels_until_version_5(version):
    assert read_level(ROOM_VERSIONS[version], 50.57) == (50 if int(version) <= 5 else None)
    assert read_level(ROOM_VERSIONS[version], -50.57) == (-50 if int(version) <= 5 else None)
    assert read_level(ROOM_VERSIONS[version], json.loads("5.114698E4")) == (
        51146 if int(version) <= 5 else None
    )


@pytest.mark.parametrize(
    "name", ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"]
)
@pytest.mark.parametrize("value", ["50", None, True, [], {}], ids=repr)
def test_levels_are_integers_from_version_10(name, value):
    for version in versions(10):
        room = Room(version)
        with pytest.raises(AuthFailure) as failure:
            room.check(room.event("m.room.power_levels", ALICE, {name: value}, ""))
        assert failure.value.rule == ("10.1" if version == "12" else "9.1")


@pytest.mark.parametrize("name", ["events", "notifications"])
@pytest.mark.parametrize("value", ["x", None, [], {"x": "50"}, {"x": True}, {"x": None}], ids=repr)
def test_levels_of_types_and_notifications_are_integers_from_version_10(name, value):
    for version in versions(10):
        room = Room(version)
        with pytest.raises(AuthFailure) as failure:
            room.check(room.event("m.room.power_levels", ALICE, {name: value}, ""))
        assert failure.value.rule == ("10.2" if version == "12" else "9.2")


@pytest.mark.parametrize("users", [
    "x", None, [], {"bob": 1}, {"@bob": 1}, {BOB: None}, {BOB: "x"}, {BOB: True}, {BOB: []},
], ids=repr)  # fmt: skip
def test_users_are_integers_by_user_id(version, users):
    room = Room(version)
    with pytest.raises(AuthFailure) as failure:
        room.check(room.event("m.room.power_levels", ALICE, {"users": users}, ""))
    number = int(version)
    assert failure.value.rule == f"{9 if 6 <= number <= 11 else 10}.{3 if number >= 10 else 1}"


@pytest.mark.parametrize("version", versions(1, 9))
def test_levels_of_old_rooms_compare_as_numbers_not_as_text(version):
    case = Case(version, ban=50)
    case.allows(case.change(ban="50"))
    case.allows(case.change(ban=" 0049 "))
    case.refuses(case.change(ban="051"), by_rule=1, sub="2")
    case.refuses(case.change_users(c="51"), by_rule=5)
    case.allows(case.change_users(c="9"))
    case.refuses(case.change(ban="high"), by_rule=1, sub="2")
    case.refuses(case.change(events={"x": None}), by_rule=3)


@pytest.mark.parametrize("version", versions(1, 9))
def test_malformed_levels_already_in_an_old_room_break_nothing(version):
    room = Room(version)
    room.set_member(BOB, "join")
    room.set_levels(ban="x", events="x", notifications=[], users_default=None)
    room.state[("m.room.power_levels", "")].content["users"] = {BOB: "junk", ALICE: "100"}
    levels = PowerLevels(room.state)
    assert levels.of_user(ALICE) == 100
    assert levels.of_user(BOB) == 0
    assert levels.to_ban == 50
    assert levels.to_notify("room") == 50
    room.check(room.event("m.room.message", BOB, {}))
    room.check(room.event("m.room.power_levels", ALICE, {"users": {ALICE: 100}}, ""))
