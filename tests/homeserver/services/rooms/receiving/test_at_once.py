"""Our own events and those of others at the same time: in memory and in rows it is one room."""

import random

import pytest

from homeserver.protocol.ids import RoomId, ServerName
from tests.homeserver.services.rooms.receiving.conftest import share
from tests.homeserver.services.rooms.receiving.events_elsewhere import made
from tests.support.federation import Federation
from tests.support.people import path
from tests.support.running import Running


@pytest.mark.parametrize("seed", range(10))
def test_writes_that_wait_in_line(federation: Federation, seed: int) -> None:
    chance = random.Random(seed)
    shared = share(federation, room_version="11")
    alice, bob, room = shared.alice, shared.bob.user_id, shared.room
    levels = {"users": {alice.user_id: 100, bob: 60}}
    alice.set_state(room, "m.room.power_levels", levels)
    federation.settle()
    federation.part("one", "two")
    server = federation.all["one"]
    heads = federation.heads_of(room, "two")
    theirs = []
    for number in range(6):
        prev = [theirs[-1].event_id] if theirs and chance.random() < 0.5 else heads
        type_, key = chance.choice((("m.room.message", None), ("m.room.topic", ""), ("m.room.name", "")))
        content = {"body": f"{number}", "topic": f"{number}", "name": f"{number}"}
        theirs.append(made(federation, "two", room, type_, bob, content, state_key=key, prev=prev))

    server.database.hold_writes()
    receiving = server.services.rooms.receiving
    waiting = []
    received = []
    for number, event in enumerate(theirs):
        received.append(Running(receiving.receive(RoomId(room), [dict(event.pdu)], origin=ServerName("two"))))
        sent = path("rooms", room, "send", "m.room.message", f"t{number}")
        topic = path("rooms", room, "state", "m.room.topic", "")
        waiting.append(
            alice.start_request(
                "PUT", *chance.choice(((sent, {"body": "x"}), (topic, {"topic": f"a{number}"})))
            )
        )
        if chance.random() < 0.5:
            server.database.release(1)
    for _ in range(200):
        if all(one.is_done for one in (*received, *waiting)):
            break
        server.database.release(1)
        federation.time.advance(0.01)
    server.database.release()

    assert all(one.answer.status == 200 for one in waiting)
    assert [outcome for one in received for outcome in one.result().values() if outcome is not None] == []
    federation.check_memory(room, "one")
    assert {event.event_id for event in theirs} <= federation.accepted(room, "one")
    server.services.rooms.rooms.discard(server.services.rooms.rooms.find(RoomId(room)))
    said = alice.send(room, "after it all")
    assert federation.heads_of(room, "one") == [said]
    federation.heal()
    assert federation.state_of(room, "one") == federation.state_of(room, "two")
    assert federation.accepted(room, "one") <= federation.events_of(room, "two").keys()
