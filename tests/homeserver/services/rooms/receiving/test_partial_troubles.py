"""What goes wrong, or is meant to, while a room is known in part."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.runtime.database import DatabaseUnavailable
from homeserver.services.rooms.receiving import CannotJudge, partial
from homeserver.storage.received_rooms import PartialRoom
from tests.homeserver.services.rooms.receiving.partly_known import PartlyKnown
from tests.homeserver.services.rooms.receiving.test_partial_joins import Withheld
from tests.homeserver.services.rooms.receiving.test_partial_replays import Kicked, Stage
from tests.support.federation import Federation
from tests.support.people import path


@pytest.fixture
def known(federation: Federation) -> PartlyKnown:
    return PartlyKnown(federation)


def test_an_answer_over_which_we_stumble_does_not_end_the_asking(
    known: PartlyKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.come_in()
    tell = known.withheld.whole_state_before

    async def stumble(*_: Any, **__: Any) -> int:
        raise KeyError("nobody thought of that")

    monkeypatch.setattr(known.withheld, "whole_state_before", stumble)
    known.federation.time.advance(60)
    monkeypatch.setattr(known.withheld, "whole_state_before", tell)
    known.complete()
    assert known.federation.state_of(known.room, "two") == known.federation.state_of(known.room, "one")


@pytest.mark.parametrize("part", ["state", "auth_chain"])
def test_a_state_that_has_the_join_in_it_already(
    known: PartlyKnown, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    client: Any = known.two.services.remote
    send_join = client.send_join

    async def with_itself(server: Any, room: Any, event_id: Any, event: Any, **more: Any) -> Any:
        answer = await send_join(server, room, event_id, event, **more)
        return replace(answer, **{part: [*getattr(answer, part), event]})

    monkeypatch.setattr(client, "send_join", with_itself)
    known.come_in()
    assert known.bob.joined_rooms() == {known.room}
    known.complete()
    assert known.federation.state_of(known.room, "two") == known.federation.state_of(known.room, "one")
    known.bob.send(known.room, "here")
    known.federation.settle()
    assert "here" in known.alice.sync().texts(known.room)


def test_who_tells_the_members_does_not_tell_who_has_power(
    known: PartlyKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That was told by the server that let us in; another may leave out what it likes."""
    known.come_in()
    remote = known.withheld.client
    state = remote.state

    async def without_levels(*args: Any) -> Any:
        answer = await state(*args)
        left = [pdu for pdu in answer.pdus if pdu["type"] != "m.room.power_levels"]
        assert len(left) < len(answer.pdus)
        return replace(answer, pdus=left)

    monkeypatch.setattr(remote, "state", without_levels)
    known.complete()
    assert known.federation.state_of(known.room, "two") == known.federation.state_of(known.room, "one")


def test_not_only_the_first_servers_of_a_long_list_are_asked(
    known: PartlyKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "MOST_ASKED", 2)
    client: Any = known.two.services.remote
    send_join = client.send_join
    names = [*(f"nobody{number}" for number in range(5)), "late"]

    async def with_names(*args: Any, **more: Any) -> Any:
        return replace(await send_join(*args, **more), servers_in_room=names)

    monkeypatch.setattr(client, "send_join", with_names)
    known.come_in()
    tell = known.withheld.whole_state_before
    asked: list[ServerName] = []

    async def only_the_last(room: Any, event_id: Any, server: Any, *, part: int) -> int:
        asked.append(server)
        known.withheld.is_open = server == "late"
        return await tell(room, event_id, ServerName("one"), part=part)

    monkeypatch.setattr(known.withheld, "whole_state_before", only_the_last)
    known.federation.time.advance(1_300)
    known.federation.settle()
    assert not known.is_partial, asked


def test_a_room_made_here_is_known_in_part_when_somebody_comes_back(federation: Federation) -> None:
    """Nothing is missing before their join, but members are."""
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = bob.create_room(preset="public_chat")
    federation.join(alice, room, via="two")
    federation.settle()
    crowd = [one.register(f"member{number}") for number in range(25)]
    for person in crowd:
        person.join(room)
    federation.settle()
    bob.leave(room)
    federation.settle()
    withheld = Withheld(federation)
    bob.ask("POST", path("join", room), {}, via="one")
    federation.settle(1)
    bob.sync()
    assert two.services.rooms.receiving.is_partial(RoomId(room))

    crowd[20].send(room, "you do not know me")
    federation.settle(1)

    assert bob.sync().texts(room) == ["you do not know me"]
    withheld.is_open = True
    federation.time.advance(1_300)
    federation.settle()
    assert federation.state_of(room, "two") == federation.state_of(room, "one")


