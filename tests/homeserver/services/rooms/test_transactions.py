"""A transaction is carried out once, whatever else goes wrong on the same device."""

from collections.abc import Awaitable, Callable

import pytest

from homeserver.protocol.errors import Forbidden
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.concurrency import Gate
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.transactions import DAY_MS, MOST_OF_A_DEVICE, TransactionKey, Transactions
from homeserver.storage.events import SentTransaction, txn_of
from tests.support.clock import FakeClock
from tests.support.running import Running, result

ALICE = UserId("@alice:test")
ROOM = RoomId("!room:test")


class Stored:
    """What the events table says about one device."""

    def __init__(self) -> None:
        self.rows: list[SentTransaction] = []
        self.reads = 0
        self.look_ups = 0

    def sent_by_device(
        self, txn: Transaction, user_id: UserId, device: str, since_ts: int, *, limit: int
    ) -> list[SentTransaction]:
        self.reads += 1
        return self.rows[-limit:]

    def sent_under(
        self, txn: Transaction, user_id: UserId, sent_txn: str, since_ts: int
    ) -> list[SentTransaction]:
        self.look_ups += 1
        return [row for row in self.rows if row.txn == sent_txn]


class Sender:
    """Sends events under transaction IDs, and counts how often each was really sent."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.stored = Stored()
        self.transactions = Transactions(database, self.stored, clock)  # type: ignore[arg-type]
        self.events = 0

    async def once(self, txn_id: str, send: Callable[[], Awaitable[EventId]] | None = None) -> EventId:
        key = TransactionKey(ROOM, "m.room.message", txn_id)
        return await self.transactions.once(ALICE, "PHONE", key, send or (lambda: self.send(txn_id)))

    async def send(self, txn_id: str) -> EventId:
        self.events += 1
        event_id = EventId(f"${self.events}")
        self.stored.rows.append(SentTransaction(txn_of("PHONE", txn_id), ROOM, "m.room.message", event_id))
        return event_id


@pytest.fixture
def sender(sqlite_database: Database, time: FakeClock) -> Sender:
    return Sender(sqlite_database, time)


def test_a_repeated_request_gets_the_same_event(sender: Sender) -> None:
    first = result(sender.once("a"))

    assert result(sender.once("a")) == first
    assert result(sender.once("b")) != first
    assert sender.events == 2


def test_memory_is_enough_after_the_first_request(sender: Sender) -> None:
    for number in range(5):
        result(sender.once(str(number)))

    assert sender.stored.reads == 1


def test_it_is_known_after_a_restart(sender: Sender, sqlite_database: Database, time: FakeClock) -> None:
    for number in range(MOST_OF_A_DEVICE + 10):
        last = result(sender.once(f"{number}"))

    again = Sender(sqlite_database, time)
    again.stored = sender.stored
    again.transactions = Transactions(sqlite_database, sender.stored, time)  # type: ignore[arg-type]

    assert result(again.once(f"{MOST_OF_A_DEVICE + 9}")) == last


def test_more_than_memory_keeps_is_not_sent_again(sender: Sender) -> None:
    first = result(sender.once("first"))
    for number in range(MOST_OF_A_DEVICE):
        result(sender.once(f"{number}"))
    assert sender.stored.look_ups == 0

    assert result(sender.once("first")) == first
    assert sender.stored.look_ups == 1


def test_more_than_memory_keeps_is_not_sent_again_after_a_restart(
    sender: Sender, sqlite_database: Database, time: FakeClock
) -> None:
    first = result(sender.once("first"))
    for number in range(MOST_OF_A_DEVICE):
        result(sender.once(f"{number}"))
    sender.transactions = Transactions(sqlite_database, sender.stored, time)  # type: ignore[arg-type]

    assert result(sender.once("first")) == first


def test_what_memory_let_go_more_than_a_day_ago_is_not_looked_up(sender: Sender, time: FakeClock) -> None:
    for number in range(MOST_OF_A_DEVICE + 1):
        result(sender.once(f"{number}"))
    time.advance(DAY_MS / 1000)
    result(sender.once("new"))
    assert sender.stored.look_ups == 0

    result(sender.once("newer"))  # "new" pushed out something again
    assert sender.stored.look_ups == 1


def test_one_failure_does_not_forget_what_is_being_sent(sender: Sender) -> None:
    gate = Gate()

    async def slow() -> EventId:
        await gate.wait()
        return await sender.send("slow")

    async def fail() -> EventId:
        raise RuntimeError("the database is gone")

    slowly = Running(sender.once("slow", slow))
    with pytest.raises(RuntimeError):
        result(sender.once("broken", fail))
    result(sender.once("next"))
    gate.open()

    assert result(sender.once("slow")) == slowly.result()
    assert sender.events == 2


def test_what_failed_may_have_been_stored(sender: Sender) -> None:
    async def stored_and_lost() -> EventId:
        await sender.send("a")
        raise RuntimeError("the answer got lost")

    with pytest.raises(RuntimeError):
        result(sender.once("a", stored_and_lost))

    assert result(sender.once("a")) == EventId("$1")
    assert sender.events == 1


def test_a_refusal_is_not_looked_up(sender: Sender) -> None:
    async def refuse() -> EventId:
        raise Forbidden("not in the room")

    for number in range(3):
        with pytest.raises(Forbidden):
            result(sender.once(str(number), refuse))

    assert sender.stored.reads == 1
