import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.events import Event
from homeserver.protocol.push_conditions import EventFacts, Recipient
from homeserver.protocol.push_rules import (
    DEFAULT_RULE_SET,
    NOTHING,
    UNTOUCHED,
    Kind,
    Rule,
    RuleSet,
    UserRules,
    evaluate,
    evaluate_default,
    personal_targets,
    read_actions,
    to_json,
)
from homeserver.protocol.push_rules_editing import enable, parse_rule, put
from homeserver.protocol.room_versions import room_version

ALICE, BOB, CAROL = "@alice:example.org", "@bob:example.org", "@carol:example.org"
ROOM = "!room:example.org"


def levels(*, of_alice=0, to_notify=None):
    """Power levels as a room of version 11 states them."""
    content = {"users": {ALICE: of_alice}, "notifications": {} if to_notify is None else {"room": to_notify}}
    pdu = {
        "type": "m.room.power_levels",
        "state_key": "",
        "sender": CAROL,
        "content": content,
        "room_id": ROOM,
    }
    pdu |= {"depth": 1, "origin_server_ts": 1, "prev_events": [], "auth_events": []}
    return PowerLevels({("m.room.power_levels", ""): Event.from_pdu(room_version("11"), pdu)})


NO_LEVELS = PowerLevels({})
MODERATOR = levels(of_alice=50)


def facts(event_type="m.room.message", content=None, state_key=None, **about):
    event = {"type": event_type, "sender": ALICE, "room_id": ROOM, "content": content or {}}
    if state_key is not None:
        event["state_key"] = state_key
    return EventFacts(
        event, **{"room_id": ROOM, "sender": ALICE, "member_count": 3, "levels": NO_LEVELS, **about}
    )


def rule_set(*rules):
    return RuleSet(UserRules(custom=rules))


def matches(condition, event_facts, **recipient):
    """Does an override rule with this one condition match?"""
    rules = rule_set(Rule(Kind.OVERRIDE, "test", ({"set_tweak": "x"}, "notify"), (condition,)))
    return "x" in evaluate(rules, event_facts, Recipient(BOB, **recipient)).tweaks


# The predefined rules


