import json
from dataclasses import replace

import pytest

from homeserver.protocol.errors import BadJson, InvalidParam, MissingParam, NotFound
from homeserver.protocol.push_rules import UNTOUCHED, Kind, effective_rule
from homeserver.protocol.push_rules_editing import (
    MAX_RULES,
    NoSuchNeighbour,
    delete,
    dump,
    enable,
    find,
    load,
    parse_actions,
    parse_kind,
    parse_rule,
    put,
    replace_actions,
)

MESSAGE = ".m.rule.message"


def override(rule_id, **body):
    return parse_rule(Kind.OVERRIDE, rule_id, {"actions": [], **body})


def ids(rules, kind=Kind.OVERRIDE):
    return [rule.rule_id for rule in rules.custom if rule.kind is kind]


@pytest.fixture
def three():
    rules = UNTOUCHED
    for rule_id in "cba":
        rules = put(rules, override(rule_id))
    return rules


def test_a_new_rule_comes_first_of_its_kind(three):
    assert ids(three) == ["a", "b", "c"]
    mixed = put(three, parse_rule(Kind.ROOM, "!r:x", {"actions": []}))
    assert ids(mixed) == ["a", "b", "c"]
    assert ids(mixed, Kind.ROOM) == ["!r:x"]


def test_a_rule_may_be_placed_before_or_after_another(three):
    assert ids(put(three, override("n"), before="b")) == ["a", "n", "b", "c"]
    assert ids(put(three, override("n"), after="b")) == ["a", "b", "n", "c"]
    assert ids(put(three, override("n"), before="c", after="a")) == ["a", "b", "n", "c"]


def test_a_changed_rule_stays_where_it_is_unless_moved(three):
    changed = put(three, override("b", actions=["notify"]))
    assert ids(changed) == ["a", "b", "c"]
    assert find(changed, Kind.OVERRIDE, "b").actions == ("notify",)
    assert ids(put(three, override("c"), before="a")) == ["c", "a", "b"]
    assert ids(put(three, override("a"), after="b")) == ["b", "a", "c"]


def test_rules_are_enabled_when_made_and_keep_their_switch_when_changed(three):
    assert find(three, Kind.OVERRIDE, "a").enabled
    off = enable(three, Kind.OVERRIDE, "a", enabled=False)
    assert not find(put(off, override("a", actions=["notify"])), Kind.OVERRIDE, "a").enabled


@pytest.mark.parametrize("neighbour", ["x", MESSAGE, ".m.rule.master", "n", ""])
def test_unknown_predefined_and_own_neighbours_are_refused(three, neighbour):
    for where in ({"before": neighbour}, {"after": neighbour}):
        with pytest.raises(NoSuchNeighbour) as refused:
            put(three, override("n"), **where)
        assert (refused.value.status, refused.value.errcode) == (400, "M_UNKNOWN")


def test_a_neighbour_is_of_the_same_kind(three):
    with pytest.raises(NoSuchNeighbour):
        put(three, parse_rule(Kind.ROOM, "!r:x", {"actions": []}), after="a")


def test_deleting(three):
    assert ids(delete(three, Kind.OVERRIDE, "b")) == ["a", "c"]
    for kind, rule_id in ((Kind.OVERRIDE, "x"), (Kind.UNDERRIDE, "a"), (Kind.OVERRIDE, MESSAGE)):
        with pytest.raises(NotFound):
            delete(three, kind, rule_id)
    with pytest.raises(InvalidParam):
        delete(three, Kind.UNDERRIDE, MESSAGE)


def test_predefined_rules_can_be_switched_and_given_actions_but_only_under_their_kind():
    rules = enable(UNTOUCHED, Kind.UNDERRIDE, MESSAGE, enabled=False)
    rules = replace_actions(rules, Kind.UNDERRIDE, MESSAGE, parse_actions(["notify", {"set_tweak": "x"}]))
    message = effective_rule(rules, Kind.UNDERRIDE, MESSAGE)
    assert not message.enabled
    assert message.actions == ("notify", {"set_tweak": "x"})
    assert message.default
    for change in (
        lambda: enable(rules, Kind.OVERRIDE, MESSAGE, enabled=True),
        lambda: replace_actions(rules, Kind.CONTENT, "x", ()),
        lambda: find(rules, Kind.OVERRIDE, MESSAGE),
    ):
        with pytest.raises(NotFound):
            change()


