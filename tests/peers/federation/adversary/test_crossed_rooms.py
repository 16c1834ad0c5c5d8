"""Two rooms at once: what stands in one must mean nothing in the other."""

from typing import Any

import pytest

from tests.peers.federation.adversary.hostile import host, invite, is_hidden, join_hosted, still_works
from tests.support.adversary import V1, V2, Adversary, View
from tests.support.people import Person


def powerful_room(alice: Person, mallory: Adversary, version: str = "11") -> View:
    """A room that the victim is in, and in which Mallory may do anything."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version=version, power_level_content_override=override
    )
    return mallory.join(room)


@pytest.fixture
def own(alice: Person, mallory: Adversary) -> View:
    return powerful_room(alice, mallory)


def grab(mallory: Adversary, view: View, **fields: Any) -> dict[str, Any]:
    """All power in the room."""
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels.get("users", {}), mallory.user: 100}
    return mallory.event(view, levels, type_="m.room.power_levels", state_key="", **fields)


def state_ids(alice: Person, room: str) -> dict[tuple[str, str], str]:
    return {key: event["event_id"] for key, event in alice.state(room).items()}


# Previous events


@pytest.mark.parametrize("version", ["1", "2", "6", "11"])
def test_previous_events_of_another_room(alice: Person, mallory: Adversary, version: str) -> None:
    """The state before an event is that of its own room, whatever it claims to follow."""
    own = powerful_room(alice, mallory, version)
    room = alice.create_room(preset="public_chat", room_version=version)
    view = mallory.join(room)
    mallory.say(own, "here I may do anything")
    before = state_ids(alice, room)
    elsewhere = list(own.heads)
    pdus = [
        grab(mallory, view, prev_events=elsewhere),
        mallory.event(view, "between the rooms", prev_events=elsewhere),
        mallory.event(view, "from both", prev_events=[*view.heads, *elsewhere]),
        mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="", prev_events=elsewhere),
    ]
    for pdu in pdus:
        mallory.send([pdu])
        mallory.settle(5)
    assert state_ids(alice, room) == before
    assert is_hidden(alice, room, view, *pdus)
    assert still_works(alice, room, view, mallory)


def test_the_state_of_a_secret_room_through_an_event_that_follows_it(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    """Whoever knows the ID of an event must not get at the room that it is in."""
    secret = alice.create_room(preset="private_chat", room_version="11", name="Secret")
    hidden = alice.send(secret, "secret")
    for prevs in ([hidden], [*view.heads, hidden]):
        bait = mallory.event(view, "follows what is secret", prev_events=prevs)
        mallory.send([bait])
        mallory.settle(5)
        for door in ("state", "state_ids"):
            answer = mallory.request("GET", f"{V1}/{door}/{room}?event_id={view.name(bait)}")
            assert b"Secret" not in answer.body
            for event in alice.state(secret).values():
                assert event["event_id"].encode() not in answer.body


# Redactions


def test_a_redaction_that_waits_for_an_event_of_another_room(
    alice: Person, room: str, own: View, third: Adversary, mallory: Adversary
) -> None:
    """Power to redact in one room is none in another, also over what has not arrived yet."""
    victim = third.join(room)
    coming = third.event(victim, "do not empty me")
    name = victim.name(coming)
    mallory.say(own, {"redacts": name}, type_="m.room.redaction", redacts=name)
    third.send([coming])
    assert alice.event(room, name)["content"]["body"] == "do not empty me"


def test_a_redaction_of_an_event_of_another_room(
    alice: Person, room: str, own: View, mallory: Adversary
) -> None:
    name = alice.send(room, "do not empty me")
    mallory.say(own, {"redacts": name}, type_="m.room.redaction", redacts=name)
    assert alice.event(room, name)["content"]["body"] == "do not empty me"


# Event IDs that others choose: room versions 1 and 2


@pytest.mark.parametrize("version", ["1", "2"])
def test_one_event_id_in_two_rooms(alice: Person, mallory: Adversary, version: str) -> None:
    """The second is refused, and the first stays what it was."""
    own = powerful_room(alice, mallory, version)
    room = alice.create_room(preset="public_chat", room_version=version)
    view = mallory.join(room)
    first = mallory.event(own, "first", event_id="$same:evil.example")
    mallory.send([first])
    second = mallory.event(view, "second", event_id="$same:evil.example")
    follower = mallory.event(view, "follower", prev_events=["$same:evil.example"])
    mallory.send([second])
    mallory.send([follower])
    mallory.settle(5)
    assert alice.event(own.room_id, "$same:evil.example")["content"]["body"] == "first"
    assert not alice.sees(room, "$same:evil.example")
    assert is_hidden(alice, room, view, follower)
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_one_event_id_for_what_is_fetched_and_what_is_sent(
    alice: Person, mallory: Adversary, version: str, elsewhere: bool
) -> None:
    """What is stored is what was judged: another event cannot slip in under a name that was let in."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version=version, power_level_content_override=override
    )
    view = mallory.join(room)
    there = powerful_room(alice, mallory, version) if elsewhere else view
    outlier = grab(mallory, there, event_id="$same:evil.example", depth=view.depth)
    rest = [there.state[key] for key in (("m.room.create", ""), ("m.room.member", mallory.user))]
    bait = mallory.event(there, "fetch it", auth_events=[*map(there.name, rest), "$same:evil.example"])
    mallory.on(f"{V1}/event_auth", lambda _: (200, {"auth_chain": [*there.state.values(), outlier]}))
    mallory.on(f"{V1}/event/", lambda _: (200, {"pdus": [outlier]}))
    mallory.send([bait])
    mallory.settle(5)
    step_down = {**view.state["m.room.power_levels", ""]["content"], "users": {alice.user_id: 100}}
    mallory.say(view, step_down, type_="m.room.power_levels", state_key="")
    mallory.catch_up(view)
    before = state_ids(alice, room)

    cuckoo = mallory.event(
        view, {"membership": "join", "displayname": "Cuckoo"}, type_="m.room.member",
        state_key=mallory.user, event_id="$same:evil.example",
    )  # fmt: skip
    mallory.send([cuckoo])
    mallory.settle(5)
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="")
    mallory.send([name])
    alice.server.restart()
    assert state_ids(alice, room) == before
    alice.send(room, "still mine")
    assert still_works(alice, room, view, mallory)


