"""Sends events and EDUs to other servers.

    an event is committed -> rows say that it goes out (`services/rooms/outbox.py`)
        -> `note`: its number joins the queue of each destination that is well
        -> queues stand in line; the next in line sends one transaction and lines up again

A destination that does not answer loses its queue: `Destinations` says when to try again, and the database
what waits. The same happens when the server stops or is killed. Events are taken only up to the streams'
position, so the one number a destination has got to says everything: nothing below it can still turn up.
https://spec.matrix.org/latest/server-server-api/#transactions
"""

import logging
from collections.abc import Hashable, Iterable, Sequence
from itertools import count
from typing import Protocol

from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.remote.errors import RemoteError, RemoteRefused
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.database import Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.services.federation.destinations import Destinations
from homeserver.services.federation.kept_edus import KEPT
from homeserver.services.federation.lines import Line, Lines, LineSettings
from homeserver.services.federation.outgoing import Delivery, OutgoingEvents
from homeserver.services.federation.queue import DestinationQueue, Load, Receipts
from homeserver.services.federation.transaction_body import (
    MOST_EDUS,
    MOST_PDUS,
    edu,
    transaction_body,
    transaction_id,
)
from homeserver.services.streams import Change, Streams
from homeserver.storage.destinations import DestinationRow, LoggedEdu, NewEdu, Progress

logger = logging.getLogger(__name__)

SAVE_AFTER_S = 0.5
PRUNE_EVERY_S = 300.0
TOO_BAD = (400, 413, 422)
"""Statuses with which a destination says that it will never take the transaction as it is."""


class TransactionClient(Protocol):
    """`homeserver.remote.federation.FederationClient`."""

    async def send_transaction(self, destination: ServerName, txn_id: str, body: bytes) -> JsonObject:
        """PUT /send with canonical JSON. Raises RemoteError."""


class StoredReceipts(Protocol):
    """`homeserver.services.federation.edus.OutgoingEdus`."""

    async def missed(self, queue: DestinationQueue) -> list[Receipts]:
        """The next receipts that the destination lacks, from the database; none when it lacks none."""