@pytest.mark.parametrize(
    ("event_facts", "notify", "sound", "highlight"),
    [
        (facts(content={"msgtype": "m.text", "body": "hi"}), True, None, False),
        (facts(content={"msgtype": "m.text"}, member_count=2), True, "default", False),
        (facts(content={"msgtype": "m.notice", "body": "hi"}), False, None, False),
        (facts("m.room.encrypted"), True, None, False),
        (facts("m.room.encrypted", member_count=2), True, "default", False),
        (facts("m.call.invite"), True, "ring", False),
        (facts("m.reaction"), False, None, False),
        (facts("m.room.topic", {"topic": "x"}, ""), False, None, False),
        (facts("m.room.member", {"membership": "join"}, ALICE), False, None, False),
        (facts("m.room.tombstone", {}, ""), True, None, True),
        (facts("m.room.tombstone", {}), False, None, False),
        (facts("m.room.server_acl", {}, ""), False, None, False),
        (facts(content={"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}), False, None, False),
    ],
)
def test_what_the_predefined_rules_do_for_everybody(event_facts, notify, sound, highlight):
    actions = evaluate_default(event_facts)
    assert (actions.notify, actions.sound, actions.highlight) == (notify, sound, highlight)
    assert evaluate(DEFAULT_RULE_SET, event_facts, Recipient(BOB)) == actions


def test_a_mention_highlights_for_whom_it_names():
    content = {"msgtype": "m.text", "body": "bob?", "m.mentions": {"user_ids": [BOB]}}
    actions = evaluate(DEFAULT_RULE_SET, facts(content=content), Recipient(BOB))
    assert (actions.notify, actions.highlight, actions.sound) == (True, True, "default")
    assert not evaluate(DEFAULT_RULE_SET, facts(content=content), Recipient(CAROL)).highlight
    assert not evaluate_default(facts(content=content)).highlight


def test_a_mention_in_a_notice_is_as_silent_as_the_notice():
    content = {"msgtype": "m.notice", "m.mentions": {"user_ids": [BOB]}}
    assert evaluate(DEFAULT_RULE_SET, facts(content=content), Recipient(BOB)) == NOTHING


def test_an_invite_sounds_for_whom_it_invites():
    invite = facts("m.room.member", {"membership": "invite"}, BOB)
    assert evaluate(DEFAULT_RULE_SET, invite, Recipient(BOB)).sound == "default"
    assert not evaluate(DEFAULT_RULE_SET, invite, Recipient(CAROL)).notify


def test_mentioning_the_room_needs_the_power_to():
    content = {"msgtype": "m.text", "m.mentions": {"room": True}}
    assert not evaluate_default(facts(content=content)).highlight
    assert evaluate_default(facts(content=content, levels=levels(of_alice=50))).highlight
    assert not evaluate_default(facts(content=content, levels=levels(of_alice=49))).highlight
    assert evaluate_default(facts(content=content, levels=levels(to_notify=0))).highlight
    assert not evaluate_default(facts(content=content, levels=levels(to_notify="0"))).highlight
    assert not evaluate_default(
        facts(content={"m.mentions": {"room": 1}}, levels=levels(of_alice=100))
    ).highlight


def test_nobody_is_notified_of_their_own_events():
    assert evaluate(DEFAULT_RULE_SET, facts(content={"body": "hi"}), Recipient(ALICE)) == NOTHING


def test_master_silences_everything():
    silent = RuleSet(enable(UNTOUCHED, Kind.OVERRIDE, ".m.rule.master", enabled=True))
    assert evaluate(silent, facts(content={"m.mentions": {"user_ids": [BOB]}}), Recipient(BOB)) == NOTHING


def test_personal_targets_are_the_mentioned_and_the_invited():
    assert personal_targets("m.room.member", BOB, {"membership": "invite"}) == {BOB}
    assert personal_targets("m.room.member", BOB, {"membership": "join"}) == set()
    assert personal_targets("m.room.message", None, {"m.mentions": {"user_ids": [BOB, 1, None]}}) == {BOB}
    for odd in (None, [], "x", {"user_ids": BOB}, {"user_ids": None}, {}):
        assert personal_targets("m.room.message", None, {"m.mentions": odd}) == set()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([BOB, "m.notice", "invite", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["room", "user_ids"]), inner),
    max_leaves=4,
)


@given(
    st.sampled_from(["m.room.message", "m.room.member", "m.room.encrypted", "m.room.tombstone", "x"]),
    st.dictionaries(st.sampled_from(["m.mentions", "membership", "msgtype", "body"]), json_values),
    st.sampled_from([None, "", BOB, CAROL]),
)
def test_one_evaluation_speaks_for_everybody_but_the_personal_targets(event_type, content, state_key):
    event_facts = facts(event_type, content, state_key, levels=MODERATOR)
    everybody = evaluate_default(event_facts)
    for user_id in (BOB, CAROL):
        if user_id not in personal_targets(event_type, state_key, content):
            assert evaluate(DEFAULT_RULE_SET, event_facts, Recipient(user_id)) == everybody


# Kinds and their order


def test_kinds_are_asked_in_order():
    rules = [
        Rule(Kind.UNDERRIDE, "u", ("notify", {"set_tweak": "sound", "value": "underride"})),
        Rule(Kind.SENDER, ALICE, ("notify", {"set_tweak": "sound", "value": "sender"})),
        Rule(Kind.ROOM, ROOM, ("notify", {"set_tweak": "sound", "value": "room"})),
        Rule(Kind.CONTENT, "c", ("notify", {"set_tweak": "sound", "value": "content"}), pattern="hi"),
        Rule(Kind.OVERRIDE, "o", ("notify", {"set_tweak": "sound", "value": "override"})),
    ]
    for count, kind in enumerate(["underride", "sender", "room", "content", "override"], 1):
        found = evaluate(rule_set(*rules[:count]), facts(content={"body": "hi"}), Recipient(BOB))
        assert found.sound == kind


def test_own_rules_go_before_predefined_ones_and_the_first_wins():
    first = Rule(Kind.OVERRIDE, "a", ("notify", {"set_tweak": "sound", "value": "a"}))
    second = Rule(Kind.OVERRIDE, "b", ("notify", {"set_tweak": "sound", "value": "b"}))
    assert evaluate(rule_set(first, second), facts("m.reaction"), Recipient(BOB)).sound == "a"
    assert evaluate(rule_set(second, first), facts("m.reaction"), Recipient(BOB)).sound == "b"


def test_a_muted_room_and_a_muted_sender_stay_silent():
    for muted in (Rule(Kind.ROOM, ROOM), Rule(Kind.SENDER, ALICE)):
        assert evaluate(rule_set(muted), facts(content={"body": "hi"}), Recipient(BOB)) == NOTHING
    elsewhere = Rule(Kind.ROOM, "!other:example.org")
    assert evaluate(rule_set(elsewhere), facts(), Recipient(BOB)).notify


def test_disabled_rules_never_match():
    muted = Rule(Kind.ROOM, ROOM, enabled=False)
    assert evaluate(rule_set(muted), facts(), Recipient(BOB)).notify


# Conditions


@pytest.mark.parametrize(
    ("pattern", "topic", "matched"),
    [
        ("lunc?*", "Lunch plans", True),
        ("lunc?*", "LUNCH", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("lunc?*", None, False),
        ("*", 3, False),
        ("*", "", True),
        ("lunch", "LUNCH", True),
        ("lunch", "lunch plans", False),
    ],
)
def test_event_match_is_a_glob_over_the_whole_value(pattern, topic, matched):
    condition = {"kind": "event_match", "key": "content.topic", "pattern": pattern}
    assert matches(condition, facts(content={"topic": topic})) is matched


def test_event_match_on_an_absent_key_never_matches():
    assert not matches({"kind": "event_match", "key": "content.topic", "pattern": "*"}, facts())


def test_event_match_on_the_body_finds_words():
    condition = {"kind": "event_match", "key": "content.body", "pattern": "CAKE"}
    assert matches(condition, facts(content={"body": "A cake!"}))
    assert not matches(condition, facts(content={"body": "pancakes"}))
    assert not matches(condition, facts(content={"body": 5}))


@pytest.mark.parametrize(
    ("value", "actual", "matched"),
    [
        (True, True, True),
        (True, "true", False),
        (True, 1, False),
        (1, True, False),
        (1, 1, True),
        (1, 1.0, False),
        (None, None, True),
        ("a", "A", False),
        ("a", ["a"], False),
        ([], [], False),
        ({}, {}, False),
    ],
)
def test_event_property_is_compares_without_casts(value, actual, matched):
    condition = {"kind": "event_property_is", "key": r"content.m\.federate", "value": value}
    assert matches(condition, facts(content={"m.federate": actual})) is matched


def test_event_property_is_null_does_not_match_absence():
    assert not matches({"kind": "event_property_is", "key": "content.x", "value": None}, facts())


@pytest.mark.parametrize(
    ("actual", "matched"),
    [(["#a:x", "#b:x"], True), (["a:x"], False), ("#a:x", False), ({"#a:x": 1}, False), ([["#a:x"]], False)],
)
def test_event_property_contains_looks_for_exactly_the_value(actual, matched):
    condition = {"kind": "event_property_contains", "key": "content.alt_aliases", "value": "#a:x"}
    assert matches(condition, facts(content={"alt_aliases": actual})) is matched


@pytest.mark.parametrize(
    ("text", "matched"),
    [("3", True), ("==3", True), ("<3", False), ("<=3", True), (">2", True), (">=4", False), ("2", False)]
    + [(text, False) for text in ("", "x", "=3", "3.0", "-3", " 3", "!=2", "٣", "9" * 30)],
)
def test_room_member_count(text, matched):
    assert matches({"kind": "room_member_count", "is": text}, facts()) is matched


def test_contains_display_name_looks_for_the_name_as_a_word():
    condition = {"kind": "contains_display_name"}
    said = facts(content={"body": "well, Bob (the *) said"})
    assert matches(condition, said, display_name="bob (THE *)")
    assert matches(condition, said, display_name="Bob")
    assert not matches(condition, said, display_name="bo")
    assert not matches(condition, said, display_name="b*b")
    assert not matches(condition, said, display_name="")
    assert not matches(condition, said, display_name=None)
    assert rule_set(Rule(Kind.OVERRIDE, "n", (), (condition,))).needs_display_name
    assert not DEFAULT_RULE_SET.needs_display_name


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "org.example.future"},
        {},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "key": 1, "pattern": "*"},
        {"kind": "event_property_is", "key": "type"},
        {"kind": "room_member_count", "is": 3},
        {"kind": "sender_notification_permission"},
    ],
)
def test_conditions_nobody_understands_never_match(condition):
    assert not matches(condition, facts())


