"""Transaction ids: a request repeated after a lost answer gets the same event, also after a restart.

What a device sent in the last day is read once, when it first sends; from then on memory knows, unless it was
more than memory keeps: then the database is asked for each id that memory does not have.
https://spec.matrix.org/latest/client-server-api/#transaction-identifiers
"""

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import KeyedLock
from homeserver.runtime.database import Database
from homeserver.storage.events import EventStore, SentTransaction, device_and_txn_id, txn_of

DAY_MS = 24 * 3600 * 1000
MOST_DEVICES = 20_000
MOST_OF_A_DEVICE = 1_000


class TransactionKey(NamedTuple):
    """What makes a request the same: its path and the device it came from."""

    room_id: RoomId
    type: str
    txn_id: str


Sent = OrderedDict[TransactionKey, EventId]


class Transactions:
    """Runs each transaction of a device once."""

    def __init__(self, database: Database, store: EventStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._devices: OrderedDict[tuple[UserId, str], Sent] = OrderedDict()
        self._doubts: Counter[tuple[UserId, str]] = Counter()
        self._cut_ms: dict[tuple[UserId, str], int] = {}
        """When memory last let go of something that the device sent, of the devices in memory."""
        self._running: KeyedLock = KeyedLock()

    async def once(
        self, user_id: UserId, device: str, key: TransactionKey, send: Callable[[], Awaitable[EventId]]
    ) -> EventId:
        """The event of this transaction, sending it if it was not."""
        sent = self._devices.get((user_id, device))
        if sent is None or (user_id, device) in self._doubts:
            sent = await self._load(user_id, device)
        known = sent.get(key)
        if known is not None:
            return known
        async with self._running.hold((user_id, device, key)):
            known = sent.get(key)
            if known is None and self._is_cut(user_id, device):
                known = await self._look_up(user_id, device, key)
            if known is not None:
                return known
            try:
                event_id = await send()
            except BaseException as error:
                if not (isinstance(error, MatrixError) and error.status < 500):
                    # It may have been stored all the same: let the database say, next time.
                    self._doubts[user_id, device] += 1
                raise
            self._note(user_id, device, key, event_id)
            return event_id

    async def _load(self, user_id: UserId, device: str) -> Sent:
        """Ask the database, and add what it says to what memory knows: others may be sending meanwhile."""
        doubts = self._doubts[user_id, device]
        since = self._clock.now_ms() - DAY_MS
        rows = await self._database.read(
            self._store.sent_by_device, user_id, device, since, limit=MOST_OF_A_DEVICE
        )
        if doubts == self._doubts[user_id, device]:
            del self._doubts[user_id, device]
        sent = self._devices.get((user_id, device))
        if sent is None:
            sent = self._remember(user_id, device, OrderedDict())
        for row in rows:
            sent.setdefault(_key_of(row), row.event_id)
        if len(rows) == MOST_OF_A_DEVICE:
            self._cut_ms[user_id, device] = self._clock.now_ms()
        return sent

    def _is_cut(self, user_id: UserId, device: str) -> bool:
        """May the device have sent in the last day what memory does not know?"""
        cut_ms = self._cut_ms.get((user_id, device))
        return cut_ms is not None and self._clock.now_ms() - cut_ms < DAY_MS

    async def _look_up(self, user_id: UserId, device: str, key: TransactionKey) -> EventId | None:
        """What the database knows of one transaction."""
        since = self._clock.now_ms() - DAY_MS
        rows = await self._database.look_up(
            self._store.sent_under, user_id, txn_of(device, key.txn_id), since
        )
        return next((row.event_id for row in rows if _key_of(row) == key), None)

    def _note(self, user_id: UserId, device: str, key: TransactionKey, event_id: EventId) -> None:
        """In what memory knows of the device by now: it may have been forgotten or read again meanwhile."""
        sent = self._devices.get((user_id, device))
        if sent is None:
            self._doubts[user_id, device] += 1
            return
        sent[key] = event_id
        if len(sent) > MOST_OF_A_DEVICE:
            sent.popitem(last=False)
            self._cut_ms[user_id, device] = self._clock.now_ms()

    def _remember(self, user_id: UserId, device: str, sent: Sent) -> Sent:
        self._devices[user_id, device] = sent
        if len(self._devices) > MOST_DEVICES:
            forgotten, _ = self._devices.popitem(last=False)
            self._cut_ms.pop(forgotten, None)
        return sent


def _key_of(row: SentTransaction) -> TransactionKey:
    return TransactionKey(row.room_id, row.type, device_and_txn_id(row.txn)[1])
