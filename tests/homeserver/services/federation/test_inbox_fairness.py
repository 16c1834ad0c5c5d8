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


def test_a_server_that_is_slow_in_many_rooms_does_not_hold_up_the_others_in_them(
    server: WholeServer, alice: Person, slow: SlowRooms
) -> None:
    shared = [alice.create_room() for _ in range(2 * room_intake.ROOMS_OF_ONE_SERVER)]
    for room in shared:
        start(server, of_evil(room, 3), origin="evil").result()
    server.time.advance(1)
    waits = []
    for number in range(10):
        send(server, pdu(shared[-1], f"good {number}"))
        sent_at = server.time.monotonic()
        server.time.advance(6)
        waits.append(slow.when(f"good {number}") - sent_at)
    assert max(waits) <= room_intake.PLACE_S
    server.time.advance(10 * HOLDS_S * len(shared))
    assert sum(text.startswith("evil") for text, _ in slow.done) == 3 * len(shared)


def test_an_edu_does_not_wait_for_the_events_of_other_servers(
    server: WholeServer, alice: Person, room: str, slow: SlowRooms
) -> None:
    start(server, of_evil(room, 1), origin="evil").result()
    server.time.advance(HOLDS_S + 1)
    start(server, of_evil(room, 5), origin="evil").result()
    server.time.advance(1)
    typing = {"edu_type": "m.typing", "content": {"room_id": room, "user_id": "@zoe:far", "typing": True}}
    send(server, edus=[typing])
    server.time.advance(HOLDS_S)
    assert alice.sync().typing(room) == {"@zoe:far"}


def test_what_is_new_does_not_use_up_the_attempts_of_what_waits(server: WholeServer, room: str) -> None:
    rooms = taking(server)
    for number in range(30):
        rooms.verdicts[f"{number}"] = CannotJudge()
        send(server, pdu(room, f"{number}"))
        server.time.advance(3)
    assert rooms.texts.count("0") == 6  # after 2, 4, 8, 16, 32 seconds
    assert rooms.texts.count("25") >= 2
    rooms.verdicts.clear()
    server.time.advance(3600)
    assert all(rooms.texts.count(f"{number}") <= 7 for number in range(30))


def test_events_that_are_refused_do_not_fill_the_log(
    server: WholeServer, room: str, caplog: pytest.LogCaptureFixture
) -> None:
    rooms = taking(server)
    texts = [f"{number}" for number in range(20)]
    rooms.verdicts = dict.fromkeys(texts, CannotJudge("Too much is missing"))
    with caplog.at_level("INFO"):
        send(server, *(pdu(room, text) for text in texts))
        server.time.advance(10)
        assert caplog.text.count("Too much is missing") == 1
        server.time.advance(100)
        assert 2 <= caplog.text.count("Too much is missing") <= 3