# Actions


def test_actions_are_read():
    sound = {"set_tweak": "sound", "value": "cake.wav"}
    actions = read_actions(["notify", sound, {"set_tweak": "highlight"}, {"set_tweak": "x", "value": [1]}])
    assert actions.notify
    assert actions.highlight
    assert actions.sound == "cake.wav"
    assert actions.tweaks["x"] == [1]
    assert actions.listed[1] == sound


def test_highlight_may_be_denied_and_is_nothing_without_notify():
    assert not read_actions(["notify", {"set_tweak": "highlight", "value": False}]).highlight
    assert not read_actions([{"set_tweak": "highlight"}]).highlight
    assert not read_actions(["dont_notify", "coalesce"]).notify


# What clients see


def test_clients_see_the_rules_by_kind_with_their_own_id_filled_in():
    shown = to_json(UNTOUCHED, BOB)
    assert list(shown) == ["override", "content", "room", "sender", "underride"]
    by_id = {rule["rule_id"]: rule for rule in shown["override"]}
    assert by_id[".m.rule.invite_for_me"]["conditions"][2]["pattern"] == BOB
    assert by_id[".m.rule.is_user_mention"]["conditions"][0]["value"] == BOB
    assert "\0" not in str(shown)
    assert not by_id[".m.rule.master"]["enabled"]


