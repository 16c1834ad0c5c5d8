"""The one writer: takes works in the order they were asked for, commits many at once.

While one group is being synced to the disk the next one gathers, so a burst shares its commits and a lone
work waits for nobody. In the happy path a work costs only its own statements; when one raises, the group is
rolled back and run again with a savepoint around each.
"""

import logging
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from homeserver.runtime import log_context
from homeserver.runtime.database.backend import Backend, Connection, Remedy, Trouble
from homeserver.runtime.database.errors import DatabaseUnavailable
from homeserver.runtime.database.transaction import Transaction
from homeserver.runtime.database.work import Work

MOST_WORKS = 500
LONGEST_SECONDS = 0.05
"""A group is committed when it has so many works or has been executing for so long."""
CAREFUL_GROUPS = 16
"""After a work failed, so many groups have savepoints from the beginning: failures come in swarms."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
STOP_PATIENCE_S = 2.0

logger = logging.getLogger(__name__)


class Post(Protocol):
    """Brings a call to the reactor thread."""

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call it there, in order."""


class Writer:
    """Runs works in groups on the thread that calls `commit_group`; `start` gives it a thread of its own."""

    def __init__(self, backend: Backend, post: Post, *, patience: float) -> None:
        self._backend = backend
        self._post = post
        self._patience = patience
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._careful_groups = 0
        self._is_ending = False
        self._thread: Thread | None = None
        self._ended: Deferred[None] = Deferred()

    @property
    def waiting(self) -> int:
        """Works that wait for a group (about)."""
        return self._queue.qsize()

    def connect(self) -> Connection:
        """The connection for writing, opened if need be."""
        if self._connection is None:
            self._connection = self._backend.connect(writing=True)
        return self._connection

    def start(self) -> None:
        """From now on works are taken by a thread."""
        self._thread = Thread(target=self._serve, name="database-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Put it in line."""
        self._queue.put(work)

    async def stop(self) -> None:
        """Commit what is in line, then end."""
        self._patience = min(self._patience, STOP_PATIENCE_S)
        if self._thread is not None:
            self._queue.put(None)
            await self._ended
            self._thread.join()
            self._thread = None
        self._disconnect()

    def commit_group(self, works: list[Work]) -> None:
        """Run these works, and those that come meanwhile, until each has an answer."""
        pause = FIRST_PAUSE
        while works:
            trouble = self._attempt(works, careful=self._careful_groups > 0)
            if trouble is None:
                self._post.post(_deliver, works)
                return
            works = self._give_up_on(works, trouble)
            if works:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _give_up_on(self, works: list[Work], trouble: Trouble) -> list[Work]:
        """Fail the works for which trying again is of no use or too late; those that are left."""
        too_old = time.monotonic() - self._patience
        is_useless = trouble.remedy is Remedy.GIVE_UP
        hopeless = [work for work in works if is_useless or work.asked_at <= too_old]
        if hopeless:
            logger.error("%d works not written: %s", len(hopeless), trouble.answer)
            for work in hopeless:
                work.fail(trouble.answer)
            self._post.post(_deliver, hopeless)
        return [work for work in works if work not in hopeless]

    def _serve(self) -> None:
        while not self._is_ending:
            work = self._queue.get()
            if work is None:
                break
            works = [work]
            try:
                self.commit_group(works)
            except Exception as error:  # a mistake in here: nobody may be left without an answer
                logger.exception("The database writer failed; it goes on")
                for one in works:
                    one.fail(error)
                self._post.post(_deliver, works)
        self._post.post(self._ended.callback, None)

    def _attempt(self, works: list[Work], *, careful: bool) -> Trouble | None:
        """Run and commit. None: each work has a result or a failure. Else nothing has happened."""
        is_committing = False
        try:
            connection = self.connect()
            if careful:
                self._careful_groups -= 1
                self._run_one_by_one(connection, works)
            else:
                self._run_together(connection, works)
            is_committing = True
            connection.commit()
            return None
        except BaseException as error:  # whatever it is, the callers must hear of it
            trouble = self._undo(error, is_committing=is_committing)
            if trouble is not None and trouble.remedy not in (Remedy.REPLACE, Remedy.ISOLATE):
                return trouble
            if len(works) == 1:
                works[0].fail(error if trouble is None else trouble.answer)
                return None
        if careful:
            return self._one_commit_each(works)
        self._careful_groups = CAREFUL_GROUPS  # one of them is at fault: run again to see which
        return self._attempt(works, careful=True)

    def _run_together(self, connection: Connection, works: list[Work]) -> None:
        connection.begin()
        for work in works:
            self._run(connection, work)
        deadline = time.monotonic() + LONGEST_SECONDS
        while len(works) < MOST_WORKS and time.monotonic() < deadline:
            try:
                next_work = self._queue.get_nowait()
            except Empty:
                return
            if next_work is None:
                self._is_ending = True
                return
            works.append(next_work)
            self._run(connection, next_work)

    def _one_commit_each(self, works: list[Work]) -> Trouble | None:
        """For what savepoints cannot keep apart: a damaged page, a constraint checked at the commit."""
        while works:
            trouble = self._attempt(works[:1], careful=True)
            if trouble is not None:
                return trouble
            self._post.post(_deliver, [works.pop(0)])
        return None

    def _run_one_by_one(self, connection: Connection, works: Sequence[Work]) -> None:
        connection.begin()
        for work in works:
            connection.save()
            try:
                self._run(connection, work)
            except BaseException as error:
                trouble = self._backend.diagnose(error)
                if trouble is not None and trouble.remedy is not Remedy.REPLACE:
                    raise
                connection.roll_back_to_save()
                work.fail(error if trouble is None else trouble.answer)
            else:
                connection.release()

    def _run(self, connection: Connection, work: Work) -> None:
        txn = Transaction(self._backend.dialect, connection.cursor, is_writing=True)
        work.failure = None
        log_context.enter(work.context)
        work.result = work.function(txn, *work.args, **work.kwargs)
        work.effects = txn.effects
        connection.check()

    def _undo(self, error: BaseException, *, is_committing: bool) -> Trouble | None:
        """Roll back after the group failed as a whole; what kind of failure was it?"""
        trouble = self._backend.diagnose(error)
        if self._connection is not None:
            self._connection.roll_back()
        if trouble is not None and trouble.remedy not in (Remedy.REPLACE, Remedy.RETRY):
            self._disconnect()  # also after a full disk or a failover: a new connection starts clean
            if is_committing and trouble.remedy is Remedy.RECONNECT:
                unknown = f"The database was lost during a commit, which may have succeeded ({error})"
                return Trouble(Remedy.GIVE_UP, DatabaseUnavailable(unknown))
        return trouble

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _deliver(works: Sequence[Work]) -> None:
    """On the reactor thread: first what follows from the commit, in its order, then the answers."""
    for work in works:
        for function, args, kwargs in work.effects:
            _call(function, args, kwargs)
    for work in works:
        work.answer()


def _call(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        function(*args, **kwargs)
    except Exception:
        logger.exception("What follows a commit failed: %r", function)
