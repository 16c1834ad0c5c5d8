"""What other servers' events need of storage, on each kind of database."""

import pytest

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.events import ACCEPTED, OUTLIER, NewEvent
from homeserver.storage.received_rooms import CurrentEntry, PartialRoom, UntoldLeave
from homeserver.storage.room_stores import RoomStores, room_stores
from homeserver.storage.rooms import Member
from homeserver.storage.unproven_events import UnprovenEvent
from tests.support.running import result

ROOM = RoomId("!room:one")
ALICE = UserId("@alice:one")


class Rows:
    """A room's rows, written directly."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.stores: RoomStores = room_stores()
        self.room_nid = self.write(self.stores.received_rooms.create_or_get, ROOM, "12")

    def write(self, work, *args, **how):
        return result(self.database.write(work, *args, **how))

    def read(self, work, *args, **how):
        return result(self.database.read(work, *args, **how))

    def event(
        self, nid: int, *, status: int = ACCEPTED, state_nid: int | None = 0, key: str | None = None
    ) -> EventId:
        event_id = EventId(f"$event{nid}")
        new = NewEvent(
            nid, event_id, "m.test", key, ALICE, abs(nid), 1, state_nid, None, status, 0, None, None, b"{}"
        )

        def store(txn: Transaction) -> None:
            number = None if key is None else self.stores.identifiers.state_key_nid(txn, ("m.test", key))
            self.stores.events.insert(txn, self.room_nid, new, number)

        self.write(store)
        return event_id


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database)


def test_a_room_is_created_once_and_unknown_until_it_has_state(rows: Rows) -> None:
    assert rows.write(rows.stores.received_rooms.create_or_get, ROOM, "12") == rows.room_nid
    assert rows.read(rows.stores.rooms.many, [ROOM]) == []


class TestEvents:
    def test_the_state_after_an_event(self, rows: Rows) -> None:
        store = rows.stores.received_events
        plain, state = rows.event(5, state_nid=3), rows.event(6, state_nid=3, key="")
        rejected = rows.event(-1, status=1, state_nid=3, key="x")
        outlier = rows.event(-2, status=OUTLIER, state_nid=None, key="y")

        known = rows.read(store.known, [plain, state, rejected, outlier, EventId("$unknown")])

        assert {id_: one.state_after for id_, one in known.items()} == {
            plain: 3, state: 6, rejected: 3, outlier: None,
        }  # fmt: skip
        assert [one.is_placed for one in known.values()].count(False) == 1

    def test_an_outlier_finds_its_place(self, rows: Rows) -> None:
        outlier = rows.event(-7, status=OUTLIER, state_nid=None)
        store = rows.stores.received_events
        rows.write(store.place, -7, status=ACCEPTED, state_nid=4, replaces_nid=None)
        assert rows.read(store.known, [outlier])[outlier].is_placed
        assert rows.read(store.lowest) == -7

    def test_ids_and_nids(self, rows: Rows) -> None:
        ids = [rows.event(nid) for nid in range(1, 4)]
        store = rows.stores.received_events
        assert rows.read(store.ids, [1, 2, 3, 99]) == {1: ids[0], 2: ids[1], 3: ids[2]}
        assert rows.read(store.nids, [*ids, EventId("$x")]) == {ids[0]: 1, ids[1]: 2, ids[2]: 3}

    def test_gaps_are_nearest_first_and_closed(self, rows: Rows) -> None:
        store, ids = rows.stores.received_events, [EventId("$a"), EventId("$b"), EventId("$c")]
        rows.write(store.note_missing, rows.room_nid, ids[:2], depth=5, follower_nid=50)
        rows.write(store.note_missing, rows.room_nid, ids[1:], depth=9, follower_nid=90)
        rows.write(store.note_missing, rows.room_nid, ids[1:2], depth=2, follower_nid=20)

        found = rows.read(store.missing, rows.room_nid, upto_depth=10, limit=10)
        assert [(gap.event_id, gap.depth) for gap in found][-1] == ("$a", 5)
        assert {gap.event_id for gap in found[:2]} == {"$b", "$c"}
        assert [gap.event_id for gap in rows.read(store.missing, rows.room_nid, upto_depth=5, limit=9)] == [
            "$a"
        ]

        rows.write(store.note_found, rows.room_nid, ids)
        assert not rows.read(store.has_missing, rows.room_nid)

    def test_early_redactions_wait_until_forgotten(self, rows: Rows) -> None:
        store = rows.stores.received_events
        rows.event(4, state_nid=2)
        target = EventId("$target")
        for _ in range(2):
            rows.write(store.note_early_redaction, target, 4)
        assert rows.read(store.early_redactions, [target]) == {target: [(4, b"{}", 2)]}
        rows.write(store.forget_early_redactions, target)
        assert rows.read(store.early_redactions, [target]) == {}


class TestStateSets:
    def build(self, rows: Rows) -> None:
        """A set of a hundred keys with negative and positive events, and three on top of each other."""
        put = rows.stores.state.append
        big = {key: key - 50 for key in range(1, 101)}
        rows.write(put, rows.room_nid, nid=-500, parent_nid=0, hash_=b"a" * 16, added=big)
        for number, nid in enumerate((10, 20, 30)):
            hash_ = bytes([number]) * 16
            rows.write(
                put, rows.room_nid, nid=nid, parent_nid=nid - 10 or -500, hash_=hash_, added={nid: nid}
            )

    def test_negative_numbers_are_kept(self, rows: Rows) -> None:
        self.build(rows)
        ids = rows.read(rows.stores.state.state_ids, 30)
        assert ids[1] == -49
        assert (ids[10], ids[20], ids[30]) == (10, 20, 30)

    def test_many_at_once_are_as_one_by_one(self, rows: Rows) -> None:
        self.build(rows)
        state = rows.stores.state
        many = rows.read(state.many_state_ids, [0, -500, 10, 20, 30])
        assert many == {nid: rows.read(state.state_ids, nid) for nid in (0, -500, 10, 20, 30)}

    def test_picking_is_as_reading_all(self, rows: Rows) -> None:
        self.build(rows)
        state = rows.stores.state
        for keys in ([1], [1, 10, 20, 30, 50, 100, 101, 7_000], list(range(1_000))):
            for nid in (0, -500, 10, 30):
                whole = rows.read(state.state_ids, nid)
                assert rows.read(state.pick, nid, keys) == {key: whole[key] for key in keys if key in whole}

    def test_sets_are_found_by_what_they_hold_and_dropped(self, rows: Rows) -> None:
        self.build(rows)
        state = rows.stores.state
        assert rows.read(state.with_hash, rows.room_nid, b"a" * 16) == -500
        assert rows.read(state.with_hash, rows.room_nid, b"z" * 16) is None
        assert rows.read(state.hash_of, 0) == bytes(16)
        assert [nid for nid, _ in rows.read(state.since, rows.room_nid, 20)] == [-500, 20, 30]
        rows.write(state.drop, [30, -500])
        assert [nid for nid, _ in rows.read(state.since, rows.room_nid, 20)] == [20]


class TestRooms:
    def test_whole_states_are_written_and_removed(self, rows: Rows) -> None:
        store = rows.stores.received_rooms
        rows.write(store.put_current, rows.room_nid, [CurrentEntry(1, 10, 10), CurrentEntry(2, -3, 12)])
        rows.write(store.put_current, rows.room_nid, [CurrentEntry(2, 11, 13)])
        rows.write(store.remove_current, rows.room_nid, [1])
        read = "SELECT state_key_nid, event_nid, since_nid FROM current_state"
        assert rows.read(lambda txn: txn.rows(read)) == [(2, 11, 13)]
        rows.write(store.clear_current, rows.room_nid)
        assert rows.read(lambda txn: txn.rows(read)) == []

    def test_members_are_put_in_bulk(self, rows: Rows) -> None:
        members = [Member(UserId(f"@u{n}:two"), "join", n, n, False) for n in range(50)]
        rows.write(rows.stores.received_rooms.put_members, rows.room_nid, members)
        left = [members[0]._replace(membership="leave", event_nid=99)]
        rows.write(rows.stores.received_rooms.put_members, rows.room_nid, left)
        found = {member.user_id: member for member in rows.read(rows.stores.rooms.members, rows.room_nid)}
        assert len(found) == 50
        assert found[UserId("@u0:two")].membership == "leave"

    def test_partial_rooms_are_remembered_until_complete(self, rows: Rows) -> None:
        store = rows.stores.received_rooms
        partial = PartialRoom(ROOM, EventId("$join"), -9, b'["one"]')
        rows.write(store.put_partial, rows.room_nid, partial)
        assert rows.read(store.partial) == [partial]
        assert rows.read(rows.stores.received_events.partial_servers, rows.room_nid) == b'["one"]'
        rows.write(store.remove_partial, rows.room_nid)
        assert rows.read(store.partial) == []

    def test_originals_are_kept_in_partial_rooms_only_and_put_back(self, rows: Rows) -> None:
        store = rows.stores.received_rooms
        before, target = rows.event(3), rows.event(4)
        rows.write(store.keep_original, 3)
        rows.write(store.put_partial, rows.room_nid, PartialRoom(ROOM, EventId("$join"), -9, b"[]"))
        for nid in (4, 4):
            rows.write(store.keep_original, nid)
        for nid in (3, 4):
            rows.write(rows.stores.events.redact, nid, redaction_nid=9, raw=b"[]")

        assert rows.write(store.put_back, rows.room_nid, 8) == []
        assert rows.write(store.put_back, rows.room_nid, 9) == [target]

        pdus = rows.read(rows.stores.received_events.pdus, [before, target])
        assert [pdus[before].raw, pdus[target].raw] == [b"[]", b"{}"]
        rows.write(store.remove_partial, rows.room_nid)
        assert rows.read(lambda txn: txn.value("SELECT COUNT(*) FROM redacted_originals")) == 0

    def test_unproven_events_wait_until_they_are_late_or_gone(self, rows: Rows) -> None:
        store, has_late = rows.stores.unproven_events, rows.stores.received_events.has_late
        one, two, three = (
            UnprovenEvent(EventId(f"${name}"), servers, part, b"{}")
            for name, servers, part in (("one", "a b", 0), ("two", "", 1), ("three", "c", 2))
        )
        assert not rows.read(has_late, rows.room_nid)
        rows.write(store.note, rows.room_nid, [one, two, three])
        rows.write(store.note, rows.room_nid, [one._replace(part=2), three._replace(part=1, servers="x")])
        assert rows.read(store.size, rows.room_nid) == (3, 6)
        assert set(rows.read(store.of_room, rows.room_nid)) == {one._replace(part=2), two, three}
        assert set(rows.read(store.rooms)) == {(ROOM, "a b"), (ROOM, ""), (ROOM, "c")}

        rows.write(store.mark_late, rows.room_nid, [three.event_id])
        rows.write(store.remove, rows.room_nid, [one.event_id, two.event_id])

        assert rows.read(store.of_room, rows.room_nid) == []
        assert rows.read(store.rooms) == []
        assert rows.read(has_late, rows.room_nid)
        rows.write(store.remove_all, ROOM)
        assert not rows.read(has_late, rows.room_nid)

    def test_what_was_shown_from_outside(self, rows: Rows) -> None:
        store = rows.stores.received_rooms
        rows.write(store.put_outside, rows.room_nid, ALICE, event_nid=3, stripped=b"[]")
        rows.write(store.put_outside, rows.room_nid, ALICE, event_nid=4, stripped=b"[{}]")
        assert rows.read(store.outside, ROOM, ALICE) == (4, b"[{}]")
        assert rows.read(store.outside, ROOM, UserId("@bob:one")) is None
        rows.write(store.remove_outside, rows.room_nid)
        assert rows.read(store.outside, ROOM, ALICE) is None


def test_a_leave_that_nobody_was_told_of_yet(rows: Rows) -> None:
    store = rows.stores.received_rooms
    untold = UntoldLeave(ROOM, ALICE, b'["one"]', b"{}", 0, 1_000)
    later = untold._replace(attempts=1, next_ms=2_000)
    for one in (untold, later):
        rows.write(store.put_untold_leave, one)
    assert rows.read(store.untold_leaves) == [later]
    rows.write(store.remove_untold_leave, ROOM, ALICE)
    assert rows.read(store.untold_leaves) == []
