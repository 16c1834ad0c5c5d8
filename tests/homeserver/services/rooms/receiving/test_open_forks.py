"""More heads than one event may name, and nobody here may close them: what our own people say then."""

import random
from typing import Any

import pytest

from homeserver.protocol.events import Draft, Event, build
from homeserver.protocol.ids import RoomId, ServerName
from homeserver.services.rooms.receiving import closing
from tests.homeserver.services.rooms.receiving.conftest import Shared, share
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.homeserver.services.rooms.receiving.test_forks import fork
from tests.support.adversary import Adversary
from tests.support.federation import Federation
from tests.support.people import Person, path
from tests.support.policy_server import POLICY, Guard
from tests.support.running import Running

DUMMY = "org.matrix.dummy_event"


def leave_carol_alone(shared: Shared) -> Person:
    """She may speak, and not close forks; Bob may change the room's levels."""
    carol = shared.federation.all["one"].register("carol")
    carol.join(shared.room)
    levels = {"users": {shared.bob.user_id: 60}, "events": {DUMMY: 90}}
    shared.alice.set_state(shared.room, "m.room.power_levels", levels)
    shared.alice.leave(shared.room)
    shared.federation.settle()
    return carol


def check_both(shared: Shared) -> None:
    """When they have met again, both servers have the same, in memory too."""
    federation, room = shared.federation, shared.room
    federation.heal()
    shared.bob.send(room, "me too")
    federation.settle()
    assert federation.state_of(room, "one") == federation.state_of(room, "two")
    assert federation.heads_of(room, "one") == federation.heads_of(room, "two")
    assert federation.accepted(room, "one") <= federation.events_of(room, "two").keys()
    for name in ("one", "two"):
        federation.check_memory(room, name)


@pytest.mark.parametrize("version", ["1", "6", "12"])
def test_what_an_event_does_not_name_stays_a_head(federation: Federation, version: str) -> None:
    shared = share(federation, room_version=version)
    carol = leave_carol_alone(shared)
    branches = fork(shared, 25)

    said = carol.send(shared.room, "after ten")

    named = federation.pdu(said, "one")["prev_events"]
    named = [one if isinstance(one, str) else one[0] for one in named]
    assert len(named) == 10
    assert sorted(federation.heads_of(shared.room, "one")) == sorted({*branches, said} - {*named})
    assert carol.sync().ids(shared.room)[-1] == said
    for number in range(3):
        last = carol.send(shared.room, f"and on {number}")
    assert federation.heads_of(shared.room, "one") == [last]
    check_both(shared)


def test_nothing_is_allowed_by_a_branch_that_was_left_out(shared: Shared) -> None:
    """What one server takes for allowed, others must find allowed by what the event names."""
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    carol = leave_carol_alone(shared)
    heads = federation.heads_of(room, "two")
    federation.part("one", "two")
    levels = {"users": {bob: 60, carol.user_id: 55}, "events": {DUMMY: 90}}
    events = [
        made(federation, "two", room, "m.room.power_levels", bob, levels, state_key="", prev=heads)
        if number == 12
        else made(federation, "two", room, "m.room.message", bob, {"number": number}, prev=heads)
        for number in range(25)
    ]
    assert set(receive(federation, "one", room, events, origin="two").values()) == {None}

    carol.send(room, "I name the first ten")
    topic = carol.set_state(room, "m.room.topic", {"topic": "allowed by the thirteenth"})
    carol.send(room, "that is all of them")

    check_both(shared)
    assert federation.state_of(room, "two")["m.room.topic", ""] == topic


def test_a_repeated_transaction_is_answered_with_its_event_after_a_restart(shared: Shared) -> None:
    carol = leave_carol_alone(shared)
    fork(shared, 25)
    url = f"/rooms/{shared.room}/send/m.room.message/once"
    first = carol.ask("PUT", url, {"body": "once"})["event_id"]
    shared.federation.all["one"].restart()

    assert carol.ask("PUT", url, {"body": "once"})["event_id"] == first


def test_nothing_is_drafted_for_those_who_may_not_close(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_carol_alone(shared)
    drafted: list[Draft] = []

    def counted(draft: Draft, *signing: Any) -> Event:
        drafted.append(draft)
        return build(draft, *signing)

    monkeypatch.setattr(closing, "build", counted)
    assert len(fork(shared, 25)) == 25
    assert drafted == []


def test_one_of_many_who_may_closes_forks(shared: Shared) -> None:
    """Alice's power may be anywhere among theirs."""
    federation, room = shared.federation, shared.room
    for number in range(12):
        federation.all["one"].register(f"guest{number}").join(room)
    levels = {"users": {shared.bob.user_id: 60, "@guest7:one": 90}, "events": {DUMMY: 90}}
    shared.alice.set_state(room, "m.room.power_levels", levels)
    shared.alice.leave(room)
    federation.settle()

    fork(shared, 25)

    assert len(federation.heads_of(room, "one")) <= 10


def test_who_may_not_speak_is_refused(shared: Shared) -> None:
    carol = leave_carol_alone(shared)
    branches = fork(shared, 25)

    carol.set_state(shared.room, "m.room.topic", {"topic": "mine"}, refused="M_FORBIDDEN")

    assert sorted(shared.federation.heads_of(shared.room, "one")) == sorted(branches)
    shared.federation.check_memory(shared.room, "one")


def test_a_policy_server_signs_what_closes_forks(shared: Shared) -> None:
    """Or servers that ask for its word would not take it."""
    federation, room = shared.federation, shared.room
    adversary = Adversary(federation.all["one"], POLICY)
    adversary.join(room)
    shared.alice.set_state(room, "m.room.policy", Guard(adversary, "12").content)
    federation.settle()
    federation.part("one", "two")
    fork(shared, 25)

    said = shared.alice.send(room, "after all")

    assert federation.heads_of(room, "one") == [said]
    before = [federation.pdu(event_id, "one") for event_id in federation.pdu(said, "one")["prev_events"]]
    assert [POLICY in pdu["signatures"] for pdu in before if pdu["type"] == DUMMY] == [True, True]


@pytest.mark.parametrize("seed", range(5))
def test_people_speak_while_more_forks_come(shared: Shared, seed: int) -> None:
    chance = random.Random(seed)
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    carol = leave_carol_alone(shared)
    heads = federation.heads_of(room, "two")
    fork(shared, 12)
    server = federation.all["one"]
    server.database.hold_writes()
    forks, said = [], []
    for number in range(8):
        type_, key = chance.choice((("m.room.message", None), ("m.room.topic", "")))
        content = {"body": f"{number}", "topic": f"{number}"}
        event = made(federation, "two", room, type_, bob, content, state_key=key, prev=heads)
        coming = server.services.rooms.receiving.receive(
            RoomId(room), [dict(event.pdu)], origin=ServerName("two")
        )
        forks.append((event.event_id, Running(coming)))
        url = path("rooms", room, "send", "m.room.message", f"t{number}")
        said.append(carol.start_request("PUT", url, {"body": f"{number}"}))
        server.database.release(chance.randrange(3))
    for _ in range(300):
        server.database.release(1)
        federation.time.advance(0.01)
    server.database.release()

    assert [one.answer.status for one in said] == [200] * 8
    assert [one.result() for _, one in forks] == [{event_id: None} for event_id, _ in forks]
    federation.check_memory(room, "one")
    while len(federation.heads_of(room, "one")) > 1:
        carol.send(room, "on we go")
    check_both(shared)
