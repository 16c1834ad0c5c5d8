"""How other servers do: who fails and since when, whom to leave alone until when, whom not to send to at all.

Only servers in trouble are kept in memory; a server that does well costs nothing. `Destinations` is the
`Reachability` of the federation client: every request there tells it how it went.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from homeserver.protocol.errors import NotFound
from homeserver.protocol.ids import ServerName
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.timing_wheel import TimingWheel
from homeserver.services.federation.backoff import BackOff
from homeserver.services.streams import Streams
from homeserver.storage.destinations import DestinationRow, DestinationStore, Failing
from homeserver.storage.outgoing import OutgoingStore

logger = logging.getLogger(__name__)

SAVE_AFTER_S = 2.0
RETRY_STEP_S = 1.0
MOST_IN_TROUBLE = 50_000
MOST_COUNTED = 10_000
NOT_A_DESTINATION = 0
"""The number of a server that has no row."""
FIRST_EXTRA_TRY_S = 1.0
EXTRA_TRIES_EVERY_S = 60.0
"""A server that speaks to us is tried so soon after its last failure, and then at most so often for it."""


@dataclass(slots=True)
class Trouble:
    """A server's failures. `is_refusal`: it answers, but does not take what we send.

    `is_destination`: something may wait for it. `extra_tries`: made before their time, since it spoke to us;
    `planned_ms`: when it would have been tried without the one under way. `not_before_ms`: its own word.
    """

    failing_since_ms: int
    last_failure_ms: int
    failures: int
    retry_at_ms: int
    last_error: str
    is_refusal: bool = False
    is_destination: bool = False
    extra_tries: int = 0
    planned_ms: int = 0
    not_before_ms: int = 0

    def early_try_ms(self) -> int:
        """When it is worth a try if it speaks: the more of them failed, the later."""
        pause_s = min(EXTRA_TRIES_EVERY_S, FIRST_EXTRA_TRY_S * 2.0 ** min(self.extra_tries, 10))
        return max(self.last_failure_ms + int(pause_s * 1000), self.not_before_ms)


class DestinationView(NamedTuple):
    """What operators see. The queues count up to 10,000."""

    row: DestinationRow
    waiting_events: int
    waiting_edus: int


class Destinations:
    """`on_ready` is called with a server when sending may be tried again, `on_recovered` once it answers."""

    def __init__(
        self,
        database: Database,
        stores: tuple[DestinationStore, OutgoingStore],
        *,
        clock: Clock,
        tasks: Tasks,
        streams: Streams,
        chance: Callable[[], float],
        back_off: BackOff | None = None,
    ) -> None:
        self._database = database
        self._store, self._outgoing = stores
        self._clock = clock
        self._tasks = tasks
        self._streams = streams
        self._chance = chance
        self._back_off = back_off or BackOff()
        self._troubles: dict[ServerName, Trouble] = {}
        self._blocked: set[ServerName] = set()
        self._unsaved: dict[ServerName, None] = {}
        self._successes: dict[ServerName, int] = {}
        self._save_timer: DelayedCall | None = None
        self._retries: TimingWheel[ServerName] = TimingWheel(clock, self._look_at, step_s=RETRY_STEP_S)
        self._is_stopped = False
        self.on_ready: Callable[[ServerName], object] = lambda _server: None
        self.on_recovered: Callable[[ServerName], object] = lambda _server: None

    async def start(self) -> None:
        """Recall who was in trouble."""
        for row in await self._database.read(self._store.in_trouble):
            if row.is_blocked:
                self._blocked.add(row.server)
            if row.failing_since_ms is not None:
                self._troubles[row.server] = trouble = Trouble(
                    row.failing_since_ms, row.last_failure_ms or row.failing_since_ms, row.failures,
                    row.retry_at_ms, row.last_error or "", is_destination=True,
                )  # fmt: skip
                self._plan_retry(row.server, trouble)

    async def stop(self) -> None:
        """Save what is not saved yet."""
        self._is_stopped = True
        self._retries.stop()
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        await self.save()

    # Told by the client

    def may_try(self, destination: ServerName) -> bool:
        """False while the server is left alone after failures. Being blocked is for sending only."""
        trouble = self._troubles.get(destination)
        return trouble is None or trouble.is_refusal or trouble.retry_at_ms <= self._clock.now_ms()

    def note_success(self, destination: ServerName) -> None:
        """It answered, if only to refuse."""
        trouble = self._troubles.get(destination)
        if trouble is not None and not trouble.is_refusal:
            self._recover(destination)

    def note_failure(self, destination: ServerName, why: str) -> None:
        """It could not be reached, or answered that it is not well."""
        trouble = self._troubles.get(destination)
        if trouble is None or trouble.retry_at_ms <= self._clock.now_ms():
            self._fail(destination, why)  # else it is being left alone already

    # Told by the sender

    def is_sendable(self, destination: ServerName) -> bool:
        """May a transaction be sent now?"""
        trouble = self._troubles.get(destination)
        if trouble is not None and trouble.retry_at_ms > self._clock.now_ms():
            return False
        return destination not in self._blocked

    def note_waiting(self, destination: ServerName) -> None:
        """Something waits for it, in the database: when its pause is over, it is ready."""
        trouble = self._troubles.get(destination)
        if trouble is not None:
            trouble.is_destination = True

    def is_in_trouble(self, destination: ServerName) -> bool:
        """Did it fail the last time?"""
        return destination in self._troubles

    def has_spoken(self, destination: ServerName) -> bool:
        """Is it tried before its time because it spoke to us? Then it is likely to answer."""
        trouble = self._troubles.get(destination)
        return trouble is not None and trouble.planned_ms > self._clock.now_ms()

    def failing_for_ms(self, destination: ServerName) -> int:
        """How long it has failed; 0 when it does not."""
        trouble = self._troubles.get(destination)
        return 0 if trouble is None else self._clock.now_ms() - trouble.failing_since_ms

    def recently_failed(self, within_ms: int) -> list[ServerName]:
        """Servers that do not take transactions, but did so long ago or later."""
        since_ms = self._clock.now_ms() - within_ms
        return [
            server for server, one in self._troubles.items()
            if one.is_destination and one.failing_since_ms >= since_ms
        ]  # fmt: skip

    def note_delivered(self, destination: ServerName) -> None:
        """It took a transaction."""
        if destination in self._troubles:
            self._recover(destination, wake=False)
        self._successes[destination] = self._clock.now_ms()
        self._save_soon()

    def note_refused(self, destination: ServerName, why: str, *, retry_after_ms: int | None = None) -> None:
        """It answers, but does not take transactions: leave it alone as if it did not answer."""
        trouble = self._fail(destination, why)
        trouble.is_refusal = trouble.is_destination = True
        if retry_after_ms is not None:
            longest_ms = int(self._back_off.longest_s * 1000)
            trouble.retry_at_ms = self._clock.now_ms() + max(1_000, min(retry_after_ms, longest_ms))
            trouble.not_before_ms = trouble.retry_at_ms
            self._plan_retry(destination, trouble)

    def note_undelivered(self, destination: ServerName, why: str) -> None:
        """A transaction did not arrive, of which the client may have told already."""
        trouble = self._troubles.get(destination)
        if trouble is None or trouble.retry_at_ms <= self._clock.now_ms():
            trouble = self._fail(destination, why)
        trouble.is_destination = True

    def note_alive(self, destination: ServerName) -> None:
        """It spoke to us, perhaps only once: try it at once, or soon if that has failed a moment ago."""
        trouble = self._troubles.get(destination)
        now_ms = self._clock.now_ms()
        if trouble is None or not trouble.is_destination or trouble.retry_at_ms <= now_ms:
            return
        early_ms = max(now_ms, trouble.early_try_ms())
        if early_ms < trouble.retry_at_ms:
            trouble.extra_tries += 1
            trouble.planned_ms, trouble.retry_at_ms = trouble.retry_at_ms, early_ms
            if early_ms == now_ms:
                self._ready(destination)
            else:
                self._plan_retry(destination, trouble)

    # Operators

    async def page(
        self, *, after: str = "", limit: int = 100, in_trouble: bool = False
    ) -> list[DestinationView]:
        """Servers in the order of their names."""
        await self.save()
        return await self._database.read(self._page, after, limit, in_trouble)

    async def get(self, server: ServerName) -> DestinationView:
        """One server; also one that is only left alone. Raises NotFound."""
        await self.save()
        found = await self._database.read(self._one, server) or self._stranger(server)
        if found is None:
            raise NotFound(f"This server shares no room with {server}, and never did")
        return found

    async def reset(self, server: ServerName) -> None:
        """Forget the failures and try at once. Raises NotFound."""
        view = await self.get(server)
        if server in self._troubles:
            self._recover(server, wake=False)
        if view.row.nid != NOT_A_DESTINATION:
            self._ready(server)
        await self.save()

    async def block(self, server: ServerName, *, is_blocked: bool) -> None:
        """Send the server nothing, or send again what waits."""
        since = self._streams.position
        await self._database.write(self._store.block, server, is_blocked=is_blocked, since=since)
        if is_blocked:
            self._blocked.add(server)
        else:
            self._blocked.discard(server)
            self._ready(server)

    # The clockwork

    def _fail(self, server: ServerName, why: str) -> Trouble:
        now_ms = self._clock.now_ms()
        trouble = self._troubles.get(server)
        if trouble is None:
            trouble = Trouble(now_ms, now_ms, 0, now_ms, why)
            self._make_room()
            self._troubles[server] = trouble
            logger.info("%s cannot be sent to: %s", server, why)
        trouble.last_failure_ms = now_ms
        trouble.last_error = why[:500]
        trouble.is_refusal = False
        if trouble.planned_ms > now_ms:  # an extra try does not lengthen the pauses
            trouble.retry_at_ms = trouble.planned_ms
        else:
            trouble.failures += 1
            trouble.retry_at_ms = now_ms + int(self._back_off.pause_s(trouble.failures, self._chance) * 1000)
        self._unsaved[server] = None
        self._save_soon()
        self._plan_retry(server, trouble)
        return trouble

    def _recover(self, server: ServerName, *, wake: bool = True) -> None:
        trouble = self._troubles.pop(server)
        logger.info("%s can be sent to again, after %d failures", server, trouble.failures)
        self.on_recovered(server)
        self._unsaved[server] = None
        self._save_soon()
        if wake and trouble.is_destination:
            self._ready(server)

    def _ready(self, server: ServerName) -> None:
        if server not in self._blocked and not self._is_stopped:
            self.on_ready(server)

    def _make_room(self) -> None:
        """Strangers may make us ask for servers that do not exist: their number must be bounded."""
        if len(self._troubles) >= MOST_IN_TROUBLE:
            strangers = [server for server, one in self._troubles.items() if not one.is_destination]
            for server in strangers[: MOST_IN_TROUBLE // 10]:
                del self._troubles[server]

    def _plan_retry(self, server: ServerName, trouble: Trouble) -> None:
        wait_s = max(0.0, (trouble.retry_at_ms - self._clock.now_ms()) / 1000)
        self._retries.put(server, self._clock.monotonic() + wait_s)

    def _look_at(self, server: ServerName) -> None:
        """Wake it if it has waited long enough."""
        trouble = self._troubles.get(server)
        if trouble is None:
            return
        now_ms = self._clock.now_ms()
        forget_at_ms = 2 * trouble.retry_at_ms - trouble.last_failure_ms
        if trouble.retry_at_ms > now_ms:
            self._plan_retry(server, trouble)
        elif trouble.is_destination:
            self._ready(server)
        elif forget_at_ms > now_ms:  # nothing waits for it, and nobody asked it anything since
            self._retries.put(server, self._clock.monotonic() + (forget_at_ms - now_ms) / 1000)
        else:
            del self._troubles[server]

    def _save_soon(self) -> None:
        if self._save_timer is None and not self._is_stopped:
            self._save_timer = self._clock.call_later(SAVE_AFTER_S, self._start_save)

    def _start_save(self) -> None:
        self._save_timer = None
        self._tasks.start("save how destinations do", self.save())

    async def save(self) -> None:
        """Write down what changed."""
        failing = []
        for server in self._unsaved:
            one = self._troubles.get(server)
            failing.append(
                Failing(server, None, None, 0, 0, None) if one is None
                else Failing(
                    server, one.failing_since_ms, one.last_failure_ms, one.failures, one.retry_at_ms,
                    one.last_error,
                )
            )  # fmt: skip
        successes = list(self._successes.items())
        self._unsaved, self._successes = {}, {}
        if failing or successes:
            await self._database.write(self._save, failing, successes)

    def _save(
        self, txn: Transaction, failing: Sequence[Failing], successes: Sequence[tuple[ServerName, int]]
    ) -> None:
        if failing:
            self._store.save_failing(txn, failing)
        if successes:
            self._store.save_successes(txn, successes)

    def _page(self, txn: Transaction, after: str, limit: int, in_trouble: bool) -> list[DestinationView]:
        rows = self._store.page(txn, after=after, limit=limit, in_trouble=in_trouble)
        return [self._view(txn, row) for row in rows]

    def _one(self, txn: Transaction, server: ServerName) -> DestinationView | None:
        rows = self._store.of(txn, [server])
        return self._view(txn, rows[0]) if rows else None

    def _stranger(self, server: ServerName) -> DestinationView | None:
        """A server that nothing is sent to, but which did not answer when it was asked something."""
        one = self._troubles.get(server)
        if one is None:
            return None
        row = DestinationRow(
            NOT_A_DESTINATION, server, 0, 0, None, None, one.failing_since_ms, one.last_failure_ms,
            one.failures, one.retry_at_ms, one.last_error, False, False,
        )  # fmt: skip
        return DestinationView(row, 0, 0)

    def _view(self, txn: Transaction, row: DestinationRow) -> DestinationView:
        waiting = self._outgoing.count_pending(txn, row.nid, after=row.sent_nid, most=MOST_COUNTED)
        return DestinationView(row, waiting, self._store.count_edus(txn, row.nid))