def test_what_is_taken_in_afterwards_is_told(federation: Federation) -> None:
    stage = Stage(federation)
    kicked = Kicked(stage)
    said = kicked.beside_it("m.room.message", {"msgtype": "m.text", "body": "hers"})
    stage.take(kicked.kick)
    stage.take(said)
    assert said.event_id not in stage.bob.sync().ids(stage.room)

    stage.complete()

    answer = stage.bob.sync()
    assert answer.is_limited(stage.room)
    start = answer.prev_batch(stage.room)
    older = stage.bob.ask("GET", path("rooms", stage.room, "messages"), dir="b", **{"from": start})
    assert said.event_id in [event["event_id"] for event in older["chunk"]]


def test_a_database_that_fails_after_the_join_does_not_leave_the_room_in_part(
    known: PartlyKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.withheld = Withheld(known.federation)
    rooms = known.two.services.rooms.rooms
    load = rooms.load
    failed: list[RoomId] = []

    async def fail_once(room_id: RoomId) -> Any:
        sql = "SELECT COUNT(*) FROM partial_rooms"
        is_stored = known.federation.read(known.two, lambda txn: txn.value(sql))
        if is_stored and not failed:
            failed.append(room_id)
            raise DatabaseUnavailable
        return await load(room_id)

    monkeypatch.setattr(rooms, "load", fail_once)
    known.bob.request("POST", path("join", known.room), {}, via="one")
    known.federation.settle(1)
    assert failed
    assert known.is_partial
    known.complete()


def test_a_database_that_fails_after_the_completion_holds_nobody_up(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(federation)
    kicked = Kicked(stage)
    said = kicked.beside_it("m.room.message", {"msgtype": "m.text", "body": "hers"})
    stage.take(kicked.kick)
    stage.take(said)
    events: Any = stage.two.services.rooms.receiving._partial._rewriting._events
    read_again = events.read_again
    failed: list[str] = []

    async def fail_once(event_id: Any) -> Any:
        if not failed:
            failed.append(event_id)
            raise DatabaseUnavailable
        return await read_again(event_id)

    monkeypatch.setattr(events, "read_again", fail_once)
    stage.complete()

    assert failed
    stage.bob.sync()
    stage.bob.send(stage.room, "and on")
    assert stage.bob.sync().texts(stage.room) == ["and on"]


def test_few_large_states_are_in_memory_at_once(federation: Federation) -> None:
    """After a restart, say, with many rooms known in part."""
    (two,) = federation.servers("two")
    rooms = two.services.rooms.receiving._partial
    now: list[int] = [0]
    seen: list[int] = []

    class Slow:
        async def whole_state_before(self, *_: Any, **__: Any) -> int:
            now[0] += 1
            seen.append(now[0])
            await rooms._ground.clock.sleep(10)
            now[0] -= 1
            raise CannotJudge("not now")

    rooms._fetching = Slow()  # type: ignore[assignment]
    for number in range(20):
        person = two.register(f"person{number}")
        room = RoomId(person.create_room())
        servers = [f"server{number}a", f"server{number}b"]
        rooms.begin(PartialRoom(room, EventId("$join"), -1, orjson.dumps(servers)))
    federation.time.advance(200)
    assert len(seen) >= 40
    assert max(seen) == partial.STATES_AT_ONCE


def test_a_completion_whose_success_was_not_told_is_done_again(
    known: PartlyKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was lost when the database had committed."""
    known.come_in()
    rewriting: Any = known.two.services.rooms.receiving._partial._rewriting
    run = rewriting.run
    failed: list[Any] = []

    async def lose_the_answer(*args: Any) -> None:
        await run(*args)
        if not failed:
            failed.append(args)
            raise DatabaseUnavailable

    monkeypatch.setattr(rewriting, "run", lose_the_answer)
    known.complete()
    assert failed
    assert known.federation.state_of(known.room, "two") == known.federation.state_of(known.room, "one")
