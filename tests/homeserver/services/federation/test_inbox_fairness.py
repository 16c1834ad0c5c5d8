"""Servers take turns: what one has sent, and how long it keeps us waiting, does not harm the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.hashes import event_id_of
from homeserver.protocol.ids import EventId, RoomId
from homeserver.services.federation import room_intake
from homeserver.services.federation.room_intake import REST_FACTOR
from homeserver.services.rooms.receiving import CannotJudge
from tests.homeserver.services.federation.test_inbox import VERSION, Rooms, pdu, send, start, taking
from tests.support.people import Person
from tests.support.whole_server import WholeServer

HOLDS_S = 60.0


class SlowRooms(Rooms):
    """Events of `evil` hold up their room for a minute each, as if it did not tell what they rest on."""

    def __init__(self, server: WholeServer) -> None:
        super().__init__()
        self._server = server
        self.done: list[tuple[str, float]] = []
        self.of_evil: MatrixError | None = None

    async def receive(
        self, room_id: RoomId, pdus: Sequence[Mapping[str, Any]], *, origin: Any
    ) -> dict[EventId, MatrixError | None]:
        self.batches.append((room_id, origin, [pdu["content"]["body"] for pdu in pdus]))
        if origin == "evil":
            await self._server.services.clock.sleep(HOLDS_S * len(pdus))
        now = self._server.time.monotonic()
        self.done += [(pdu["content"]["body"], now) for pdu in pdus]
        verdict = self.of_evil if origin == "evil" else None
        return dict.fromkeys([event_id_of(VERSION, pdu) for pdu in pdus], verdict)

    def when(self, text: str) -> float:
        return dict(self.done)[text]


@pytest.fixture
def slow(server: WholeServer) -> SlowRooms:
    rooms = SlowRooms(server)
    taking(server, rooms)
    return rooms


def of_evil(room: str, count: int) -> dict[str, Any]:
    return {"pdus": [pdu(room, f"evil {number}", sender="@eve:evil") for number in range(count)]}


def test_servers_take_turns_in_a_room(server: WholeServer, room: str) -> None:
    rooms = taking(server)
    for begin in range(0, 500, 50):
        texts = [f"{begin + number}" for number in range(50)]
        start(server, {"pdus": [pdu(room, text) for text in texts]}).result()
    start(server, {"pdus": [pdu(room, "near", sender="@nell:near")]}, origin="near").result()
    server.time.advance(1)
    assert rooms.texts.index("near") <= 50
    assert [text for text in rooms.texts if text != "near"] == [str(number) for number in range(500)]


def test_a_server_that_holds_up_a_room_rests_while_others_have_something(
    server: WholeServer, room: str, slow: SlowRooms
) -> None:
    start(server, of_evil(room, 20), origin="evil").result()
    server.time.advance(21 * HOLDS_S)  # the first time all; from now on one at a time
    start(server, of_evil(room, 20), origin="evil").result()
    sent_at = []
    for number in range(60):
        sent_at.append(server.time.monotonic())
        send(server, pdu(room, f"good {number}"))
        server.time.advance(HOLDS_S / 6)
    waits = [slow.when(f"good {number}") - at for number, at in enumerate(sent_at)]
    assert max(waits) <= HOLDS_S + 1
    assert sum(wait > 1 for wait in waits) <= 60 / REST_FACTOR + 1
    server.time.advance(25 * HOLDS_S)
    assert sum(text.startswith("evil") for text, _ in slow.done) == 40


def test_it_rests_also_when_its_events_are_to_be_looked_at_again(
    server: WholeServer, room: str, slow: SlowRooms
) -> None:
    slow.of_evil = CannotJudge()
    start(server, of_evil(room, 3), origin="evil").result()
    server.time.advance(4 * HOLDS_S)
    held = sum(origin == "evil" for _, origin, _ in slow.batches)
    for number in range(360):
        send(server, pdu(room, f"good {number}"))
        server.time.advance(HOLDS_S / 6)
    held = sum(origin == "evil" for _, origin, _ in slow.batches) - held
    assert held <= 60 / (1 + REST_FACTOR) + 1


def test_a_server_that_is_slow_in_many_rooms_does_not_hold_up_the_rooms_of_others(
    server: WholeServer, alice: Person, slow: SlowRooms
) -> None:
    theirs = [alice.create_room() for _ in range(2 * room_intake.ROOMS_AT_ONCE)]
    mine = alice.create_room()
    for room in theirs:
        start(server, of_evil(room, 3), origin="evil").result()
    server.time.advance(1)
    send(server, pdu(mine, "hello"))
    server.time.advance(1)
    assert "hello" in slow.texts


def test_an_edu_waits_for_the_events_before_it_but_not_for_a_server_that_rests(
    server: WholeServer, alice: Person, room: str, slow: SlowRooms
) -> None:
    typing = {"edu_type": "m.typing", "content": {"room_id": room, "user_id": "@zoe:far", "typing": True}}
    start(server, of_evil(room, 20), origin="evil").result()
    server.time.advance(HOLDS_S)
    start(server, {"pdus": [pdu(room, "good")], "edus": [typing]}).result()
    server.time.advance(1)
    assert alice.sync().typing(room) == set()
    server.time.advance(19 * HOLDS_S + 1)
    assert "good" in slow.texts
    assert alice.sync().typing(room) == {"@zoe:far"}
