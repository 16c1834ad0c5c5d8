"""A server that answers late, or never, holds a room up for seconds; what it told late is not lost."""

import pytest

from homeserver.protocol.ids import RoomId, ServerName
from homeserver.services.rooms.receiving import CannotJudge, fetching
from homeserver.services.rooms.receiving.patience import FILLING_S
from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import receive
from tests.homeserver.services.rooms.receiving.test_gaps import pdus, quietly, without_missing_events
from tests.homeserver.services.rooms.receiving.test_partial_joins import Withheld, crowded
from tests.support.federation import Federation
from tests.support.people import Person, path
from tests.support.running import Running, result

A_TURN_S = 10.0
A_WHILE_S = 1_000.0


@pytest.fixture
def carol(federation: Federation, shared: Shared) -> Person:
    """Of a third server, in the room too."""
    (three,) = federation.servers("three")
    carol = three.register("carol")
    federation.join(carol, shared.room, via="one")
    federation.settle()
    return carol


def transaction(shared: Shared, ids: list[str]) -> None:
    """`two` sends events to `one`."""
    inbox = shared.federation.all["one"].services.traffic.inbox
    body = {"pdus": pdus(shared, ids), "edus": [], "origin": "two"}
    result(inbox.take(ServerName("two"), f"txn of {ids[0]}", body))


def state_takes(shared: Shared, seconds: float) -> list[float]:
    """`two` tells the state before its events as late as that; when `one` asked."""
    time = shared.federation.time
    fetching = shared.federation.all["one"].services.rooms.receiving._intake._fetching
    prompt, asked = fetching._remote.state_ids, []

    async def late(destination: ServerName, *args: object) -> object:
        if destination == "two":
            asked.append(time.monotonic())
            await time.sleep(seconds)
        return await prompt(destination, *args)

    fetching._remote.state_ids = late
    return asked


def test_a_server_that_never_answers_holds_a_room_up_for_one_turn(shared: Shared, carol: Person) -> None:
    federation = shared.federation
    shared.alice.sync()
    said = quietly(shared, 5)
    federation.network.silent.add("two")
    for event_id in said[1:]:
        transaction(shared, [event_id])
    federation.time.advance(0.5)

    carol.send(shared.room, "I am quick")
    federation.time.advance(A_TURN_S + 1)

    assert "I am quick" in shared.alice.sync().texts(shared.room)


def test_a_silent_server_holds_up_less_and_less(shared: Shared, carol: Person) -> None:
    federation = shared.federation
    said = quietly(shared, 30)
    federation.network.silent.add("two")
    for event_id in said[1:]:
        transaction(shared, [event_id])
    federation.time.advance(30)

    for number in range(10):
        carol.send(shared.room, f"still quick {number}")
        federation.time.advance(A_TURN_S)

    assert "still quick 8" in shared.alice.sync().texts(shared.room)
    federation.network.silent.clear()
    federation.heal()
    assert said[-1] in federation.accepted(shared.room, "one")


def test_an_honest_server_that_is_slow_gets_its_events_in(shared: Shared, carol: Person) -> None:
    federation = shared.federation
    said = quietly(shared, 3)
    without_missing_events(shared)
    asked = state_takes(shared, 45.0)
    transaction(shared, said[-1:])
    federation.time.advance(A_TURN_S + 1)
    carol.send(shared.room, "meanwhile")
    federation.time.advance(5)

    assert "meanwhile" in shared.alice.sync().texts(shared.room)
    federation.time.advance(A_WHILE_S)

    assert said[-1] in federation.accepted(shared.room, "one")
    assert len(asked) == 1
    federation.check_memory(shared.room, "one")


def test_a_server_fills_the_memory_with_one_large_state_at_a_time(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = shared.federation
    other = shared.alice.create_room(preset="public_chat")
    federation.join(shared.bob, other, via="one")
    quietly(shared, 0)
    last = [[shared.bob.send(room, f"{number}") for number in range(2)][-1] for room in (shared.room, other)]
    without_missing_events(shared)
    monkeypatch.setattr(fetching, "MOST_ONE_BY_ONE", -1)
    remote = federation.all["one"].services.rooms.receiving._intake._fetching._remote
    state, under_way, most = remote.state, [0], [0]

    async def late(*args: object) -> object:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await federation.time.sleep(60)
        under_way[0] -= 1
        return await state(*args)

    monkeypatch.setattr(remote, "state", late)
    transaction(shared, last)
    federation.time.advance(A_WHILE_S)

    assert most == [1]
    assert last[0] in federation.accepted(shared.room, "one")
    assert last[1] in federation.accepted(other, "one")


def test_many_gaps_that_are_told_slowly_do_not_add_up(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, time = shared.federation, shared.federation.time
    said = quietly(shared, 120)
    remote = federation.all["one"].services.rooms.receiving._intake._fetching._remote
    missing_events = remote.missing_events

    async def slowly(*args: object, **kwargs: object) -> object:
        await time.sleep(4)
        return await missing_events(*args, **kwargs)

    monkeypatch.setattr(remote, "missing_events", slowly)
    monkeypatch.setattr(fetching, "MOST_PER_ANSWER", 1)
    monkeypatch.setattr(fetching, "FEWEST_PER_ROUND", 0)
    monkeypatch.setattr(fetching, "FEWEST_PER_SECOND", 0.1)
    receiving = federation.all["one"].services.rooms.receiving
    batch = pdus(shared, [said[39], said[79], said[119]])

    taking = Running(receiving.receive(RoomId(shared.room), batch, origin=ServerName("two")))
    time.advance(FILLING_S + 2 * A_TURN_S)

    assert taking.result() == dict.fromkeys([said[39], said[79], said[119]])


def test_what_was_told_late_is_asked_again_if_the_room_became_whole(federation: Federation) -> None:
    """The sets of states that grew out of the incomplete one are gone then."""
    alice, bob, room = crowded(federation)
    withheld = Withheld(federation)
    bob.ask("POST", path("join", room), {}, via="one")
    federation.settle(1)
    two = federation.all["two"]
    receiving, time = two.services.rooms.receiving, federation.time
    fetching = receiving._intake._fetching
    prompt, fetching.missing_events = fetching._remote.state_ids, nothing_missing
    asked: list[float] = []

    async def late(destination: ServerName, *args: object) -> object:
        asked.append(time.monotonic())
        if len(asked) == 1:
            await time.sleep(100)
        return await prompt(destination, *args)

    fetching._remote.state_ids = late
    result(federation.all["one"].services.traffic.destinations.block(ServerName("two"), is_blocked=True))
    alice.send(room, "unheard")
    last = federation.pdu(alice.send(room, "heard late"), "one")
    running = Running(receiving.receive(RoomId(room), [last], origin=ServerName("one")))
    time.advance(20)
    assert [type(outcome) for outcome in running.result().values()] == [CannotJudge]
    time.advance(100)
    withheld.is_open = True
    time.advance(1_200)
    federation.settle()
    assert not receiving.is_partial(RoomId(room))

    assert list(receive(federation, "two", room, [last], origin="one").values()) == [None]

    assert bob.sync().texts(room)[-1] == "heard late"
    federation.check_memory(room, "two")


async def nothing_missing(*_: object, **__: object) -> list[object]:
    return []