def test_rules_put_back_as_they_were_count_as_untouched():
    rules = enable(UNTOUCHED, Kind.UNDERRIDE, MESSAGE, enabled=False)
    rules = replace_actions(rules, Kind.UNDERRIDE, MESSAGE, [])
    assert not rules.is_untouched
    rules = enable(rules, Kind.UNDERRIDE, MESSAGE, enabled=True)
    assert replace_actions(rules, Kind.UNDERRIDE, MESSAGE, ["notify"]).is_untouched
    assert UNTOUCHED.is_untouched


def test_the_number_of_rules_is_bounded():
    full = replace(UNTOUCHED, custom=tuple(override(str(number)) for number in range(MAX_RULES)))
    with pytest.raises(InvalidParam):
        put(full, override("one more"))
    assert len(put(full, override("7")).custom) == MAX_RULES


@pytest.mark.parametrize("rule_id", [".mine", "", "a/b", "a\\b", "a\0", "ä" * 128])
def test_bad_rule_ids_are_refused(rule_id):
    with pytest.raises(InvalidParam):
        override(rule_id)


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        (Kind.OVERRIDE, [], BadJson),
        (Kind.OVERRIDE, {}, MissingParam),
        (Kind.OVERRIDE, {"actions": "notify"}, BadJson),
        (Kind.OVERRIDE, {"actions": ["explode"]}, InvalidParam),
        (Kind.OVERRIDE, {"actions": [{"tweak": "x"}]}, InvalidParam),
        (Kind.OVERRIDE, {"actions": [{"set_tweak": 1}]}, InvalidParam),
        (Kind.OVERRIDE, {"actions": [1]}, InvalidParam),
        (Kind.OVERRIDE, {"actions": [], "conditions": {}}, BadJson),
        (Kind.OVERRIDE, {"actions": [], "conditions": ["x"]}, BadJson),
        (Kind.OVERRIDE, {"actions": [], "conditions": [{}]}, MissingParam),
        (Kind.OVERRIDE, {"actions": [], "conditions": [{"kind": "x"}] * 51}, InvalidParam),
        (Kind.CONTENT, {"actions": []}, MissingParam),
        (Kind.CONTENT, {"actions": [], "pattern": 1}, BadJson),
        (Kind.CONTENT, {"actions": [], "pattern": "x" * 1_001}, InvalidParam),
    ],
)
def test_malformed_rules_are_refused(kind, body, error):
    with pytest.raises(error):
        parse_rule(kind, "mine", body)


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ({"kind": "event_match", "key": "type"}, MissingParam),
        ({"kind": "event_match", "key": "type", "pattern": 1}, BadJson),
        ({"kind": "event_property_is", "key": "type", "value": []}, BadJson),
        ({"kind": "event_property_is", "value": 1}, MissingParam),
        ({"kind": "event_property_contains", "key": 1, "value": 1}, BadJson),
        ({"kind": "room_member_count"}, MissingParam),
        ({"kind": "sender_notification_permission", "key": None}, BadJson),
    ],
)
def test_malformed_conditions_are_refused(condition, error):
    with pytest.raises(error):
        override("mine", conditions=[condition])


def test_conditions_of_unknown_kinds_are_kept():
    unknown = {"kind": "org.example.future", "x": 1}
    assert override("mine", conditions=[unknown]).to_json()["conditions"] == [unknown]


def test_historical_actions_are_forgotten():
    assert parse_actions(["dont_notify"]) == ()
    assert parse_actions(["notify", "coalesce"]) == ("notify",)


def test_kinds_have_names():
    assert parse_kind("override") is Kind.OVERRIDE
    with pytest.raises(InvalidParam):
        parse_kind("overrides")


def test_rules_survive_storage(three):
    rules = put(three, parse_rule(Kind.CONTENT, "cake", {"actions": ["notify"], "pattern": "cake"}))
    rules = put(rules, override("d", conditions=[{"kind": "contains_display_name"}]), after="a")
    rules = enable(enable(rules, Kind.OVERRIDE, "b", enabled=False), Kind.UNDERRIDE, MESSAGE, enabled=False)
    rules = replace_actions(rules, Kind.UNDERRIDE, ".m.rule.call", [])
    assert load(json.loads(json.dumps(dump(rules)))) == rules
    assert load(dump(UNTOUCHED)) == UNTOUCHED


def test_what_predefined_rules_no_longer_exist_is_dropped_on_loading():
    stored = {"custom": [], "enabled": {".m.rule.gone": False}, "actions": {".m.rule.gone": []}}
    assert load(stored).is_untouched
    with pytest.raises(BadJson):
        load({"custom": {}})