def test_clients_see_master_then_own_then_predefined_rules():
    rules = put(UNTOUCHED, parse_rule(Kind.OVERRIDE, "mine", {"actions": []}))
    ids = [rule["rule_id"] for rule in to_json(rules, BOB)["override"]]
    assert ids[:3] == [".m.rule.master", "mine", ".m.rule.suppress_notices"]
    assert ids[-1] == ".m.rule.suppress_edits"


# Cost


def test_a_hostile_rule_set_has_a_budget():
    evil = [Rule(Kind.CONTENT, str(n), pattern="a?" * 400 + "b" + str(n)) for n in range(300)]
    evil += [Rule(Kind.CONTENT, f"k{n}", pattern="*a" * 400) for n in range(300)]
    rules = rule_set(*evil)
    event_facts = facts(content={"body": "a" * 60_000 + " b0 b1"})
    started = time.process_time()
    evaluate(rules, event_facts, Recipient(BOB))
    assert time.process_time() - started < 1


def test_an_ordinary_rule_set_reads_the_longest_message_to_its_end():
    keywords = [
        Rule(Kind.CONTENT, str(n), ("notify", {"set_tweak": "x"}), pattern=f"k{n}") for n in range(30)
    ]
    body = "word " * 13_000 + "k7"
    assert evaluate(rule_set(*keywords), facts(content={"body": body}), Recipient(BOB)).tweaks == {"x": None}
