"""Who is typing where."""

import pytest

from homeserver.protocol.errors import Forbidden
from homeserver.protocol.ids import RoomId, UserId
from homeserver.services.streams import Change
from tests.support.personal import ALICE, BOB, CAROL, House
from tests.support.running import result


def start(house: House, room: RoomId, user: UserId = ALICE, timeout_ms: int = 5_000) -> None:
    result(house.typing_notifications.start(room, user, timeout_ms=timeout_ms))


def test_typing_is_told_to_the_room(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    since = small_house.streams.position
    small_house.changes.clear()
    start(small_house, room)
    start(small_house, room, BOB)
    assert small_house.changes == 2 * [Change("typing", rooms=(room,))]
    assert small_house.typing_notifications.position(room) == since + 2
    assert small_house.typing_notifications.users(room) == [ALICE, BOB]


def test_typing_stops_when_its_timeout_passes(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    start(small_house, room)
    since = small_house.streams.position
    small_house.time.advance(5.1)
    assert small_house.typing_notifications.users(room) == []
    assert small_house.typing_notifications.position(room) > since


def test_going_on_typing_tells_nothing_new(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    start(small_house, room)
    since = small_house.streams.position
    small_house.time.advance(4)
    start(small_house, room)
    small_house.time.advance(4)
    assert small_house.typing_notifications.users(room) == [ALICE]
    assert small_house.streams.position == since


def test_typing_stops_when_they_say_so(small_house: House) -> None:
    room = small_house.create_room(ALICE, BOB)
    start(small_house, room)
    timers = small_house.time.timers
    small_house.typing_notifications.stop(room, ALICE)
    small_house.typing_notifications.stop(room, ALICE)
    small_house.typing_notifications.stop(RoomId("!other:here"), ALICE)
    assert small_house.typing_notifications.users(room) == []
    assert small_house.time.timers == timers - 1


def test_only_members_type(small_house: House) -> None:
    room = small_house.create_room(ALICE)
    with pytest.raises(Forbidden):
        start(small_house, room, CAROL)


def test_a_timeout_has_a_limit(small_house: House) -> None:
    room = small_house.create_room(ALICE)
    start(small_house, room, timeout_ms=10**9)
    small_house.time.advance(121)
    assert small_house.typing_notifications.users(room) == []


def test_rooms_without_typists_are_forgotten_in_time(
    small_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.typing_notifications.QUIET_ROOMS_IN_MEMORY", 1)
    rooms = [small_house.create_room(ALICE) for _ in range(4)]
    start(small_house, rooms[0], timeout_ms=100_000)
    for room in rooms[1:]:
        start(small_house, room)
        small_house.typing_notifications.stop(room, ALICE)
    assert small_house.typing_notifications.users(rooms[0]) == [ALICE]
    assert small_house.typing_notifications.position(rooms[1]) == 0


def test_stopping_leaves_no_timers(small_house: House) -> None:
    timers = small_house.time.timers
    start(small_house, small_house.create_room(ALICE))
    small_house.typing_notifications.stop_all()
    assert small_house.time.timers == timers
