"""Users' push rules: stored as differences, at hand for every event."""

import orjson
import pytest

from homeserver.protocol.errors import NotFound
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.push_rules import DEFAULT_RULE_SET, Kind
from homeserver.protocol.push_rules_editing import delete, enable, parse_rule, put
from homeserver.services.account_data import PUSH_RULES
from homeserver.services.push.rules import Edit
from homeserver.services.streams import Change
from tests.support.personal import ALICE, BOB, CAROL, House
from tests.support.running import result

EVERYBODY = {ALICE, BOB, CAROL}
ROOM, OTHER_ROOM = RoomId("!room:here"), RoomId("!other:here")


def mute(rule_id: str, kind: Kind = Kind.ROOM) -> Edit:
    rule = parse_rule(kind, rule_id, {"actions": []})
    return lambda rules: put(rules, rule)


def unmute(rule_id: str) -> Edit:
    return lambda rules: delete(rules, Kind.ROOM, rule_id)


def disable(rule_id: str, *, enabled: bool = False) -> Edit:
    return lambda rules: enable(rules, Kind.UNDERRIDE, rule_id, enabled=enabled)


def edit(house: House, change: Edit, user: UserId = ALICE) -> None:
    result(house.push_rules.edit(user, change))


def test_an_edit_lasts_and_is_told_as_account_data(house: House) -> None:
    since = house.streams.position
    house.changes.clear()
    edit(house, mute(ROOM))
    assert house.changes == [Change("account_data", users=(ALICE,))]
    for now in (house, house.restart()):
        assert [rule.rule_id for rule in now.push_rules.rules_of(ALICE).custom] == [ROOM]
        (entry,) = result(now.account_data.changed_since(ALICE, since))
        assert entry.type == PUSH_RULES
        assert orjson.loads(entry.content)["global"]["room"][0]["rule_id"] == ROOM
    assert house.push_rules.rules_of(BOB).is_untouched


def test_account_data_shows_the_rules_of_somebody_who_changed_nothing(house: House) -> None:
    shown = orjson.loads(result(house.account_data.get(ALICE, PUSH_RULES)))
    assert shown["global"]["override"][0]["rule_id"] == ".m.rule.master"


def test_undoing_everything_leaves_nothing_behind(house: House) -> None:
    edit(house, mute(ROOM))
    edit(house, unmute(ROOM))
    edit(house, disable(".m.rule.message"))
    edit(house, disable(".m.rule.message", enabled=True))
    for now in (house, house.restart()):
        assert now.push_rules.stored(ALICE) is None
        assert now.push_rules.who_differs(ROOM, BOB, EVERYBODY) == set()


def test_an_edit_that_changes_nothing_tells_nobody(house: House) -> None:
    edit(house, mute(ROOM))
    house.changes.clear()
    edit(house, mute(ROOM))
    edit(house, disable(".m.rule.message", enabled=True), user=BOB)
    assert house.changes == []


def test_a_refused_edit_changes_nothing(house: House) -> None:
    with pytest.raises(NotFound):
        edit(house, unmute(ROOM))
    assert house.push_rules.rules_of(ALICE).is_untouched


def test_rules_about_a_room_or_sender_matter_there_only(house: House) -> None:
    edit(house, mute(ROOM))
    edit(house, mute(CAROL, Kind.SENDER), user=BOB)
    for now in (house, house.restart()):
        assert now.push_rules.who_differs(ROOM, ALICE, EVERYBODY) == {ALICE}
        assert now.push_rules.who_differs(OTHER_ROOM, ALICE, EVERYBODY) == set()
        assert now.push_rules.who_differs(OTHER_ROOM, CAROL, EVERYBODY) == {BOB}
        assert now.push_rules.who_differs(ROOM, CAROL, {CAROL}) == set()


def test_other_rules_matter_everywhere(house: House) -> None:
    edit(house, mute(ROOM))
    edit(house, disable(".m.rule.message"))
    assert house.push_rules.who_differs(OTHER_ROOM, BOB, EVERYBODY) == {ALICE}
    edit(house, disable(".m.rule.message", enabled=True))
    assert house.push_rules.who_differs(OTHER_ROOM, BOB, EVERYBODY) == set()
    assert house.push_rules.who_differs(ROOM, BOB, EVERYBODY) == {ALICE}


def test_users_with_the_same_differences_share_a_compiled_set(
    small_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.push.rules.COMPILED_IN_MEMORY", 1)
    rules = small_house.push_rules
    for user in (ALICE, BOB):
        edit(small_house, disable(".m.rule.message"), user=user)
    edit(small_house, mute(ROOM), user=CAROL)
    assert rules.compiled(rules.stored(ALICE)) is rules.compiled(rules.stored(BOB))
    assert rules.compiled(rules.stored(CAROL)) is not rules.compiled(rules.stored(BOB))
    assert rules.compiled(None) is DEFAULT_RULE_SET
