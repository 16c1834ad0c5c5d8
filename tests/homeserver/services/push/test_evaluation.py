"""Whom an event notifies: everybody once, exceptions by name."""

from collections.abc import Mapping
from typing import Any

import orjson

from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.push_rules import Kind
from homeserver.protocol.push_rules_editing import enable, parse_rule, put
from homeserver.services.account_data import IGNORED_USERS
from homeserver.services.push.evaluation import PushOutcome
from tests.support.personal import ALICE, BOB, CAROL, House
from tests.support.running import result

TEXT = {"msgtype": "m.text", "body": "hello"}
STRANGER = UserId("@stranger:elsewhere")


def evaluate(
    house: House, room: RoomId, content: Mapping[str, Any], sender: UserId = ALICE, **more: str
) -> PushOutcome | None:
    return house.evaluation.evaluate(house.rooms.all[room], house.event(room, sender, content, **more))


def exceptions(outcome: PushOutcome | None) -> dict[UserId, tuple[bool, bool]]:
    assert outcome is not None
    return {user: (actions.notify, actions.highlight) for user, actions in outcome.personal.items()}


def add_rule(house: House, user: UserId, kind: Kind, rule_id: str, body: Mapping[str, Any]) -> None:
    rule = parse_rule(kind, rule_id, body)
    result(house.push_rules.edit(user, lambda rules: put(rules, rule)))


def mentioning(*users: str) -> dict[str, Any]:
    return {**TEXT, "m.mentions": {"user_ids": list(users)}}


def test_a_message_notifies_everybody_and_names_nobody(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB, CAROL)
    outcome = evaluate(small_house, room, TEXT)
    assert outcome is not None
    assert (outcome.notify, outcome.personal) == (1, {})


def test_what_notifies_nobody_has_no_outcome(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    assert evaluate(small_house, room, {**TEXT, "msgtype": "m.notice"}) is None
    assert evaluate(small_house, room, {}, type_="m.reaction") is None
    assert evaluate(small_house, room, {"name": "x"}, type_="m.room.name", state_key="") is None


def test_the_mentioned_are_exceptions_if_they_are_local_members(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB, CAROL)
    small_house.join(room, STRANGER)
    outcome = evaluate(small_house, room, mentioning(BOB, STRANGER, ALICE, "@nobody:here", "rubbish"))
    assert exceptions(outcome) == {BOB: (True, True)}


def test_somebody_named_in_what_notifies_nobody(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    outcome = evaluate(small_house, room, {**mentioning(BOB)}, type_="org.example.custom")
    assert outcome is not None
    assert outcome.notify == 0
    assert exceptions(outcome) == {BOB: (True, True)}


def test_an_invited_user_of_this_server_is_notified(small_house: House) -> None:
    room = small_house.create_room(ALICE)
    invite = {"membership": "invite"}
    outcome = evaluate(small_house, room, invite, type_="m.room.member", state_key=BOB)
    assert exceptions(outcome) == {BOB: (True, False)}
    assert evaluate(small_house, room, invite, type_="m.room.member", state_key=STRANGER) is None
    assert evaluate(small_house, room, {"membership": "join"}, type_="m.room.member", state_key=BOB) is None


def test_a_room_mention_needs_the_power(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    levels = {"users": {ALICE: 50}}
    small_house.send(room, ALICE, levels, type_="m.room.power_levels", state_key="")
    content = {**TEXT, "m.mentions": {"room": True}}
    by_alice, by_bob = (evaluate(small_house, room, content, sender) for sender in (ALICE, BOB))
    assert by_alice is not None
    assert by_bob is not None
    assert (by_alice.notify, by_bob.notify) == (2, 1)


def test_rules_of_ones_own_make_an_exception(small_house: House) -> None:
    room, other = small_house.create_room(ALICE, BOB, CAROL), small_house.create_room(ALICE, BOB)
    add_rule(small_house, BOB, Kind.ROOM, room, {"actions": []})
    assert exceptions(evaluate(small_house, room, TEXT)) == {BOB: (False, False)}
    assert exceptions(evaluate(small_house, other, TEXT)) == {}


def test_own_rules_that_come_to_the_same_make_none(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    add_rule(small_house, BOB, Kind.CONTENT, "tea", {"pattern": "tea", "actions": ["notify"]})
    assert exceptions(evaluate(small_house, room, TEXT)) == {}


def test_a_keyword_highlights_for_those_who_asked(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB, CAROL)
    highlight = ["notify", {"set_tweak": "highlight"}]
    for user in (BOB, CAROL, ALICE):
        add_rule(small_house, user, Kind.CONTENT, "tea", {"pattern": "tea", "actions": highlight})
    outcome = evaluate(small_house, room, {**TEXT, "body": "More tea?"})
    assert exceptions(outcome) == {BOB: (True, True), CAROL: (True, True)}


def test_own_rules_apply_to_the_mentioned_and_the_invited(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    for user in (BOB, CAROL):
        result(
            small_house.push_rules.edit(
                user, lambda rules: enable(rules, Kind.OVERRIDE, ".m.rule.master", enabled=True)
            )
        )
    assert exceptions(evaluate(small_house, room, mentioning(BOB))) == {BOB: (False, False)}
    invite = {"membership": "invite"}
    outcome = evaluate(small_house, room, invite, type_="m.room.member", state_key=CAROL)
    assert exceptions(outcome) == {CAROL: (False, False)}


def test_display_names_are_each_ones_own(small_house: House) -> None:
    room = small_house.create_room(ALICE)
    for user, name in ((BOB, "Bobby"), (CAROL, "Caro")):
        content = {"membership": "join", "displayname": name}
        small_house.join(room, user)
        small_house.send(room, user, content, type_="m.room.member", state_key=user)
        body = {
            "conditions": [{"kind": "contains_display_name"}],
            "actions": ["notify", {"set_tweak": "highlight"}],
        }
        add_rule(small_house, user, Kind.OVERRIDE, "name", body)
    outcome = evaluate(small_house, room, {**TEXT, "body": "Hello Bobby"})
    assert exceptions(outcome) == {BOB: (True, True)}


def test_those_who_ignore_the_sender_are_not_notified(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB, CAROL)
    ignoring = orjson.dumps({"ignored_users": {ALICE: {}}})
    result(small_house.account_data.put(BOB, IGNORED_USERS, ignoring))
    assert exceptions(evaluate(small_house, room, mentioning(BOB))) == {BOB: (False, False)}
    assert exceptions(evaluate(small_house, room, TEXT, CAROL)) == {}
    outcome = evaluate(
        small_house,
        small_house.create_room(ALICE),
        {"membership": "invite"},
        type_="m.room.member",
        state_key=BOB,
    )
    assert exceptions(outcome) == {BOB: (False, False)}
