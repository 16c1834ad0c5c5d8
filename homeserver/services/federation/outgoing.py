"""What the sender asks of the database, in few and small works."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import ServerName
from homeserver.runtime.cache import ByteCache
from homeserver.runtime.database import Database, Transaction
from homeserver.services.federation.kept_edus import KEPT
from homeserver.services.federation.queue import DestinationQueue, Load, Skim
from homeserver.services.federation.transaction_body import MOST_EDUS, MOST_PDUS, Pdus, pdus_of
from homeserver.storage.destinations import DestinationRow, DestinationStore, LoggedEdu, NewEdu, Progress
from homeserver.storage.outgoing import FOREVER, OutgoingStore, StoredReceipt

PAGE = 500
RECEIPTS_PAGE = 500
TRANSACTIONS_KEPT = 50
TRANSACTION_BYTES_KEPT = 8 * 1024 * 1024
PDU_CACHE_BYTES = 8 * 1024 * 1024


class CatchUp(NamedTuple):
    """When everything missed is sent in order, and when only the newest event of each room."""

    in_order_most: int = 10_000
    in_order_ms: int = 24 * 3600 * 1000


class _Page(NamedTuple):
    nids: list[int]
    is_all: bool
    skim: Skim | None
    sent_nid: int


class Delivery(NamedTuple):
    """What to note when a transaction has arrived."""

    queue: DestinationQueue
    load: Load
    txn_id: str
    body: bytes


class OutgoingEvents:
    """Reads what waits, writes what arrived."""

    def __init__(
        self,
        database: Database,
        stores: tuple[DestinationStore, OutgoingStore],
        position: Callable[[], int],
        catch_up: CatchUp | None = None,
    ) -> None:
        self._database = database
        self._destinations, self._outgoing = stores
        self._position = position
        self.catch_up = catch_up or CatchUp()
        self._pdus: ByteCache[int, bytes] = ByteCache(PDU_CACHE_BYTES)
        self._joined: ByteCache[tuple[int, ...], Pdus] = ByteCache(PDU_CACHE_BYTES)

    def note_pdu(self, nid: int, raw: bytes) -> None:
        """An event that is about to go out."""
        self._pdus.put(nid, raw, len(raw))

    async def left_behind(self, server_name: ServerName) -> list[ServerName]:
        """Servers for whom something waits."""
        return await self._database.read(self._outgoing.left_behind, server_name)

    async def rows(self, servers: Sequence[ServerName]) -> dict[ServerName, DestinationRow]:
        """How far each has got. One that is new has missed nothing."""
        rows = {row.server: row for row in await self._database.read(self._destinations.of, servers)}
        new = [server for server in servers if server not in rows]
        if new:
            await self._database.write(self._destinations.numbers, new, since=self._position())
            rows.update({row.server: row for row in await self._database.read(self._destinations.of, new)})
        return rows

    async def load_events(self, queue: DestinationQueue, *, failing_for_ms: int) -> None:
        """The next events of a queue that is behind."""
        assert queue.row is not None
        queue.begin_loading()
        position = self._position()
        try:
            page = await self._database.read(self._page, queue, position, failing_for_ms)
        except BaseException:
            queue.is_loading = False
            raise
        queue.skim = page.skim
        if page.skim is None:
            queue.taken_nid = max(queue.taken_nid, page.sent_nid)
            queue.sent_nid = max(queue.sent_nid, page.sent_nid)
            queue.loaded(page.nids, is_all=page.is_all)
        else:
            queue.is_loading = False
            queue.late_events.clear()
            queue.events.extend(page.nids)

    async def logged_edus(self, queue: DestinationQueue) -> list[LoggedEdu]:
        """EDUs that must not get lost, the next hundred."""
        assert queue.row is not None
        return await self._database.read(self._destinations.edus, queue.row.nid, limit=MOST_EDUS)

    async def receipts(self, queue: DestinationQueue, server_name: ServerName) -> list[StoredReceipt]:
        """Receipts that the destination lacks, the next 500."""
        assert queue.row is not None
        return await self._database.read(
            self._outgoing.receipts, queue.row.nid, server_name, after=queue.receipts_position,
            limit=RECEIPTS_PAGE,
        )  # fmt: skip

    async def pdus(self, nids: Sequence[int]) -> Pdus:
        """The events as they are sent. One whose room was removed meanwhile is left out."""
        key = tuple(nids)
        known = self._joined.get(key)
        if known is not None:
            return known
        found = {nid: raw for nid in nids if (raw := self._pdus.get(nid)) is not None}
        missing = [nid for nid in nids if nid not in found]
        if missing:
            found.update(await self._database.read(self._outgoing.pdus, missing))
        pdus = pdus_of([found[nid] for nid in nids if nid in found])
        if nids:
            self._joined.put(key, pdus, len(pdus.joined))
        return pdus

    async def save(self, progress: Sequence[Progress]) -> None:
        """How far destinations have got."""
        await self._database.write(self._destinations.save_progress, progress)

    async def settle(self, delivery: Delivery) -> None:
        """What cannot be left for later: EDUs that arrived, transactions that may be asked for again."""
        if delivery.load.logged_edus or (delivery.queue.row and delivery.queue.row.keeps_log):
            await self._database.write(self._settle, delivery)

    async def prune(self, servers: Sequence[ServerName], upto: int) -> int:
        """Forget events up to `upto` but those that one of the servers still has to get."""
        return await self._database.write(self._prune, servers, upto)

    async def prune_edus(self, now_ms: int) -> int:
        """Forget EDUs for servers that have not come for too long; how many."""
        crowded = await self._database.read(self._crowded)
        return await self._database.write(self._prune_edus, crowded, now_ms)

    def append_edu(
        self, txn: Transaction, servers: Sequence[ServerName], edu: NewEdu, *, now_ms: int
    ) -> None:
        """Put an EDU in line; one with the same type and key that has not left yet is replaced."""
        nids = self._destinations.numbers(txn, servers, since=self._position())
        self._destinations.add_edu(txn, list(nids.values()), edu, now_ms=now_ms)

    def _page(self, txn: Transaction, queue: DestinationQueue, position: int, failing_for_ms: int) -> _Page:
        assert queue.row is not None
        nid, after, skim, sent = queue.row.nid, queue.taken_nid, queue.skim, queue.sent_nid
        if skim is None and self._is_too_much(txn, nid, after, failing_for_ms):
            skim = Skim(position, FOREVER)
        if skim is not None:
            newest = self._outgoing.newest_of_rooms(
                txn, nid, after=after, upto=skim.upto, before=skim.before, limit=MOST_PDUS
            )
            if newest:
                return _Page(newest, False, Skim(skim.upto, newest[-1]), sent)
            after = sent = skim.upto  # all rooms done: the rest of their events is theirs to ask for
        nids = self._outgoing.pending(txn, nid, after=after, upto=position, limit=PAGE)
        return _Page(nids, len(nids) < PAGE, None, sent)

    def _is_too_much(self, txn: Transaction, destination_nid: int, after: int, failing_for_ms: int) -> bool:
        if failing_for_ms > self.catch_up.in_order_ms:
            return True
        most = self.catch_up.in_order_most
        return self._outgoing.count_pending(txn, destination_nid, after=after, most=most + 1) > most

    def _settle(self, txn: Transaction, delivery: Delivery) -> None:
        row, load = delivery.queue.row, delivery.load
        assert row is not None
        if load.logged_edus:
            self._destinations.remove_edus(txn, row.nid, [edu.nid for edu in load.logged_edus])
        if row.keeps_log:
            self._destinations.log_sent(
                txn, row.nid, delivery.txn_id, delivery.body,
                keep=TRANSACTIONS_KEPT, keep_bytes=TRANSACTION_BYTES_KEPT,
            )  # fmt: skip

    def _prune(self, txn: Transaction, servers: Sequence[ServerName], upto: int) -> int:
        upto = min([upto, *(row.sent_nid for row in self._destinations.of(txn, servers))])
        return self._outgoing.prune(txn, upto)

    def _crowded(self, txn: Transaction) -> dict[str, list[int]]:
        return {type_: self._destinations.crowded_by(txn, type_, kept.most) for type_, kept in KEPT.items()}

    def _prune_edus(self, txn: Transaction, crowded: Mapping[str, Sequence[int]], now_ms: int) -> int:
        store, dropped = self._destinations, 0
        for type_, kept in KEPT.items():
            dropped += store.drop_old_edus(txn, type_, before_ms=now_ms - kept.for_ms)
            for nid in crowded[type_]:
                dropped += store.drop_oldest_edus(txn, nid, type_, keep=kept.most)
        store.prune_edus(txn)
        return dropped
