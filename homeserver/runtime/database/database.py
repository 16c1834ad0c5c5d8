"""The two doors to the database: `read` and `write`."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

from homeserver.runtime.database.backend import Backend
from homeserver.runtime.database.errors import CannotStart, DatabaseUnavailable
from homeserver.runtime.database.migrating import migrate
from homeserver.runtime.database.readers import Reader
from homeserver.runtime.database.sqlite import SqliteBackend
from homeserver.runtime.database.transaction import Transaction
from homeserver.runtime.database.work import Work
from homeserver.runtime.database.writer import Writer
from homeserver.runtime.migrations import DialectName, Migration
from homeserver.runtime.threads import Postbox, ThreadReactor, Threads

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_S = 10.0
"""How long a read or write waits for a database that is locked or gone."""
MOST_WAITING = 20_000
"""Works in line beyond which further ones are refused at once."""
SWITCH_INTERVAL_S = 0.00005
"""How soon a busy reactor thread lets a database thread run (Python: 0.005).

A work needs the interpreter back after each statement: beside a reactor that was always busy, 500 writes a
second took 0.3 to 1.3 ms each with this, and with 0.0005 only 170 a second were done. It costs nothing while
one thread is enough.
"""


class Database:
    """A SQLite file or a PostgreSQL database. `open_database` makes one.

    A work is a function `work(txn, ...)`. It runs on a database thread, touches only `txn` and its arguments,
    and may run twice (a group that failed is run again). Both doors raise DatabaseUnavailable when the
    database stays locked or gone for ten seconds, and DatabaseCorrupt when what they touch is damaged.
    """

    def __init__(
        self,
        backend: Backend,
        writer: Writer,
        reader: Reader,
        *,
        threads: Threads | None,
        migrations: Sequence[Migration],
    ) -> None:
        self._backend = backend
        self._writer = writer
        self._reader = reader
        self._threads = threads  # None: works run at once, on the caller's thread
        self._migrations = migrations
        self._is_open = False
        self.dialect: DialectName = backend.dialect
        self.prefers_direct_reads = backend.prefers_direct_reads

    def start(self) -> None:
        """Claim the database and bring its tables up to date, blocking for as long. Raises CannotStart."""
        self._backend.claim()
        try:
            migrate(self._writer.connect(), self._backend.dialect, self._migrations)
        except BaseException as error:
            self._backend.disclaim()
            trouble = self._backend.diagnose(error)
            if trouble is None:
                raise
            raise CannotStart(trouble.answer.message) from error
        if self._threads is not None:
            sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
            self._writer.start()
        self._is_open = True

    async def stop(self) -> None:
        """Refuse what comes from now on, finish what was asked for, close the connections."""
        if not self._is_open:
            return
        self._is_open = False
        self._reader.hurry()
        if self._threads is not None:
            await self._threads.stop()
        await self._writer.stop()
        self._reader.close()
        self._backend.disclaim()

    async def write(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the work in a transaction; its result, once that is durable on the disk.

        Works take effect in the order of the calls; those queued at the same time share one commit. What the
        work raises is raised here, and only this work is undone. Cancelling the caller does not stop it.
        """
        self._refuse_if_closed()
        asked = Work(work, args, kwargs)
        if self._threads is None:
            self._writer.commit_group([asked])
        elif self._writer.waiting < MOST_WAITING:
            self._writer.submit(asked)
        else:
            raise DatabaseUnavailable("The database cannot keep up with the writes: try again in a moment")
        result: T = await asked.outcome
        return result

    async def read(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the work over one stable view that includes every write answered before this call."""
        self._refuse_if_closed()
        if self._threads is None:
            return self._reader.read(work, args, kwargs)
        return await self._threads.run(self._reader.read, work, args, kwargs)

    async def look_up(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A tiny `read`: one or a few look-ups by index, well under 50 microseconds, best one statement.

        Where the trip to another thread would cost more than that (SQLite), it runs here and now. On
        PostgreSQL it takes one round trip a statement, and two statements may see different states.
        """
        self._refuse_if_closed()
        if self._threads is None:
            return self._reader.read(work, args, kwargs, is_tiny=True)
        if self.prefers_direct_reads:
            with suppress(DatabaseUnavailable):
                return self._reader.read_once(work, args, kwargs)
        return await self._threads.run(self._reader.read, work, args, kwargs, is_tiny=True)

    @property
    def waiting_writes(self) -> int:
        """Writes in line for a commit, about."""
        return self._writer.waiting

    @property
    def waiting_reads(self) -> int:
        """Reads that wait or run."""
        return 0 if self._threads is None else self._threads.unanswered

    def _refuse_if_closed(self) -> None:
        if not self._is_open:
            raise DatabaseUnavailable("The server is stopping")


class _HereAndNow:
    """The post of a database without threads."""

    def post(self, function: Callable[..., object], *args: object) -> None:
        function(*args)


def open_database(  # noqa: PLR0913 - one call in the whole server, all but two by keyword
    url: str,
    reactor: ThreadReactor | None = None,
    *,
    readers: int | None = None,
    migrations: Sequence[Migration] = (),
    serving: bool = True,
    durable: bool = True,
    inline: bool = False,
    patience: float = PATIENCE_S,
) -> Database:
    """A database, not yet started. Raises CannotStart for a URL it does not know.

    url: `sqlite:///PATH` (so an absolute path has four slashes) or `postgresql://...` as libpq has it.
    readers: threads for reading; by default 2 for SQLite and 5 for PostgreSQL.
    serving: refuse to start if another process serves it; False for a command beside the server.
    durable: False gives up the sync to the disk, for throw-away databases.
    inline: no threads: works run at once on the caller's thread (and `reactor` is not needed), for tests.
    """
    backend = _backend(url, serving=serving, durable=durable)
    post: Postbox | _HereAndNow = _HereAndNow()
    threads = None
    if not inline:
        if reactor is None:
            raise ValueError("A database with threads needs the reactor")
        post = Postbox(reactor)
        size = readers or (2 if backend.dialect == "sqlite" else 5)
        threads = Threads(reactor, "database-reader", size)
    writer = Writer(backend, post, patience=patience)
    reader = Reader(backend, patience=patience)
    return Database(backend, writer, reader, threads=threads, migrations=migrations)


def _backend(url: str, *, serving: bool, durable: bool) -> Backend:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2:
            raise CannotStart(
                f"Not a database URL: {url!r}; write sqlite:///homeserver.db or sqlite:////var/lib/x.db"
            )
        return SqliteBackend(Path(unquote(parts.path[1:])), serving=serving, durable=durable)
    if parts.scheme in ("postgresql", "postgres"):
        # psycopg2 takes 30 ms and 6 MiB to import, which servers on SQLite do without
        from homeserver.runtime.database.postgresql import PostgresqlBackend  # noqa: PLC0415

        return PostgresqlBackend(url, serving=serving, durable=durable)
    raise CannotStart(f"Not a database URL: {url!r}; it begins with sqlite:/// or postgresql://")
