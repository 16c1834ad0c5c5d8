"""What a device sent under which transaction id, on each kind of database."""

from itertools import count

import pytest

from homeserver.protocol.ids import EventId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.events import ACCEPTED, EventStore, NewEvent, device_and_txn_id, txn_of
from homeserver.storage.identifiers import Identifiers
from tests.support.running import result

ALICE, BOB = UserId("@alice:test"), UserId("@bob:test")
NOW_MS = 1_000_000

_nids = count(1)


@pytest.fixture
def store(database: Database) -> EventStore:
    result(database.write(add_room))
    return EventStore(Identifiers())


def add_room(txn: Transaction) -> None:
    txn.execute(
        """
        INSERT INTO rooms (nid, room_id, version, is_public, heads, depth, tip, state_nid)
        VALUES (1, '!room:test', '12', %s, %s, 0, 0, 0)""",
        (False, b"[]"),
    )


def sent(store: EventStore, database: Database, device: str, txn_id: str, user_id: UserId = ALICE) -> EventId:
    nid = next(_nids)
    event = NewEvent(
        nid, EventId(f"${nid}"), "m.room.message", None, user_id, nid, NOW_MS, None, None, ACCEPTED, 0, None,
        txn_of(device, txn_id), b"{}",
    )  # fmt: skip
    result(database.write(store.insert, 1, event, None))
    return event.event_id


def by_device(store: EventStore, database: Database, device: str, *, limit: int = 100) -> list[EventId]:
    rows = result(database.read(store.sent_by_device, ALICE, device, NOW_MS, limit=limit))
    return [row.event_id for row in rows]


def test_devices_whose_names_begin_alike_are_apart(store: EventStore, database: Database) -> None:
    phone = sent(store, database, "PHONE", "B 1")
    phone_b = sent(store, database, "PHONE B", "1")
    shouting, whispering = sent(store, database, "A", "1"), sent(store, database, "a", "1")
    sent(store, database, "PHONE", "1", user_id=BOB)
    nameless = sent(store, database, "", "PHONE")

    assert by_device(store, database, "PHONE") == [phone]
    assert by_device(store, database, "PHONE B") == [phone_b]
    assert by_device(store, database, "A") == [shouting]
    assert by_device(store, database, "a") == [whispering]
    assert by_device(store, database, "") == [nameless]


@pytest.mark.parametrize("device", ["ÄÖ ß", "-", "\U0001f4f1", "!", "~"])
def test_what_a_device_sent_is_found_whatever_it_is_called(
    store: EventStore, database: Database, device: str
) -> None:
    events = [sent(store, database, device, txn_id) for txn_id in ("1", " ", "~", "ÿ", "\U0001f4f1", "\x1f")]

    assert by_device(store, database, device) == events
    assert by_device(store, database, device, limit=2) == events[-2:]


def test_one_transaction_is_found_by_its_name(store: EventStore, database: Database) -> None:
    first = sent(store, database, "PHONE", "a")
    sent(store, database, "PHONE", "A")
    sent(store, database, "PHONE", "a", user_id=BOB)

    rows = result(database.read(store.sent_under, ALICE, txn_of("PHONE", "a"), NOW_MS))
    assert [(row.event_id, row.room_id, row.type) for row in rows] == [
        (first, "!room:test", "m.room.message")
    ]
    assert result(database.read(store.sent_under, ALICE, txn_of("PHONE", "a"), NOW_MS + 1)) == []


def test_postgresql_compares_transactions_by_code_point_in_every_language(database: Database) -> None:
    if database.dialect == "sqlite":
        return
    sql = """
        SELECT column_name, collation_name FROM information_schema.columns
        WHERE table_name = 'events' AND column_name IN ('event_id', 'txn') ORDER BY 1"""
    assert result(database.read(lambda txn: txn.rows(sql))) == [("event_id", "C"), ("txn", "C")]


def test_device_and_transaction_come_apart_again() -> None:
    assert device_and_txn_id(txn_of("a device", "a\x1ftxn id")) == ("a device", "a\x1ftxn id")