class FederationSender:
    """`note` is told of events, `put` of EDUs; `start` before anything else."""

    def __init__(  # noqa: PLR0913 - all but three by keyword
        self,
        server_name: ServerName,
        client: TransactionClient,
        outgoing: OutgoingEvents,
        *,
        destinations: Destinations,
        streams: Streams,
        clock: Clock,
        tasks: Tasks,
        settings: LineSettings | None = None,
    ) -> None:
        self._server_name = server_name
        self._client = client
        self._outgoing = outgoing
        self._destinations = destinations
        self._streams = streams
        self._clock = clock
        self._tasks = tasks
        self._lines = Lines(settings or LineSettings(), destinations, clock, self._serve)
        self._queues: dict[ServerName, DestinationQueue] = {}
        self._fresh: list[tuple[int, frozenset[ServerName], ServerName | None]] = []
        self._to_load: dict[ServerName, DestinationQueue] = {}
        self._progress: dict[ServerName, Progress] = {}
        self._saving: dict[ServerName, Progress] = {}
        self._save_timer: DelayedCall | None = None
        self._prune_timer: DelayedCall | None = None
        self._serials = count(1)
        self._has_looked = False
        self._is_stopped = False
        self.receipts: StoredReceipts | None = None
        destinations.on_ready = self.wake
        streams.follow(self._advance)

    async def start(self) -> None:
        """Look, in the background, for what was left unsent; then send it."""
        self._tasks.start("look for what is unsent", self._wake_left_behind())
        self._prune_timer = self._clock.call_later(PRUNE_EVERY_S, self._start_pruning)

    async def stop(self) -> None:
        """Send nothing new; write down what arrived."""
        self._is_stopped = True
        for timer in (self._save_timer, self._prune_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._save_timer = self._prune_timer = None
        self._lines.stop()
        await self._save()

    # What there is to send

    def note(
        self, nid: int, raw: bytes, servers: frozenset[ServerName], besides: ServerName | None = None
    ) -> None:
        """An event for these servers was committed. It leaves when the streams' position reaches it."""
        self._outgoing.note_pdu(nid, raw)
        self._fresh.append((nid, servers, besides))

    def put_ephemeral(self, servers: Iterable[ServerName], key: Hashable, edu: bytes) -> None:
        """An EDU that is of no use later: servers that do not answer at the moment never get it."""
        for queue in self._reachable(servers):
            queue.add_ephemeral(key, edu)
            self._run(queue)

    def put_receipts(self, servers: Iterable[ServerName], edu: Receipts) -> None:
        """Receipts that are stored, too: servers that do not answer get them from there."""
        for queue in self._reachable(servers):
            queue.add_receipts(edu)
            self._run(queue)

    def append_edu(
        self, txn: Transaction, servers: Sequence[ServerName], type_: str, *, key: str, content: JsonObject
    ) -> None:
        """An EDU that must arrive, in the write of what it tells: one of the kinds in `kept_edus`.

        `key` names what it is about: while it waits, a later one of that type and key takes its place.
        """
        assert type_ in KEPT, f"Nobody has said for how long {type_} waits"
        new = NewEdu(type_, key, edu(type_, content))
        self._outgoing.append_edu(txn, servers, new, now_ms=self._clock.now_ms())
        txn.after_commit(self._wake_for_edus, list(servers))

    def wake(self, server: ServerName) -> None:
        """Send the server what waits for it in the database."""
        if self._is_stopped:
            return
        if not self._destinations.is_sendable(server):
            self._destinations.note_waiting(server)
            return
        queue = self._queue(server)
        queue.is_behind = queue.lacks_receipts = queue.has_logged_edus = True
        self._run(queue)

    def waiting(self) -> int:
        """How many destinations have something in memory."""
        return len(self._queues)

    # From events to queues

    def _advance(self, position: int, _changes: Sequence[Change]) -> None:
        """The streams moved on: what lies behind their position can leave."""
        if not self._fresh:
            return
        ready = sorted((one for one in self._fresh if one[0] <= position), key=lambda one: one[0])
        self._fresh = [one for one in self._fresh if one[0] > position]
        for nid, servers, besides in ready:
            for queue in self._reachable(servers):
                if queue.server != besides:
                    queue.add_event(nid)
                    self._run(queue)

    def _reachable(self, servers: Iterable[ServerName]) -> Iterable[DestinationQueue]:
        if self._is_stopped:
            return
        for server in servers:
            queue = self._queues.get(server)
            if queue is not None:
                yield queue
            elif self._destinations.is_sendable(server):
                yield self._queue(server)
            else:
                self._destinations.note_waiting(server)

    def _queue(self, server: ServerName) -> DestinationQueue:
        queue = self._queues.get(server)
        if queue is None:
            queue = self._queues[server] = DestinationQueue(server)
            # Whoever has no queue and is well has everything: but that is certain only after the first look,
            # and of one that failed lately the database knows more.
            if not self._has_looked or self._destinations.is_in_trouble(server):
                queue.is_behind = queue.lacks_receipts = queue.has_logged_edus = True
        return queue

    def _wake_for_edus(self, servers: Sequence[ServerName]) -> None:
        for queue in self._reachable(servers):
            queue.has_logged_edus = True
            self._run(queue)

    async def _wake_left_behind(self) -> None:
        for server in await self._outgoing.left_behind(self._server_name):
            self.wake(server)
        self._has_looked = True

    # From queues to transactions

    def _run(self, queue: DestinationQueue) -> None:
        if queue.is_running:
            return
        queue.is_running = True
        self._to_load[queue.server] = queue
        if len(self._to_load) == 1:
            self._tasks.start("begin sending", self._begin())

    async def _begin(self) -> None:
        """One read for all destinations that something happened to in this turn."""
        await self._clock.sleep(0)
        queues, self._to_load = self._to_load, {}
        try:
            rows = await self._outgoing.rows(list(queues))
        except Exception as error:
            for server in queues:
                del self._queues[server]
                self._destinations.note_refused(server, f"failed here: {error!r}")
            raise
        for server, queue in queues.items():
            queue.recall(self._newest(rows[server]))
            self._lines.put(queue)

    def _newest(self, row: DestinationRow) -> DestinationRow:
        """With the progress that is not written down yet."""
        progress = self._progress.get(row.server) or self._saving.get(row.server)
        if progress is None:
            return row
        return row._replace(
            sent_nid=max(row.sent_nid, progress.sent_nid),
            receipts_position=max(row.receipts_position, progress.receipts_position),
            last_txn=progress.last_txn,
        )

    def _serve(self, line: Line, queue: DestinationQueue) -> None:
        self._tasks.start(f"send to {queue.server}", self._send_next(line, queue))

    async def _send_next(self, line: Line, queue: DestinationQueue) -> None:
        """One transaction. Then the queue lines up again, or goes: it is empty, or not to be sent to now."""
        server, goes_on, began = queue.server, False, self._clock.monotonic()
        try:
            if self._destinations.is_sendable(server):
                load = await self._take(queue)
                if load is not None:
                    await self._send(queue, load)
                    goes_on = not queue.is_empty and not self._is_stopped
        except RemoteRefused as refusal:
            if refusal.remote_status >= 500:
                self._destinations.note_undelivered(server, str(refusal))
            else:
                self._destinations.note_refused(server, str(refusal), retry_after_ms=refusal.retry_after_ms)
        except RemoteError as failure:
            self._destinations.note_undelivered(server, str(failure))
        except Exception as error:
            self._destinations.note_refused(server, f"failed here: {error!r}")
            raise
        finally:
            self._lines.note_time(server, began)
            if goes_on:
                self._lines.put(queue)
            else:
                del self._queues[server]
            line.done()

    async def _take(self, queue: DestinationQueue) -> Load | None:
        """What goes into the next transaction; None, at once, when there is nothing."""
        logged: list[LoggedEdu] = []
        while not queue.is_empty:
            if queue.is_behind and not queue.events:
                failing_for_ms = self._destinations.failing_for_ms(queue.server)
                await self._outgoing.load_events(queue, failing_for_ms=failing_for_ms)
                self._note_progress(queue)
            if queue.has_logged_edus:
                queue.has_logged_edus = False
                logged = await self._outgoing.logged_edus(queue)
                queue.has_logged_edus = len(logged) >= MOST_EDUS
            if queue.lacks_receipts and not queue.receipts:
                queue.lacks_receipts = False
                missed = [] if self.receipts is None else await self.receipts.missed(queue)
                queue.receipts[:0] = missed
                queue.lacks_receipts = queue.lacks_receipts or bool(missed)
            if logged or queue.events or queue.receipts or queue.ephemeral:
                return _load(queue, logged)
        return None

    async def _send(self, queue: DestinationQueue, load: Load) -> None:
        pdus = await self._outgoing.pdus(load.events)
        edus = load.edus
        now_ms = self._clock.now_ms()
        body = transaction_body(self._server_name, now_ms, pdus, edus, previous=queue.last_txn)
        txn_id = transaction_id(pdus, edus, f"{now_ms} {next(self._serials)}")
        if pdus.joined or edus:
            try:
                await self._client.send_transaction(queue.server, txn_id, body)
            except RemoteRefused as refusal:
                if refusal.remote_status not in TOO_BAD or len(load.events) + len(edus) < 2:
                    raise
                await self._send_parts(queue.server, load)
        await self._arrived(Delivery(queue, load, txn_id, body))

    async def _send_parts(self, server: ServerName, load: Load) -> None:
        """Each event and EDU alone, when all together were refused: one may be at fault, and is given up.

        Raises RemoteRefused when the first few are all refused: then it is not about what is sent.
        """
        refusals, accepted = 0, 0
        parts: list[tuple[list[int], list[bytes]]] = [([nid], []) for nid in load.events]
        parts += [([], [one]) for one in load.edus]
        for nids, edus in parts:
            pdus = await self._outgoing.pdus(nids)
            now_ms = self._clock.now_ms()
            body = transaction_body(self._server_name, now_ms, pdus, edus, previous=None)
            try:
                await self._client.send_transaction(
                    server, transaction_id(pdus, edus, f"{now_ms} {next(self._serials)}"), body
                )
                accepted += 1
            except RemoteRefused as refusal:
                refusals += 1
                if refusal.remote_status not in TOO_BAD or (not accepted and refusals == min(6, len(parts))):
                    raise
                logger.warning("%s will not take event %s, EDU %s: %s", server, nids, edus, refusal)

    async def _arrived(self, delivery: Delivery) -> None:
        queue, load = delivery.queue, delivery.load
        self._destinations.note_delivered(queue.server)
        if load.events and load.skim is None:
            queue.sent_nid = max(queue.sent_nid, load.events[-1])
        queue.receipts_position = max(queue.receipts_position, load.receipts_position)
        queue.last_txn = delivery.txn_id
        self._note_progress(queue)
        await self._outgoing.settle(delivery)

    # What is written down

    def _note_progress(self, queue: DestinationQueue) -> None:
        self._progress[queue.server] = Progress(
            queue.server, queue.sent_nid, queue.receipts_position, queue.last_txn
        )
        if self._save_timer is None and not self._is_stopped:
            self._save_timer = self._clock.call_later(SAVE_AFTER_S, self._start_save)

    def _start_save(self) -> None:
        self._save_timer = None
        self._tasks.start("save what destinations have", self._save())

    async def _save(self) -> None:
        """If this is lost, events are sent twice, and destinations know them again."""
        if self._progress:
            saving, self._progress = self._progress, {}
            self._saving.update(saving)
            try:
                await self._outgoing.save(list(saving.values()))
            finally:
                for server, one in saving.items():
                    if self._saving[server] is one:
                        del self._saving[server]

    def _start_pruning(self) -> None:
        self._prune_timer = self._clock.call_later(PRUNE_EVERY_S, self._start_pruning)
        if self._has_looked:
            waiting = self._destinations.recently_failed(self._outgoing.catch_up.in_order_ms)
            upto = self._streams.position
            self._tasks.start("prune", self._outgoing.prune([*self._queues, *waiting], upto))
            self._tasks.start("drop EDUs that nobody fetched", self._drop_edus())

    async def _drop_edus(self) -> None:
        dropped = await self._outgoing.prune_edus(self._clock.now_ms())
        if dropped:
            logger.warning("%d EDUs are dropped: servers that they are for have not come for long", dropped)


def _load(queue: DestinationQueue, logged: list[LoggedEdu]) -> Load:
    """Take as much out of the queue as one transaction may hold."""
    events, queue.events = queue.events[:MOST_PDUS], queue.events[MOST_PDUS:]
    room = MOST_EDUS - len(logged)
    receipts, queue.receipts = queue.receipts[:room], queue.receipts[room:]
    room -= len(receipts)
    ephemeral = {key: queue.ephemeral.pop(key) for key in list(queue.ephemeral)[:room]}
    position = max((one.position for one in receipts), default=0)
    return Load(events, queue.skim, logged, receipts, position, ephemeral)
