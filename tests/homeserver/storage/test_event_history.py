"""Events in their orders: by arrival, by depth, by time; redactions and what they leave."""

from itertools import count

import pytest

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.events import (
    ACCEPTED,
    OUTLIER,
    REJECTED,
    SOFT_FAILED,
    EventStore,
    NewEvent,
    Place,
)
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.rooms import RoomStore
from tests.support.running import result

ALICE = UserId("@alice:test")
NAME = ("m.room.name", "")


class Rooms:
    """A store, and rooms filled with events."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.identifiers = Identifiers()
        self.store = EventStore(self.identifiers)
        self.numbers = count(1)

    def create(self, room_id: str) -> int:
        nid: int = result(self.database.write(RoomStore(self.identifiers).create, RoomId(room_id), "11"))
        return nid

    def add(
        self,
        room: int,
        *,
        depth: int | None = None,
        ts: int | None = None,
        status: int = ACCEPTED,
        key: tuple[str, str] | None = None,
        replaces: int | None = None,
    ) -> int:
        nid = next(self.numbers)
        event = NewEvent(
            nid, EventId(f"${nid}"), key[0] if key else "m.room.message", key[1] if key else None, ALICE,
            nid if depth is None else depth, nid if ts is None else ts, 0, replaces, status, 0, None, None,
            b'{"n":%d}' % nid,
        )  # fmt: skip
        result(self.database.write(self._insert, room, event))
        return nid

    def _insert(self, txn: Transaction, room: int, event: NewEvent) -> None:
        key_nid = None
        if event.state_key is not None:
            key_nid = self.identifiers.state_key_nid(txn, (event.type, event.state_key))
        self.store.insert(txn, room, event, key_nid)

    def latest(self, room: int, **bounds: int) -> list[int]:
        bounds = {"after": 0, "upto": 1_000, "limit": 100} | bounds
        return [row.nid for row in result(self.database.read(self.store.latest, room, **bounds))]

    def before(self, room: int, depth: int, nid: int, limit: int = 100) -> list[int]:
        rows = result(self.database.read(self.store.before, room, Place(depth, nid), limit=limit))
        return [row.nid for row in rows]

    def after(self, room: int, depth: int, nid: int, limit: int = 100) -> list[int]:
        rows = result(self.database.read(self.store.after, room, Place(depth, nid), limit=limit))
        return [row.nid for row in rows]


@pytest.fixture
def rooms(database: Database) -> Rooms:
    return Rooms(database)


def test_the_order_of_arrival(rooms: Rooms) -> None:
    room, other = rooms.create("!a:test"), rooms.create("!b:test")
    mine, _, more = rooms.add(room), rooms.add(other), rooms.add(room)
    assert rooms.latest(room) == [more, mine]
    assert rooms.latest(room, after=mine) == [more]
    assert rooms.latest(room, upto=mine) == [mine]
    assert rooms.latest(room, limit=1) == [more]


def test_the_order_of_history_is_by_depth_then_arrival(rooms: Rooms) -> None:
    room = rooms.create("!a:test")
    third, first, second, also_third = (rooms.add(room, depth=depth) for depth in (3, 1, 2, 3))
    assert rooms.before(room, 9, 0) == [also_third, third, second, first]
    assert rooms.before(room, 3, third) == [third, second, first]
    assert rooms.before(room, 3, third - 1) == [second, first]
    assert rooms.before(room, 9, 0, limit=2) == [also_third, third]
    assert rooms.after(room, 0, 0) == [first, second, third, also_third]
    assert rooms.after(room, 3, third) == [also_third]
    assert rooms.after(room, 1, first, limit=1) == [second]


@pytest.mark.parametrize("status", [REJECTED, SOFT_FAILED, OUTLIER])
def test_only_accepted_events_are_history(rooms: Rooms, status: int) -> None:
    room = rooms.create("!a:test")
    shown = rooms.add(room)
    hidden = rooms.add(room, status=status)
    assert rooms.latest(room) == rooms.before(room, 99, 99) == rooms.after(room, 0, 0) == [shown]
    assert result(rooms.database.read(rooms.store.place_of, room, EventId(f"${hidden}"))) is None
    found = result(rooms.database.read(rooms.store.by_ids, [EventId(f"${hidden}")]))
    assert [located.row.status for located in found] == [status]


def test_places(rooms: Rooms) -> None:
    room, other = rooms.create("!a:test"), rooms.create("!b:test")
    first, _, last = rooms.add(room, depth=4), rooms.add(other), rooms.add(room, depth=5)
    read = rooms.database.read
    assert result(read(rooms.store.place_of, room, EventId(f"${last}"))) == Place(5, last)
    assert result(read(rooms.store.place_of, other, EventId(f"${last}"))) is None
    assert result(read(rooms.store.place_at, room, last - 1)) == Place(4, first)
    assert result(read(rooms.store.place_at, room, 1_000)) == Place(5, last)
    assert result(read(rooms.store.place_at, room, 0)) == Place(0, 0)


def test_the_nearest_in_time(rooms: Rooms) -> None:
    room = rooms.create("!a:test")
    early, late = rooms.add(room, ts=100), rooms.add(room, ts=200)

    def nearest(ts: int, *, forwards: bool) -> object:
        found = result(rooms.database.read(rooms.store.nearest, room, ts, forwards=forwards))
        return None if found is None else (found[0], found[1])

    assert nearest(150, forwards=True) == (f"${late}", 200)
    assert nearest(150, forwards=False) == (f"${early}", 100)
    assert nearest(100, forwards=True) == nearest(100, forwards=False) == (f"${early}", 100)
    assert nearest(201, forwards=True) is None
    assert nearest(99, forwards=False) is None


def test_many_events_by_number_and_by_id(rooms: Rooms) -> None:
    room = rooms.create("!a:test")
    nids = [rooms.add(room) for _ in range(30)]
    found = result(rooms.database.read(rooms.store.by_nids, [*nids, 9_999] * 40))
    assert {row.nid for row in found} == set(nids)
    located = result(rooms.database.read(rooms.store.by_ids, [EventId(f"${nid}") for nid in [*nids, 9_999]]))
    assert {one.row.nid for one in located} == set(nids)
    assert {(one.room_id, one.version) for one in located} == {("!a:test", "11")}


def test_state_events_bring_what_they_replaced(rooms: Rooms) -> None:
    room = rooms.create("!a:test")
    first = rooms.add(room, key=NAME)
    second = rooms.add(room, key=NAME, replaces=first)
    (row,) = result(rooms.database.read(rooms.store.by_nids, [second]))
    assert (row.replaces_nid, row.replaces_id, row.replaces_raw) == (first, f"${first}", b'{"n":%d}' % first)
    rows = result(rooms.database.read(rooms.store.of_state_key, room, NAME))
    assert [nid for nid, _ in rows] == [first, second]


def test_a_redacted_event_brings_its_redaction(rooms: Rooms) -> None:
    room = rooms.create("!a:test")
    target, redaction = rooms.add(room), rooms.add(room)
    result(rooms.database.write(rooms.store.redact, target, redaction_nid=redaction, raw=b"{}"))
    (row,) = result(rooms.database.read(rooms.store.by_nids, [target]))
    assert (row.raw, row.redaction_id, row.redaction_raw) == (b"{}", f"${redaction}", b'{"n":%d}' % redaction)


def test_what_repeats_the_content_of_a_state_event(rooms: Rooms) -> None:
    room, other = rooms.create("!a:test"), rooms.create("!b:test")
    first = rooms.add(room, key=NAME)
    rooms.add(other, key=NAME)
    second = rooms.add(room, key=NAME, replaces=first)
    rooms.add(room, key=NAME, replaces=second)
    message = rooms.add(room)

    def repeated(nid: int) -> set[int]:
        found = result(rooms.database.read(rooms.store.with_successors, EventId(f"${nid}")))
        return {located.row.nid for located in found}

    assert repeated(first) == {first, second}
    assert repeated(message) == {message}
    assert repeated(9_999) == set()
