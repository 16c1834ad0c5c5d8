"""Receipts, typing and presence over HTTP."""

from typing import Any

import pytest

from homeserver.protocol.ids import RoomId
from tests.support.personal import ALICE, BOB, House
from tests.support.personal_api import Person
from tests.support.running import result


@pytest.fixture
def room(house: House) -> RoomId:
    return house.create_room(ALICE, BOB)


def receipts(house: House, room: RoomId, viewer: Any = BOB) -> list[Any]:
    return result(house.receipts.changed_in([room], 0, viewer)).get(room, [])


def test_a_receipt_is_sent(house: House, alice: Person, room: RoomId) -> None:
    event = house.send(room, BOB)
    path = f"/rooms/{room}/receipt/m.read/{event}"
    assert alice.post(path) == {}
    assert alice.request("POST", path).status == 200
    assert receipts(house, room) == [{event: {"m.read": {ALICE: {"ts": house.time.now_ms()}}}}]


def test_a_receipt_may_name_its_thread(house: House, alice: Person, room: RoomId) -> None:
    event = house.send(room, BOB)
    path = f"/rooms/{room}/receipt/m.read/{event}"
    alice.post(path, {"thread_id": "main"})
    assert receipts(house, room)[0][event]["m.read"][ALICE]["thread_id"] == "main"
    for thread in (5, "", "$other", ["main"]):
        assert alice.refused("POST", path, {"thread_id": thread}) == (400, "M_INVALID_PARAM")
    marker = f"/rooms/{room}/receipt/m.fully_read/{event}"
    assert alice.refused("POST", marker, {"thread_id": "main"}) == (400, "M_INVALID_PARAM")


def test_the_read_marker_has_two_doors(house: House, alice: Person, room: RoomId) -> None:
    first, second = house.send(room, BOB), house.send(room, BOB)
    alice.post(f"/rooms/{room}/receipt/m.fully_read/{first}")
    data = f"/user/{ALICE}/rooms/{room}/account_data/m.fully_read"
    assert alice.get(data) == {"event_id": first}
    alice.post(
        f"/rooms/{room}/read_markers", {"m.fully_read": second, "m.read": first, "m.read.private": second}
    )
    assert alice.get(data) == {"event_id": second}
    assert set(receipts(house, room, ALICE)[0]) == {first, second}
    assert alice.post(f"/rooms/{room}/read_markers", {}) == {}


def test_wrong_receipts_are_refused(house: House, alice: Person, room: RoomId) -> None:
    event = house.send(room, BOB)
    private = house.create_room(BOB)
    for path, expected in (
        (f"/rooms/{room}/receipt/m.seen/{event}", (400, "M_INVALID_PARAM")),
        (f"/rooms/{room}/receipt/m.read/$unknown", (404, "M_NOT_FOUND")),
        (f"/rooms/{room}/receipt/m.read/noevent", (400, "M_INVALID_PARAM")),
        (f"/rooms/{private}/receipt/m.read/{event}", (403, "M_FORBIDDEN")),
        (f"/rooms/!nowhere:here/receipt/m.read/{event}", (403, "M_FORBIDDEN")),
    ):
        assert alice.refused("POST", path) == expected
    markers = f"/rooms/{room}/read_markers"
    assert alice.refused("POST", markers, {"m.read": 5}) == (400, "M_INVALID_PARAM")
    assert alice.refused("POST", markers, {"m.read": "event"}) == (400, "M_INVALID_PARAM")


def test_typing_is_said_and_taken_back(house: House, alice: Person, room: RoomId) -> None:
    path = f"/rooms/{room}/typing/{ALICE}"
    alice.put(path, {"typing": True, "timeout": 5_000})
    assert house.typing_notifications.users(room) == [ALICE]
    alice.put(path, {"typing": False})
    assert house.typing_notifications.users(room) == []


def test_nobody_types_for_others_or_elsewhere(house: House, alice: Person, room: RoomId) -> None:
    private = house.create_room(BOB)
    typing = {"typing": True}
    assert alice.refused("PUT", f"/rooms/{room}/typing/{BOB}", typing) == (403, "M_FORBIDDEN")
    assert alice.refused("PUT", f"/rooms/{private}/typing/{ALICE}", typing) == (403, "M_FORBIDDEN")
    for body in ({}, {"typing": "yes"}, {"typing": True, "timeout": "long"}):
        assert alice.refused("PUT", f"/rooms/{room}/typing/{ALICE}", body) == (400, "M_BAD_JSON")


def test_presence_is_set_and_seen(alice: Person, bob: Person, room: RoomId) -> None:
    path = f"/presence/{ALICE}/status"
    alice.put(path, {"presence": "unavailable", "status_msg": "lunch"})
    expected = {"presence": "unavailable", "last_active_ago": 0, "status_msg": "lunch"}
    assert alice.get(path) == bob.get(path) == expected
    alice.put(path, {"presence": "online"})
    assert bob.get(path) == {"presence": "online", "last_active_ago": 0, "currently_active": True}


def test_presence_is_ones_own_and_for_ones_rooms(alice: Person, bob: Person) -> None:
    path = f"/presence/{ALICE}/status"
    assert bob.refused("PUT", path, {"presence": "online"}) == (403, "M_FORBIDDEN")
    assert bob.refused("GET", path) == (403, "M_FORBIDDEN")
    assert bob.refused("GET", "/presence/@nobody:here/status") == (403, "M_FORBIDDEN")
    for body in ({}, {"presence": "busy"}, {"presence": "online", "status_msg": 5}):
        assert alice.refused("PUT", path, body) == (400, "M_BAD_JSON")
    for status_msg in ("x" * 3_000, "a\0b"):
        body = {"presence": "online", "status_msg": status_msg}
        assert alice.refused("PUT", path, body) == (400, "M_INVALID_PARAM")


def test_reading_and_typing_are_signs_of_life(house: House, alice: Person, room: RoomId) -> None:
    assert house.presence.visible_in(room) == []
    alice.put(f"/rooms/{room}/typing/{ALICE}", {"typing": True})
    assert house.presence.visible_in(room) == [ALICE]