# Room versions


@pytest.mark.parametrize("version", ["3", "11"])
def test_an_invite_that_calls_a_room_another_version(
    alice: Person, bob: Person, third: Adversary, mallory: Adversary, version: str
) -> None:
    """What an invite said of a room is not believed once somebody joins it."""
    view = host(third, version)
    answer = invite(mallory, bob.user_id, version="1", room=view.room_id)
    assert answer.status == 200, answer.json
    bob.sync()

    assert join_hosted(alice, third, view).status == 200
    third.say(view, "welcome")
    assert alice.messages(view.room_id).texts == ["welcome"]
    assert alice.state_of(view.room_id, "m.room.create")["room_version"] == version
    alice.server.restart()
    third.say(view, "still here?")
    alice.send(view.room_id, "yes")
    assert alice.messages(view.room_id).texts == ["yes", "still here?", "welcome"]
    third.settle()
    assert any(pdu["content"].get("body") == "yes" for pdu in third.received)


def test_a_resident_that_calls_a_room_another_version(
    alice: Person, third: Adversary, mallory: Adversary
) -> None:
    """Events judged by the wrong rules must not be remembered as refused."""
    view = host(third, "10")
    knocker = "@knocker:innocent.example"
    for type_, key, content, sender in (
        ("m.room.join_rules", "", {"join_rule": "knock"}, third.user),
        ("m.room.member", knocker, {"membership": "knock"}, knocker),
    ):
        view.take(third.event(view, content, type_=type_, state_key=key, sender=sender))
    chain = list(view.state.values())
    view.take(third.event(view, {"join_rule": "public"}, type_="m.room.join_rules", state_key=""))
    answer = {"state": list(view.state.values()), "auth_chain": chain, "origin": third.name}
    join = {"membership": "join"}
    template = third.event(view, join, type_="m.room.member", state_key=alice.user_id, sender=alice.user_id)
    for server, version in ((mallory, "6"), (third, "10")):
        made = {"room_version": version, "event": template}
        server.on(f"{V1}/make_join", lambda _, made=made: (200, made))
        server.on(f"{V2}/send_join", lambda _: (200, answer))
    assert join_hosted(alice, mallory, view).status == 200  # by the help of the other in the end
    assert mallory.requests_to(f"{V2}/send_join")
    assert alice.state_of(view.room_id, "m.room.member", knocker)["membership"] == "knock"
