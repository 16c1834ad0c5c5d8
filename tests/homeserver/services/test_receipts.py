"""Receipts: forward only, by thread, private ones for their owner."""

from typing import Any

import orjson
import pytest

from homeserver.protocol.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.services.receipts import MARKERS, contents
from homeserver.services.streams import Change
from homeserver.storage.receipts import Receipt
from tests.support.personal import ALICE, BOB, CAROL, House
from tests.support.running import result


def seen(house: House, room: RoomId, since: int, viewer: UserId = BOB) -> list[Any]:
    return result(house.receipts.changed_since(room, since, viewer))


def entry(house: House, event: EventId, user: UserId, *, type_: str = "m.read", **more: str) -> Any:
    return {event: {type_: {user: {"ts": house.time.now_ms(), **more}}}}


def test_a_receipt_is_told_to_the_room(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    event = house.send(room, BOB)
    since = house.streams.position
    house.changes.clear()
    house.read(room, ALICE, event)
    assert house.changes == [Change("receipts", rooms=(room,), users=(ALICE,))]
    assert house.receipts.last_position(room) > since
    assert seen(house, room, since) == [entry(house, event, ALICE)]


def test_after_a_restart_receipts_come_from_the_database(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    event = house.send(room, BOB)
    since = house.streams.position
    house.read(room, ALICE, event)
    upto = house.streams.position
    later = house.restart()
    assert seen(later, room, since) == [entry(house, event, ALICE)]
    assert seen(later, room, upto) == []
    assert later.receipts.last_position(room) <= upto


def test_a_receipt_never_moves_back(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    first, second = house.send(room, BOB), house.send(room, BOB)
    house.read(room, ALICE, second)
    since = house.streams.position
    house.changes.clear()
    house.read(room, ALICE, first)
    house.read(room, ALICE, second)
    assert seen(house, room, since) == []
    assert house.changes == []


def test_only_the_newest_of_a_kind_is_told(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    first, second = house.send(room, BOB), house.send(room, BOB)
    since = house.streams.position
    house.read(room, ALICE, first)
    house.read(room, ALICE, second)
    assert seen(house, room, since) == [entry(house, second, ALICE)]


def test_a_private_receipt_is_for_its_owner_alone(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    event = house.send(room, BOB)
    since = house.streams.position
    house.changes.clear()
    house.read(room, ALICE, event, type_="m.read.private")
    assert house.changes == [Change("receipts", users=(ALICE,))]
    for now in (house, house.restart()):
        assert seen(now, room, since, BOB) == []
        assert seen(now, room, since, ALICE) == [entry(house, event, ALICE, type_="m.read.private")]


def test_receipts_of_threads_stand_side_by_side(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    root = house.send(room, BOB)
    reply = house.send(room, BOB, thread=root)
    since = house.streams.position
    house.read(room, ALICE, root)
    house.read(room, ALICE, root, thread="main")
    house.read(room, ALICE, reply, thread=root)
    expected = [
        {**entry(house, root, ALICE), **entry(house, reply, ALICE, thread_id=root)},
        entry(house, root, ALICE, thread_id="main"),
    ]
    for now in (house, house.restart()):
        assert seen(now, room, since) == expected


def test_a_thread_receipt_must_be_for_an_event_of_the_thread(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    root, other = house.send(room, BOB), house.send(room, BOB)
    reply = house.send(room, BOB, thread=root)
    for event, thread in ((reply, "main"), (other, root), (reply, other), (root, "")):
        with pytest.raises(InvalidParam):
            house.read(room, ALICE, event, thread=thread)
    house.read(room, ALICE, root, thread=root)


def test_who_and_what_must_be_in_the_room(house: House) -> None:
    room, other = house.create_room(ALICE, BOB), house.create_room(BOB)
    event, elsewhere = house.send(room, BOB), house.send(other, BOB)
    with pytest.raises(Forbidden):
        house.read(room, CAROL, event)
    with pytest.raises(NotFound):
        house.read(room, ALICE, elsewhere)
    with pytest.raises(InvalidParam):
        house.read(room, ALICE, event, type_="m.seen")


def test_markers_move_together(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    first, second = house.send(room, BOB), house.send(room, BOB)
    since = house.streams.position
    markers = dict(zip(MARKERS, (first, second, second), strict=True))
    result(house.receipts.mark(room, ALICE, markers))
    data = result(house.account_data.changed_since(ALICE, since))
    assert [(one.room_id, one.type, orjson.loads(one.content)) for one in data] == [
        (room, "m.fully_read", {"event_id": first})
    ]
    assert seen(house, room, since) == [entry(house, second, ALICE)]
    assert len(seen(house, room, since, ALICE)[0][second]) == 2


def test_the_read_marker_never_moves_back(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    first, second = house.send(room, BOB), house.send(room, BOB)
    house.read(room, ALICE, second, type_="m.fully_read")
    house.read(room, ALICE, first, type_="m.fully_read")
    content = result(house.account_data.get(ALICE, "m.fully_read", room))
    assert orjson.loads(content) == {"event_id": second}


def test_the_read_marker_takes_no_thread(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    event = house.send(room, BOB)
    with pytest.raises(InvalidParam):
        house.read(room, ALICE, event, type_="m.fully_read", thread="main")


def test_one_unknown_event_spoils_all_markers(house: House) -> None:
    room = house.create_room(ALICE, BOB)
    event = house.send(room, BOB)
    since = house.streams.position
    with pytest.raises(NotFound):
        result(house.receipts.mark(room, ALICE, {"m.read": event, "m.fully_read": EventId("$no")}))
    assert seen(house, room, since) == []


def test_many_rooms_take_one_look(house: House) -> None:
    rooms = [house.create_room(ALICE, BOB) for _ in range(3)]
    events = [house.send(room, BOB) for room in rooms]
    house.read(rooms[0], ALICE, events[0])
    house.read(rooms[2], ALICE, events[2])
    expected = {
        rooms[0]: [entry(house, events[0], ALICE)],
        rooms[2]: [entry(house, events[2], ALICE)],
    }
    for now in (house, house.restart()):
        assert result(now.receipts.changed_in(rooms, 0, BOB)) == expected


def test_a_first_sync_gets_the_newest_of_very_many_and_all_of_ones_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.receipts.MOST_IN_ONE_ROOM", 1)
    room = house.create_room(ALICE, BOB, CAROL)
    first, second = house.send(room, BOB), house.send(room, BOB)
    house.read(room, BOB, first)
    house.read(room, ALICE, first)
    house.read(room, CAROL, second)
    found = result(house.receipts.changed_in([room], 0, BOB))[room]
    assert found == [{**entry(house, first, BOB), **entry(house, second, CAROL)}]


def test_contents_split_only_where_they_must() -> None:
    def receipt(user: UserId, thread: str | None, event: str) -> Receipt:
        return Receipt(user, "m.read", thread, EventId(event), 1, 5, 1)

    both = contents([receipt(ALICE, None, "$a"), receipt(BOB, "main", "$a")], BOB)
    assert both == [{"$a": {"m.read": {ALICE: {"ts": 5}, BOB: {"ts": 5, "thread_id": "main"}}}}]
    assert len(contents([receipt(ALICE, None, "$a"), receipt(ALICE, "main", "$a")], BOB)) == 2
