"""What one server says of an event, or before it, does not decide what others may say later."""

from collections.abc import Sequence

import pytest

from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.remote.federation_answers import StateIdsAnswer
from homeserver.services.rooms.receiving import fetching
from homeserver.services.rooms.room import Room
from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import default_auth, made, receive
from tests.homeserver.services.rooms.receiving.test_gaps import pdus, quietly
from tests.support.federation import Federation
from tests.support.people import Person
from tests.support.running import result


@pytest.fixture
def carol(federation: Federation, shared: Shared) -> Person:
    """Of a third server, in the room too."""
    (three,) = federation.servers("three")
    carol = three.register("carol")
    federation.join(carol, shared.room, via="one")
    federation.settle()
    return carol


def remote_of(shared: Shared) -> object:
    return shared.federation.all["one"].services.rooms.receiving._intake._fetching._remote


def three_lies_about_the_state(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that nothing lies between, and that Bob was never in the room."""
    remote = remote_of(shared)
    missing_events, state_ids = remote.missing_events, remote.state_ids

    async def nothing(destination: ServerName, *args: object, **kwargs: object) -> Sequence[object]:
        return [] if destination == "three" else await missing_events(destination, *args, **kwargs)

    async def without_bob(destination: ServerName, *args: object) -> StateIdsAnswer:
        answer = await state_ids(destination, *args)
        join = shared.federation.state_of(shared.room, "one")["m.room.member", shared.bob.user_id]
        if destination == "three":
            answer.pdu_ids.remove(EventId(join))
        return answer

    monkeypatch.setattr(remote, "missing_events", nothing)
    monkeypatch.setattr(remote, "state_ids", without_bob)


def test_a_lie_about_the_state_before_an_event_does_not_reject_it_for_good(
    shared: Shared, carol: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = quietly(shared, 2)
    shared.federation.settle()
    three_lies_about_the_state(shared, monkeypatch)

    lied = receive(shared.federation, "one", shared.room, pdus(shared, said[1:]), origin="three")
    honest = receive(shared.federation, "one", shared.room, pdus(shared, said), origin="two")

    assert isinstance(lied[said[1]], AuthFailure)
    assert honest == dict.fromkeys(said)
    assert set(said) <= shared.federation.accepted(shared.room, "one")


def test_a_lie_about_the_state_before_history_does_not_reject_it_for_good(
    shared: Shared, carol: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, receiving = shared.federation, shared.federation.all["one"].services.rooms.receiving
    said = quietly(shared, 3)
    federation.settle()
    three_lies_about_the_state(shared, monkeypatch)
    monkeypatch.setattr(fetching, "MOST_ROUNDS", 0)
    receive(federation, "one", shared.room, pdus(shared, said[2:]), origin="two")

    def backfilled(origin: str) -> list[str]:
        room, history = RoomId(shared.room), pdus(shared, said[1:2])
        found = result(receiving.backfilled(room, history, origin=ServerName(origin)))
        return [event.event_id for event in found]

    with pytest.raises(AuthFailure):
        backfilled("three")
    assert backfilled("two") == said[1:2]


def test_what_comes_late_is_shown_also_if_it_authorises_what_came_before_it(
    shared: Shared, carol: Person
) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob
    shared.alice.set_state(room, "m.room.power_levels", {"users": {bob.user_id: 90}})
    federation.settle()
    shared.alice.sync()
    for name in ("two", "three"):
        destinations = federation.all[name].services.traffic.destinations
        result(destinations.block(ServerName("one"), is_blocked=True))
    levels = bob.set_state(room, "m.room.power_levels", {"users": {bob.user_id: 90}, "invite": 10})
    federation.settle()
    said = carol.send(room, "by those levels")

    outcome = receive(federation, "one", room, [federation.pdu(said, "three")], origin="three")

    assert outcome == {said: None}
    assert shared.alice.sync().ids(room) == [levels, said]


def test_an_event_that_names_what_authorises_it_twice_is_rejected_each_time(shared: Shared) -> None:
    """Also when its sender said the same a moment ago."""
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    once = default_auth(True, bob)
    good = made(federation, "two", room, "m.room.message", bob, {"body": "good"}, auth=once)
    bad = made(
        federation, "two", room, "m.room.message", bob, {"body": "bad"}, auth=[*once, once[0]],
        prev=[good.event_id],
    )  # fmt: skip

    outcome = receive(federation, "one", room, [good, bad], origin="two")

    assert outcome[good.event_id] is None
    assert isinstance(outcome[bad.event_id], AuthFailure)


def test_an_event_over_which_the_room_stumbles_does_not_stop_what_comes_later(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    first = made(federation, "two", room, "m.room.message", bob, {"body": "good"})
    second = made(federation, "two", room, "m.room.message", bob, {"body": "bad"}, prev=[first.event_id])
    push = federation.all["one"].services.rooms.writer._push
    evaluate = push.evaluate

    def stumble(room: Room, event: Event) -> object:
        if event.content["body"] == "bad":
            raise ZeroDivisionError
        return evaluate(room, event)

    monkeypatch.setattr(push, "evaluate", stumble)

    with pytest.raises(ZeroDivisionError):
        receive(federation, "one", room, [first, second], origin="two")
    shared.alice.send(room, "and on")

    assert shared.alice.sync().texts(room) == ["and on"]
    federation.check_memory(room, "one")


def test_a_gap_of_large_events_does_not_fill_the_memory(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    quietly(shared, 0)
    said = [shared.bob.send(shared.room, f"{number}" + 50_000 * "x") for number in range(12)]
    monkeypatch.setattr(fetching, "MOST_PER_ANSWER", 2)
    monkeypatch.setattr(fetching, "MOST_MISSING_BYTES", 200_000)
    remote, asked = remote_of(shared), []
    missing_events = remote.missing_events

    async def counted(*args: object, **kwargs: object) -> Sequence[object]:
        asked.append(args)
        return await missing_events(*args, **kwargs)

    monkeypatch.setattr(remote, "missing_events", counted)

    outcome = receive(shared.federation, "one", shared.room, pdus(shared, said[-1:]), origin="two")

    assert outcome == {said[-1]: None}
    assert len(asked) == 2
