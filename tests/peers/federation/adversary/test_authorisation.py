"""Power that was never given, was taken away, or is that of another room."""

import pytest

from tests.peers.federation.adversary.hostile import is_hidden, still_works
from tests.support.adversary import Adversary, View
from tests.support.people import Person


def test_power_that_was_never_given(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels.get("users", {}), mallory.user: 100}
    grab = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="")
    ban = mallory.event(view, {"membership": "ban"}, type_="m.room.member", state_key=alice.user_id)
    mallory.send([grab, name, ban])
    assert is_hidden(alice, room, view, grab, name, ban)
    assert room in alice.joined_rooms()
    assert still_works(alice, room, view, mallory)


def test_rejected_power_cannot_be_used(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2022-39374: what rests on a rejected event is rejected, and never comes into the state."""
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels.get("users", {}), mallory.user: 100}
    grab = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    auth = [view.name(view.state["m.room.create", ""]), view.name(grab)]
    auth.append(view.name(view.state["m.room.member", mallory.user]))
    name = mallory.event(
        view,
        {"name": "Mine"},
        type_="m.room.name",
        state_key="",
        auth_events=auth,
        prev_events=[view.name(grab)],
    )
    for batch in ([grab, name], [name], [grab], [name]):
        mallory.send(batch)
    assert is_hidden(alice, room, view, grab, name)
    after = alice.send(room, "fine")
    mallory.settle()
    sent = next(pdu for pdu in mallory.received if view.name(pdu) == after)
    assert not {view.name(grab), view.name(name)} & set(sent["prev_events"])


def test_auth_events_of_another_room(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """MSC4307: power in one room is none in another."""
    own = alice.create_room(
        preset="public_chat",
        room_version="11",
        power_level_content_override={"users": {alice.user_id: 100, mallory.user: 100}},
    )
    there = mallory.join(own)
    auth = [view.name(view.state["m.room.create", ""]), view.name(there.state["m.room.power_levels", ""])]
    auth.append(view.name(view.state["m.room.member", mallory.user]))
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="", auth_events=auth)
    mallory.send([name])
    assert is_hidden(alice, room, view, name)


@pytest.mark.parametrize(
    "what", ["twice", "without create", "without membership", "too many", "unknown", "itself"]
)
def test_wrong_auth_events(alice: Person, room: str, view: View, mallory: Adversary, what: str) -> None:
    honest = mallory.event(view)
    chosen = honest["auth_events"]
    create = view.name(view.state["m.room.create", ""])
    member = view.name(view.state["m.room.member", mallory.user])
    auth = {
        "twice": [*chosen, chosen[0]],
        "without create": [one for one in chosen if one != create],
        "without membership": [one for one in chosen if one != member],
        "too many": [*chosen, view.name(view.state["m.room.join_rules", ""])],
        "unknown": [*chosen, "$" + "A" * 43],
        "itself": [*chosen, view.name(honest)],
    }[what]
    pdu = mallory.event(view, "no", auth_events=auth)
    mallory.send([pdu])
    mallory.settle(10)
    assert is_hidden(alice, room, view, pdu)
    assert still_works(alice, room, view, mallory)


def test_who_was_banned_writes_on_an_old_branch(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    """Allowed by the state it rests on, not by the present: kept, not shown, and never built upon."""
    alice.ban(room, mallory.user)
    late = [mallory.event(view, f"I was quicker {number}") for number in range(3)]
    mallory.send(late)
    assert is_hidden(alice, room, view, *late)
    assert alice.state_of(room, "m.room.member", mallory.user)["membership"] == "ban"
    alice.send(room, "peace")


def test_who_was_demoted_uses_old_power(alice: Person, mallory: Adversary) -> None:
    override = {"users": {alice.user_id: 100, mallory.user: 50}}
    room = alice.create_room(preset="public_chat", room_version="11", power_level_content_override=override)
    view = mallory.join(room)
    levels = alice.state_of(room, "m.room.power_levels")
    alice.set_state(room, "m.room.power_levels", {**levels, "users": {alice.user_id: 100}})
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="")
    mallory.send([name])
    assert alice.state_of(room, "m.room.name", refused="M_NOT_FOUND")
    assert is_hidden(alice, room, view, name)


def test_a_second_create_event(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    content = {"creator": mallory.user, "room_version": "11"}
    create = mallory.event(view, content, type_="m.room.create", state_key="")
    first = mallory.event(
        view, content, type_="m.room.create", state_key="", prev_events=[], auth_events=[], depth=1
    )
    mallory.send([create, first])
    assert is_hidden(alice, room, view, create, first)


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_creators_cannot_be_demoted(alice: Person, mallory: Adversary, version: str) -> None:
    override = {"users": {mallory.user: 100} if version == "12" else {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version=version, power_level_content_override=override
    )
    view = mallory.join(room)
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels["users"], alice.user_id: 0}
    grab = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    kick = mallory.event(view, {"membership": "leave"}, type_="m.room.member", state_key=alice.user_id)
    mallory.send([grab, kick])
    assert is_hidden(alice, room, view, grab, kick)
    assert room in alice.joined_rooms()
