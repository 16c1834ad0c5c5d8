"""Destinations, outgoing events and what was taken in, as rows on each kind of database."""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.destinations import DestinationStore, Failing, NewEdu, Progress
from homeserver.storage.outgoing import FOREVER, OutgoingStore
from homeserver.storage.staged_events import NewlyStaged, StagedEventStore
from tests.support.running import result

A, B, C = ServerName("a"), ServerName("b"), ServerName("c")
ROOM, OTHER = 1, 2


@pytest.fixture
def destinations() -> DestinationStore:
    return DestinationStore()


@pytest.fixture
def outgoing(destinations: DestinationStore) -> OutgoingStore:
    return OutgoingStore(destinations)


class Do:
    """`do(method, ...)` in a write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return result(self._database.write(work, *args, **kwargs))


@pytest.fixture
def do(database: Database) -> Do:
    return Do(database)


def nid_of(do: Do, destinations: DestinationStore, server: ServerName) -> int:
    nid: int = do(destinations.of, [server])[0].nid
    return nid


def pending(do: Do, outgoing: OutgoingStore, destinations: DestinationStore, server: ServerName) -> list[int]:
    (row,) = do(destinations.of, [server])
    found: list[int] = do(outgoing.pending, row.nid, after=row.sent_nid, upto=FOREVER, limit=100)
    return found


def event(do: Do, outgoing: OutgoingStore, nid: int, *servers: ServerName, room: int = ROOM) -> None:
    do(outgoing.address, room, nid, set(servers))
    do(outgoing.add, room, nid, None)


def test_each_server_gets_the_events_of_the_time_it_was_in_the_room(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    event(do, outgoing, 10, A, B)
    event(do, outgoing, 11, A)
    event(do, outgoing, 12, A, B, C)
    event(do, outgoing, 13, C, room=OTHER)
    assert pending(do, outgoing, destinations, A) == [10, 11, 12]
    assert pending(do, outgoing, destinations, B) == [10, 12]
    assert pending(do, outgoing, destinations, C) == [12, 13]


def test_whoever_handed_an_event_in_does_not_get_it(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    do(outgoing.address, ROOM, 10, {A, B})
    do(outgoing.add, ROOM, 10, B)
    assert pending(do, outgoing, destinations, A) == [10]
    assert pending(do, outgoing, destinations, B) == []


def test_addressing_twice_changes_nothing(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    do(outgoing.address, ROOM, 10, {A})
    do(outgoing.address, ROOM, 11, {A})
    do(outgoing.add, ROOM, 11, None)
    assert pending(do, outgoing, destinations, A) == [11]


def test_a_thousand_servers_can_be_addressed(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    servers = [ServerName(f"s{number}") for number in range(1_200)]
    event(do, outgoing, 10, *servers)
    event(do, outgoing, 11, servers[0])
    assert pending(do, outgoing, destinations, servers[-1]) == [10]
    assert pending(do, outgoing, destinations, servers[0]) == [10, 11]


def test_a_new_server_has_missed_nothing(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    event(do, outgoing, 10, A)
    event(do, outgoing, 50, A, B)
    (row,) = do(destinations.of, [B])
    assert (row.sent_nid, row.receipts_position) == (49, 49)


def test_progress_never_goes_back(do: Do, outgoing: OutgoingStore, destinations: DestinationStore) -> None:
    event(do, outgoing, 10, A)
    do(destinations.save_progress, [Progress(A, 12, 20, "t2")])
    do(destinations.save_progress, [Progress(A, 11, 19, "t1")])
    (row,) = do(destinations.of, [A])
    assert (row.sent_nid, row.receipts_position, row.last_txn) == (12, 20, "t1")


def test_the_newest_event_of_each_room_newest_first(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    event(do, outgoing, 10, A)
    event(do, outgoing, 11, A, room=OTHER)
    event(do, outgoing, 12, A)
    event(do, outgoing, 13, A, room=3)
    nid = nid_of(do, destinations, A)
    whole = {"after": 0, "upto": FOREVER, "before": FOREVER, "limit": 10}
    assert do(outgoing.newest_of_rooms, nid, **whole) == [13, 12, 11]
    assert do(outgoing.newest_of_rooms, nid, **{**whole, "upto": 11}) == [11, 10]
    assert do(outgoing.newest_of_rooms, nid, **{**whole, "before": 12}) == [11]
    assert do(outgoing.newest_of_rooms, nid, **{**whole, "limit": 1}) == [13]


def test_who_was_left_behind(do: Do, outgoing: OutgoingStore, destinations: DestinationStore) -> None:
    event(do, outgoing, 10, A, B)
    event(do, outgoing, 11, B)
    do(destinations.save_progress, [Progress(B, 11, 11, None)])
    assert do(outgoing.left_behind, ServerName("here")) == [A]
    do(destinations.save_progress, [Progress(A, 11, 11, None)])
    assert do(outgoing.left_behind, ServerName("here")) == []
    do(destinations.add_edu, [nid_of(do, destinations, B)], NewEdu("m.x", "key", b"{}"), now_ms=0)
    assert do(outgoing.left_behind, ServerName("here")) == [B]


def test_receipts_of_our_own_users_leave_servers_behind(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    event(do, outgoing, 10, A)
    do(destinations.save_progress, [Progress(A, 10, 10, None)])

    def receipt(txn: Transaction, user: str, type_: str, position: int) -> None:
        nid = txn.value("INSERT INTO user_ids (user_id) VALUES (%s) RETURNING nid", (user,))
        txn.execute(
            """
            INSERT INTO receipts (user_nid, room_nid, type, thread, event_id, event_nid, ts, position)
            VALUES (%s, %s, %s, '', '$e', 10, 5, %s)""",
            (nid, ROOM, type_, position),
        )

    do(receipt, "@zoe:there", "m.read", 20)
    do(receipt, "@alice:here", "m.read.private", 21)
    assert do(outgoing.left_behind, ServerName("here")) == []
    do(receipt, "@bob:here", "m.read", 22)
    assert do(outgoing.left_behind, ServerName("here")) == [A]


def test_receipts_of_our_users_in_the_rooms_of_a_destination(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    def prepare(txn: Transaction) -> int:
        room: int = txn.value(
            """
            INSERT INTO rooms (room_id, version, is_public, heads, depth, tip, state_nid)
            VALUES ('!r', '12', %s, %s, 0, 0, 0) RETURNING nid""",
            (False, b"[]"),
        )
        for position, user in ((20, "@alice:here"), (21, "@zoe:there"), (22, "@bob:here")):
            nid = txn.value("INSERT INTO user_ids (user_id) VALUES (%s) RETURNING nid", (user,))
            txn.execute(
                """
                INSERT INTO receipts (user_nid, room_nid, type, thread, event_id, event_nid, ts, position)
                VALUES (%s, %s, 'm.read', 'main', '$e', 10, 5, %s)""",
                (nid, room, position),
            )
        return room

    event(do, outgoing, 10, A, room=do(prepare))
    nid = nid_of(do, destinations, A)
    found = do(outgoing.receipts, nid, ServerName("here"), after=0, limit=10)
    assert [(one.room_id, one.user_id, one.thread, one.position) for one in found] == [
        ("!r", "@alice:here", "main", 20),
        ("!r", "@bob:here", "main", 22),
    ]
    assert len(do(outgoing.receipts, nid, ServerName("here"), after=20, limit=10)) == 1


def test_gates_of_rooms(do: Do) -> None:
    def prepare(txn: Transaction) -> None:
        for room_id, membership in (("!in", "join"), ("!out", "leave")):
            room = txn.value(
                """
                INSERT INTO rooms (room_id, version, is_public, heads, depth, tip, state_nid)
                VALUES (%s, '11', %s, %s, 0, 0, 0) RETURNING nid""",
                (room_id, False, b"[]"),
            )
            txn.execute(
                """
                INSERT INTO memberships
                    (room_nid, user_nid, membership, event_nid, since_nid, is_local, forgotten)
                VALUES (%s, 1, %s, 1, 1, %s, %s)""",
                (room, membership, True, False),
            )

    do(prepare)
    gates = do(StagedEventStore().gates, [RoomId("!in"), RoomId("!out"), RoomId("!unknown")])
    assert {gate.room_id: (gate.version, gate.is_joined, gate.acl) for gate in gates} == {
        "!in": ("11", True, None),
        "!out": ("11", False, None),
    }


def test_pruning_leaves_the_newest_of_each_room(
    do: Do, outgoing: OutgoingStore, destinations: DestinationStore
) -> None:
    for nid in (10, 11, 12):
        event(do, outgoing, nid, A)
    event(do, outgoing, 13, A, room=OTHER)
    assert do(outgoing.prune, 12) == 2
    assert pending(do, outgoing, destinations, A) == [12, 13]


def test_an_edu_is_replaced_by_a_later_one_and_shared_by_destinations(
    do: Do, destinations: DestinationStore
) -> None:
    nids = list(do(destinations.numbers, [A, B], since=0).values())
    do(destinations.add_edu, nids, NewEdu("m.x", "key", b"1"), now_ms=0)
    do(destinations.add_edu, nids, NewEdu("m.x", "other", b"2"), now_ms=0)
    (first, second) = do(destinations.edus, nids[0], limit=10)
    do(destinations.add_edu, nids[:1], NewEdu("m.x", "key", b"3"), now_ms=0)
    do(destinations.remove_edus, nids[0], [first.nid, second.nid])
    assert [edu.content for edu in do(destinations.edus, nids[0], limit=10)] == [b"3"]
    assert [edu.content for edu in do(destinations.edus, nids[1], limit=10)] == [b"1", b"2"]
    do(destinations.remove_edus, nids[1], [first.nid, second.nid])
    do(destinations.prune_edus)
    assert do(lambda txn: txn.column("SELECT content FROM edu_contents")) == [b"3"]


def test_edus_end_by_age_and_number(do: Do, destinations: DestinationStore) -> None:
    gone, there = do(destinations.numbers, [A, B], since=0).values()
    for number in range(5):
        edu = NewEdu("m.x", str(number), b"%d" % number)
        do(destinations.add_edu, [gone] if number else [gone, there], edu, now_ms=number * 100)
    do(destinations.add_edu, [gone], NewEdu("m.y", "0", b"y"), now_ms=0)
    assert do(destinations.crowded_by, "m.x", 5) == []
    assert do(destinations.crowded_by, "m.x", 4) == [gone]
    assert do(destinations.drop_oldest_edus, gone, "m.x", keep=5) == 0
    assert do(destinations.drop_oldest_edus, gone, "m.x", keep=3) == 2
    assert do(destinations.drop_old_edus, "m.x", before_ms=300) == 2
    assert [edu.content for edu in do(destinations.edus, gone, limit=10)] == [b"3", b"4", b"y"]
    assert do(destinations.edus, there, limit=10) == []


def test_an_edu_is_as_old_as_what_it_was_replaced_by(do: Do, destinations: DestinationStore) -> None:
    (nid,) = do(destinations.numbers, [A], since=0).values()
    for now_ms in (0, 500):
        do(destinations.add_edu, [nid], NewEdu("m.x", "key", b"{}"), now_ms=now_ms)
    assert do(destinations.drop_old_edus, "m.x", before_ms=500) == 0


def test_trouble_and_its_end(do: Do, destinations: DestinationStore) -> None:
    do(destinations.numbers, [A, B], since=0)
    do(destinations.save_failing, [Failing(A, 100, 200, 3, 900, "no answer")])
    do(destinations.block, B, is_blocked=True, since=0)
    assert {row.server for row in do(destinations.in_trouble)} == {A, B}
    do(destinations.save_failing, [Failing(A, None, None, 0, 0, None)])
    do(destinations.block, B, is_blocked=False, since=0)
    do(destinations.save_successes, [(A, 950)])
    assert do(destinations.in_trouble) == []
    (row,) = do(destinations.of, [A])
    assert (row.last_failure_ms, row.last_error, row.last_success_ms) == (200, "no answer", 950)


def test_sent_transactions_after_a_known_one(do: Do, destinations: DestinationStore) -> None:
    (nid,) = do(destinations.numbers, [A], since=0).values()
    for number in range(8):
        do(destinations.log_sent, nid, f"t{number}", b"{}", keep=5, keep_bytes=1000)
    assert [one[0] for one in do(destinations.sent_after, A, "t5", limit=10)] == ["t6", "t7"]
    assert do(destinations.sent_after, A, "t7", limit=10) == []
    assert do(destinations.sent_after, A, "t1", limit=10) is None
    assert do(destinations.sent_after, B, "t5", limit=10) is None


def test_sent_transactions_are_bounded_by_their_size(do: Do, destinations: DestinationStore) -> None:
    (nid,) = do(destinations.numbers, [A], since=0).values()
    for number in range(8):
        do(destinations.log_sent, nid, f"t{number}", b"x" * 100, keep=5, keep_bytes=300)
    assert do(destinations.sent_after, A, "t4", limit=10) is None
    assert [one[0] for one in do(destinations.sent_after, A, "t5", limit=10)] == ["t6", "t7"]
    do(destinations.log_sent, nid, "huge", b"x" * 1000, keep=5, keep_bytes=300)
    assert do(destinations.sent_after, A, "t7", limit=10) is None
    assert do(destinations.sent_after, A, "huge", limit=10) == []


def test_staged_events_wait_in_order_and_once(do: Do) -> None:
    store = StagedEventStore()
    room = RoomId("!r")
    events = [NewlyStaged(room, EventId(f"${number}"), b"{}") for number in (3, 1, 2)]
    staged = do(store.stage, A, events)
    assert [one.event_id for _, one in staged] == ["$3", "$1", "$2"]
    assert do(store.stage, A, events[:1]) == []
    assert [one.event_id for _, one in do(store.stage, B, events[:1])] == ["$3"]
    waiting = do(store.of_room, room, A, after=staged[0][1].nid, limit=9)
    assert [one.event_id for one in waiting] == ["$1", "$2"]
    do(store.note_attempt, [staged[1][1].nid])
    assert do(store.waiting) == [(room, A, 3, 6), (room, B, 1, 2)]
    assert do(store.remove, [staged[0][1].nid, staged[2][1].nid]) == 2
    assert do(store.remove, [staged[0][1].nid]) == 0
    waiting = do(store.of_room, room, A, after=0, limit=9)
    assert [(one.event_id, one.attempts) for one in waiting] == [("$1", 1)]


def test_answers_are_remembered_for_each_server_and_forgotten(do: Do) -> None:
    store = StagedEventStore()
    do(store.keep_answer, A, "t1", b"one", now_ms=100)
    do(store.keep_answer, A, "t2", b"two", now_ms=200)
    do(store.keep_answer, A, "t1", b"other", now_ms=300)
    assert (do(store.answer, A, "t1"), do(store.answer, B, "t1")) == (b"one", None)
    assert do(store.last_from, A) == "t2"
    do(store.forget_transactions, before_ms=150)
    assert (do(store.answer, A, "t1"), do(store.answer, A, "t2")) == (None, b"two")


def test_of_each_servers_answers_the_newest_stay(do: Do) -> None:
    store = StagedEventStore()
    for number in range(5):
        do(store.keep_answer, A, f"t{number}", b"a", now_ms=number)
    do(store.keep_answer, B, "t0", b"b", now_ms=0)
    do(store.keep_newest, A, 2)
    assert [number for number in range(5) if do(store.answer, A, f"t{number}")] == [2, 3, 4]
    do(store.keep_newest, A, 20)
    assert do(store.answer, A, "t2") == b"a"
    assert do(store.answer, B, "t0") == b"b"
