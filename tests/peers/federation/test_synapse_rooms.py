"""Postroom and Synapse in one room, in each version of rooms: what is said and done is the same on both."""

from functools import partial
from typing import Any

import pytest

from tests.peers.federation.people import Neighbour
from tests.peers.federation.sides import (
    VERSIONS,
    Sides,
    at_once,
    make_peace,
    numbers,
    same_history,
    same_on_screen,
    same_room,
    same_state,
    signed_part,
)
from tests.support.people import path

pytestmark = [pytest.mark.xdist_group("synapse rooms"), pytest.mark.slow]

ODD = {
    "msgtype": "m.text",
    "body": '\u00e9\u0301 \U0001f600 \u2028 \x7f \\ " / <b>&amp;</b> \ud7ff \uffff \x01',
    "": {"empty key": [], "é": None, "e\u0301": True, "\uffff": 1, "\U00010000": 2},
    "numbers": [0, -1, 9007199254740991, -9007199254740991],
    "deep": [[[[[[{"a": [{}]}]]]]]],
}


@pytest.mark.parametrize("version", VERSIONS)
def test_people_talk(sides: Sides, version: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", room_version=version, name="Kitchen")
    anna.send_many(room, ["one", "two", "three"])
    sides.enter(room, bela, anna)
    assert bela.state_of(room, "m.room.create").get("room_version", "1") == version
    sent = []
    for number in range(3):
        for one, other in ((anna, bela), (bela, anna)):
            sent.append(one.send(room, ODD if number == 1 else f"{number}"))
            (event,) = other.reads(room, sent[-1])
            assert event["sender"] == one.user_id
            assert event["content"] == (ODD if number == 1 else {"msgtype": "m.text", "body": f"{number}"})
    for person in (anna, bela):
        person.reads(room, *sent)
    same_room(room, anna, bela)


@pytest.mark.parametrize("version", ["1", "2", "3", "4", "5", "7", "8"])
def test_the_other_versions(sides: Sides, version: str) -> None:
    """An invite (of the first kind where the version is 1 or 2), messages, state, a redaction, a return."""
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", room_version=version, name="Attic")
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    first = bela.send(room, "dusty")
    anna.reads(room, first)
    levels = sides.power(room, anna, bela, 50)
    bela.set_state(room, "m.room.topic", {"topic": "dust"})
    bela.set_state(room, "m.room.power_levels", {**levels, "users_default": 60}, refused="M_FORBIDDEN")
    bela.redact(room, first, reason="clean now")
    anna.soon(lambda: anna.event(room, first)["content"] == {}, "the redaction")
    same_room(room, anna, bela)
    bela.leave(room)
    anna.sees_member_soon(room, bela, "leave")
    anna.invite(room, bela)
    bela.invite_soon(room)
    sides.enter(room, bela, anna)
    bela.reads(room, anna.send(room, "again"))
    same_state(room, anna, bela)


@pytest.mark.parametrize("version", VERSIONS)
def test_state_and_power(sides: Sides, version: str) -> None:
    anna, bela, room = sides.shared_room(room_version=version)
    bela.set_state(room, "m.room.topic", {"topic": "mutiny"}, refused="M_FORBIDDEN")
    sides.power(room, anna, bela, 50)
    topic = bela.set_state(room, "m.room.topic", {"topic": "soup"})
    anna.reads(room, topic)
    name = anna.set_state(room, "m.room.name", {"name": "Kitchen"})
    bela.reads(room, name)
    mine = bela.set_state(room, "org.example.recipe", ODD, state_key="☕ é")
    anna.reads(room, mine)
    assert anna.state(room)["org.example.recipe", "☕ é"]["content"] == ODD
    sides.power(room, anna, bela, 0)
    bela.set_state(room, "m.room.topic", {"topic": "mutiny"}, refused="M_FORBIDDEN")
    same_room(room, anna, bela)
    assert anna.state_of(room, "m.room.topic") == {"topic": "soup"}


@pytest.mark.parametrize("version", VERSIONS)
def test_redactions(sides: Sides, version: str) -> None:
    """Of one's own, of others' with the power, of state: what is left is the same, and why is told."""
    anna, bela, room = sides.shared_room(room_version=version)
    by_anna = anna.send(room, "regretted by Anna")
    bela.reads(room, by_anna)
    by_bela = bela.send(room, "regretted by Bela")
    anna.reads(room, by_bela)
    topic = anna.set_state(room, "m.room.topic", {"topic": "regretted"})
    sides.power(room, anna, bela, 1)
    levels = anna.state(room)["m.room.power_levels", ""]["event_id"]
    bela.reads(room, topic, levels)
    bela.redact(room, by_anna, refused="M_FORBIDDEN")
    redactions = {redacted: anna.redact(room, redacted, reason=f"for {redacted}") for redacted in
                  (by_bela, by_anna, topic, levels)}  # fmt: skip
    bela.reads(room, *redactions.values())
    mine = bela.send(room, "regretted by Bela himself")
    anna.reads(room, mine)
    redactions[mine] = bela.redact(room, mine, reason=f"for {mine}")
    anna.reads(room, redactions[mine])
    for redacted, redaction in redactions.items():
        for person in (anna, bela):
            event: Any = person.soon(
                lambda p=person, r=redacted: cut_down(p, room, r), f"{redacted} cut down"
            )
            because = event["unsigned"]["redacted_because"]
            assert because["event_id"] == redaction
            assert because["content"]["reason"] == f"for {redacted}"
            assert because.get("redacts", because["content"].get("redacts")) == redacted
            if redacted != levels:
                assert event["content"] == {}
    assert signed_part(anna.event(room, levels)) == signed_part(bela.event(room, levels))
    assert "users" in bela.event(room, levels)["content"]
    assert ("invite" in bela.event(room, levels)["content"]) == (version in ("11", "12"))
    for person in (anna, bela):
        assert person.state(room)["m.room.topic", ""]["content"] == {}
    same_state(room, anna, bela)
    same_history(room, anna, bela)


def cut_down(person: Any, room: str, event_id: str) -> Any:
    """The event, once a redaction stands beside it."""
    event = person.event(room, event_id)
    return event if "redacted_because" in event.get("unsigned", {}) else None


@pytest.mark.parametrize("version", VERSIONS)
def test_power_is_fought_over(sides: Sides, version: str) -> None:
    """Both change what the other may do, at the same moment: whoever wins, wins on both servers."""
    anna, bela, room = sides.shared_room(room_version=version)
    levels = sides.power(room, anna, bela, 90)
    demoted = {**levels, "users": {**levels["users"], bela.user_id: 0}}
    softened = {**levels, "state_default": 40}
    target = path("rooms", room, "state", "m.room.power_levels", "")
    for number, hers in enumerate(({**levels, "invite": 1}, {**levels, "invite": 2}, demoted)):
        at_once(
            partial(anna.request, "PUT", target, hers),
            partial(bela.request, "PUT", target, {**softened, "kick": 51 + number}),
        )
        bela.request("PUT", path("rooms", room, "state", "m.room.topic", ""), {"topic": f"{number}"})
        make_peace(room, anna, bela)


@pytest.mark.parametrize("version", ["6", "10", "12"])
def test_equals_demote_and_ban_each_other(sides: Sides, version: str) -> None:
    """Two with the same power strike at the same moment: one of them wins, on both servers."""
    anna, bela, room = sides.shared_room(room_version=version)
    carla, dora = sides.another_guest("carla"), sides.host.register(f"dora{next(numbers)}")
    sides.enter(room, carla, anna, bela)
    dora.join(room)
    carla.sees_member_soon(room, dora, "join")
    levels = sides.power(room, anna, dora, 50)
    levels["events"]["m.room.power_levels"] = 50
    anna.set_state(room, "m.room.power_levels", levels)
    levels = sides.power(room, anna, carla, 50)
    target = path("rooms", room, "state", "m.room.power_levels", "")

    def without(person: Neighbour, **more: Any) -> dict[str, Any]:
        return {**levels, "users": {**levels["users"], person.user_id: 0}, **more}

    at_once(partial(carla.request, "PUT", target, without(carla, kick=50, invite=1)),
            partial(dora.request, "PUT", target, without(dora, kick=50, invite=2)))  # fmt: skip
    make_peace(room, anna, bela)
    assert anna.state_of(room, "m.room.power_levels")["invite"] in (1, 2)
    sides.power(room, anna, carla, 50)
    sides.power(room, anna, dora, 50)
    carla.soon(lambda: carla.state_of(room, "m.room.power_levels")["users"].get(dora.user_id) == 50)
    at_once(partial(carla.request, "POST", path("rooms", room, "ban"), {"user_id": bela.user_id}),
            partial(anna.request, "PUT", target, without(carla)))  # fmt: skip
    make_peace(room, anna, carla)
    same_state(room, anna, carla)


def test_creators_of_version_12_on_both_servers(sides: Sides) -> None:
    """Nobody is above them, whatever the power levels say; a new room keeps them when it is told to."""
    anna, bela = sides.people()
    room = anna.create_room(
        preset="public_chat", room_version="12",
        creation_content={"additional_creators": [bela.user_id]},
    )  # fmt: skip
    sides.enter(room, bela, anna)
    carla, dora = sides.another_guest("carla"), sides.host.register(f"dora{next(numbers)}")
    sides.enter(room, carla, anna, bela)
    sides.enter(room, dora, anna, bela)
    levels = anna.state_of(room, "m.room.power_levels")
    most = {carla.user_id: 9007199254740991, dora.user_id: 150}
    bela.reads(room, anna.set_state(room, "m.room.power_levels", {**levels, "users": most}))
    carla.soon(lambda: carla.state_of(room, "m.room.power_levels")["users"] == most, "the levels")
    for creator in (anna, bela):
        carla.kick(room, creator, refused="M_FORBIDDEN")
        dora.ban(room, creator, refused="M_FORBIDDEN")
    named = {**levels, "users": {bela.user_id: 0}}
    refused = anna.request("PUT", path("rooms", room, "state", "m.room.power_levels", ""), named)
    assert refused.status in (400, 403)
    bela.kick(room, carla)
    bela.kick(room, dora)
    anna.sees_member_soon(room, dora, "leave")
    assert anna.member(room, carla) == "leave"
    same_room(room, anna, bela)
    body = {"new_version": "12", "additional_creators": [anna.user_id]}
    successor = bela.ask("POST", path("rooms", room, "upgrade"), body)["replacement_room"]
    anna.soon(
        lambda: anna.state_of(room, "m.room.tombstone")["replacement_room"] == successor, "the tombstone"
    )
    anna.join_from(successor, sides.guest.name)
    bela.sees_member_soon(successor, anna, "join")
    bela.reads(successor, anna.set_state(successor, "m.room.name", {"name": "Both of ours"}))
    same_room(successor, anna, bela)


@pytest.mark.parametrize("version", VERSIONS)
def test_leaving_and_coming_back(sides: Sides, version: str) -> None:
    anna, bela, room = sides.shared_room(room_version=version)
    bela.leave(room, reason="holidays")
    anna.sees_member_soon(room, bela, "leave")
    assert anna.state(room)["m.room.member", bela.user_id]["content"]["reason"] == "holidays"
    missed = anna.send_many(room, [f"missed {number}" for number in range(5)])
    anna.set_state(room, "m.room.name", {"name": "While you were away"})
    bela.sync()
    assert room not in bela.joined_rooms()
    assert not bela.sees(room, missed[0])
    sides.enter(room, bela, anna)
    assert bela.state_of(room, "m.room.name")["name"] == "While you were away"
    anna.reads(room, bela.send(room, "I am back"))
    assert set(missed) <= set(same_history(room, anna, bela))
    same_state(room, anna, bela)
    same_on_screen(room, anna, bela)


@pytest.mark.parametrize("version", VERSIONS)
def test_history_from_before_the_join(sides: Sides, version: str) -> None:
    """Messages, what was redacted, who came and went: as if one had been there."""
    anna, bela = sides.people()
    room = anna.create_room(preset="public_chat", room_version=version)
    dora = sides.host.register(f"dora{next(numbers)}")
    dora.join(room)
    sent = anna.send_many(room, [f"old {number}" for number in range(70 if version in ("10", "12") else 25)])
    dora.leave(room)
    dora.join(room)
    anna.redact(room, sent[3])
    sent += dora.send_many(
        room, [f"less old {number}" for number in range(50 if version in ("10", "12") else 15)]
    )
    sides.enter(room, bela, anna)
    ids = same_history(room, anna, bela)
    assert [event_id for event_id in ids if event_id in sent] == sent
    assert bela.event(room, sent[3])["content"] == {}
    assert not set(bela.screen.ids(room)) & set(ids[:-20]), "old events told by syncs"


@pytest.mark.parametrize(("version", "next_version"), [("6", "9"), ("9", "10"), ("10", "11"), ("11", "12")])
def test_upgrades(sides: Sides, version: str, next_version: str) -> None:
    """The tombstone is told; the members follow; settings, bans, powers and the alias move."""
    anna, bela = sides.people()
    alias = f"house{next(numbers)}"
    room = anna.create_room(
        preset="public_chat", room_version=version, name="Old house", room_alias_name=alias, topic="stones"
    )
    sides.enter(room, bela, anna)
    banned = sides.another_guest("banned")
    sides.enter(room, banned, anna)
    anna.ban(room, banned)
    sides.power(room, anna, bela, 40)
    answer = anna.ask("POST", path("rooms", room, "upgrade"), {"new_version": next_version})
    successor = answer["replacement_room"]
    bela.soon(
        lambda: bela.state_of(room, "m.room.tombstone")["replacement_room"] == successor, "the tombstone"
    )
    assert bela.ask("GET", path("directory", "room", f"#{alias}:{sides.host.name}"))["room_id"] == successor
    banned.join_from(successor, sides.host.name, refused="M_FORBIDDEN")
    sides.enter(successor, bela, anna)
    create = bela.state_of(successor, "m.room.create")
    assert create["room_version"] == next_version
    assert create["predecessor"]["room_id"] == room
    assert bela.state_of(successor, "m.room.name")["name"] == "Old house"
    assert bela.state_of(successor, "m.room.topic")["topic"] == "stones"
    assert bela.state_of(successor, "m.room.power_levels")["users"][bela.user_id] == 40
    bela.send(room, "echo", refused="M_FORBIDDEN")  # nobody speaks in the old house any more
    anna.reads(successor, bela.send(successor, "nice"))
    same_room(successor, anna, bela)
    same_state(room, anna, bela)
