"""Reads: each thread has its own connection, opened when first needed, and sees every answered write."""

import time
from collections.abc import Callable
from threading import local
from typing import Any, TypeAlias, TypeVar

from homeserver.runtime.database.backend import Backend, Connection, Remedy
from homeserver.runtime.database.transaction import Transaction

T = TypeVar("T")
Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5


class Reader:
    """Runs reads on the thread that calls it, over that thread's own connection."""

    def __init__(self, backend: Backend, *, patience: float) -> None:
        self._backend = backend
        self._patience = patience
        self._mine = local()
        self._all: list[Connection] = []

    def read_once(self, work: Callable[..., T], args: Args, kwargs: Kwargs) -> T:
        """The work's result over one stable view. Does not wait: for the reactor thread."""
        try:
            return self._attempt(work, args, kwargs, is_tiny=True)
        except Exception as error:
            trouble = self._backend.diagnose(error)
            if trouble is None:
                raise
            raise trouble.answer from error

    def read(self, work: Callable[..., T], args: Args, kwargs: Kwargs, *, is_tiny: bool = False) -> T:
        """The work's result over one stable view; troubles that pass are waited out."""
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                return self._attempt(work, args, kwargs, is_tiny=is_tiny)
            except Exception as error:
                trouble = self._backend.diagnose(error)
                if trouble is None:
                    raise
                if trouble.remedy not in (Remedy.REPLACE, Remedy.RETRY):
                    self._disconnect()
                may_pass = trouble.remedy in (Remedy.RETRY, Remedy.RECONNECT)
                if not may_pass or time.monotonic() >= deadline:
                    raise trouble.answer from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def hurry(self) -> None:
        """The server is stopping: wait for nothing."""
        self._patience = 0.0

    def close(self) -> None:
        """Close every thread's connection; the threads must have ended."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._mine = local()

    def _attempt(self, work: Callable[..., T], args: Args, kwargs: Kwargs, *, is_tiny: bool) -> T:
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self._backend.connect(writing=False)
            self._all.append(connection)
        txn = Transaction(self._backend.dialect, connection.cursor, is_writing=False)
        try:
            connection.begin(is_tiny=is_tiny)
            result = work(txn, *args, **kwargs)
            connection.commit()
        except BaseException:
            connection.roll_back()
            raise
        return result

    def _disconnect(self) -> None:
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is not None:
            connection.close()
            self._all.remove(connection)
            self._mine.connection = None
