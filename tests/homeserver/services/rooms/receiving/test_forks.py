"""Several heads: what a room is then, how many an event names, how they become one again."""

import pytest

from homeserver.protocol.ids import RoomId
from homeserver.services.rooms.receiving import CannotJudge, forking
from tests.homeserver.services.rooms.receiving.conftest import Shared, share
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.support.federation import Federation
from tests.support.running import result


def fork(shared: Shared, count: int) -> list[str]:
    """So many messages of Bob's server, each after the same event."""
    federation, room = shared.federation, shared.room
    heads = federation.heads_of(room, "two")
    federation.part("one", "two")
    events = [
        made(
            federation, "two", room, "m.room.message", shared.bob.user_id, {"body": f"branch {n}"}, prev=heads
        )
        for n in range(count)
    ]
    outcome = receive(federation, "one", room, events, origin="two")
    assert set(outcome.values()) == {None}
    return [event.event_id for event in events]


def test_each_branch_is_a_head_until_somebody_speaks(shared: Shared) -> None:
    branches = fork(shared, 3)
    assert sorted(shared.federation.heads_of(shared.room, "one")) == sorted(branches)

    said = shared.alice.send(shared.room, "after all")

    assert sorted(shared.federation.pdu(said, "one")["prev_events"]) == sorted(branches)
    assert shared.federation.heads_of(shared.room, "one") == [said]


def test_heads_are_known_after_a_restart(shared: Shared) -> None:
    branches = fork(shared, 3)
    shared.federation.all["one"].restart()

    said = shared.alice.send(shared.room, "after all")

    assert sorted(shared.federation.pdu(said, "one")["prev_events"]) == sorted(branches)


@pytest.mark.parametrize("version", ["1", "6", "12"])
def test_dummy_events_close_what_one_event_cannot_name(federation: Federation, version: str) -> None:
    shared = share(federation, room_version=version)
    fork(shared, 25)

    said = shared.alice.send(shared.room, "after all")

    assert federation.heads_of(shared.room, "one") == [said]
    named = federation.pdu(said, "one")["prev_events"]
    assert len(named) <= 10
    federation.check_memory(shared.room, "one")
    federation.heal()
    shared.bob.send(shared.room, "me too")
    federation.settle()
    assert federation.heads_of(shared.room, "one") == federation.heads_of(shared.room, "two")
    assert federation.accepted(shared.room, "one") <= federation.events_of(shared.room, "two").keys()


def test_a_flood_of_forks_is_closed_at_once(shared: Shared) -> None:
    fork(shared, 45)
    assert len(shared.federation.heads_of(shared.room, "one")) <= 10
    shared.federation.check_memory(shared.room, "one")


def test_forks_that_nobody_may_close_are_bounded(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    monkeypatch.setattr(forking, "MOST_BRANCHES", 30)
    carol = federation.all["one"].register("carol")
    carol.join(room)
    shared.alice.set_state(room, "m.room.power_levels", {"users": {bob: 50}, "events_default": 10})
    shared.alice.leave(room)
    federation.settle()
    heads = federation.heads_of(room, "two")
    federation.part("one", "two")
    content = {"body": "fork"}
    for number in range(40):
        sent = {**content, "number": number}
        event = made(federation, "two", room, "m.room.message", bob, sent, prev=heads)
        last = receive(federation, "one", room, [event], origin="two")[event.event_id]

    assert isinstance(last, CannotJudge)
    assert len(federation.heads_of(room, "one")) == 30


def test_state_on_two_branches_is_resolved_and_told(shared: Shared) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    shared.alice.set_state(room, "m.room.power_levels", {"users": {bob: 60}})
    federation.settle()
    shared.alice.sync()
    heads = federation.heads_of(room, "two")
    federation.part("one", "two")
    federation.time.advance(1)
    mine = shared.alice.set_state(room, "m.room.topic", {"topic": "Alice's"})
    told = shared.alice.sync()
    federation.time.advance(1)
    theirs = made(federation, "two", room, "m.room.topic", bob, {"topic": "Bob's"}, state_key="", prev=heads)
    name = made(
        federation, "two", room, "m.room.name", bob, {"name": "Bob's"}, state_key="", prev=[theirs.event_id]
    )

    receive(federation, "one", room, [theirs, name], origin="two")

    assert told.known_state(room)["m.room.topic", ""]["event_id"] == mine
    state = federation.state_of(room, "one")
    assert state["m.room.name", ""] == name.event_id
    assert state["m.room.topic", ""] in (mine, theirs.event_id)
    news = shared.alice.sync(use_state_after=True)
    after = news.state_after(room)
    assert after["m.room.name", ""]["event_id"] == name.event_id
    federation.check_memory(room, "one")


def test_a_ban_on_one_branch_holds_on_both(federation: Federation) -> None:
    shared = share(federation, room_version="11")
    room = shared.room
    shared.bob.sync()
    federation.part("one", "two")
    shared.alice.ban(room, shared.bob)
    shared.bob.send(room, "I am still here")
    federation.heal()

    assert shared.bob.request("POST", f"/rooms/{room}/send/m.room.message", {}).status >= 400
    loaded = result(federation.all["two"].services.rooms.rooms.load(RoomId(room)))
    assert loaded.membership(shared.bob.user_id) == "ban"
    assert not loaded.joined_local
    assert room in shared.bob.sync().left
    for name in ("one", "two"):
        federation.check_memory(room, name)
