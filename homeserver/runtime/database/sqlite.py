"""SQLite: one file, WAL, every commit synced to the disk."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from homeserver.runtime.database.backend import Remedy, Trouble
from homeserver.runtime.database.errors import (
    CannotStart,
    DatabaseCorrupt,
    DatabaseUnavailable,
    UnstorableValue,
)
from homeserver.runtime.database.inserts import insert_of_one
from homeserver.runtime.migrations import DialectName

BUSY_TIMEOUT_MS = 250
MMAP_BYTES = 256 * 1024 * 1024
STATEMENTS_KEPT = 512
TRANSLATIONS_KEPT = 4_096
PAGES = (100, 10)
"""Rows that executemany inserts at once, as far as there are so many.

Each statement wants the interpreter back when it is done: beside a busy reactor thread that costs more than a
row. Only these numbers, because each makes a statement that is kept.
"""
WAL_PAGES = 4_000
"""Pages in the write-ahead log before they are copied to the database: 16 MB."""
OLDEST = (3, 35, 0)
"""The first version with RETURNING."""

_MARK = re.compile(r"%(.?)", re.DOTALL)


def translate(sql: str) -> str:
    """%s marks to question marks, %% to %."""

    def replaced(match: re.Match[str]) -> str:
        if match[1] == "s":
            return "?"
        if match[1] == "%":
            return "%"
        raise ValueError(f"SQL with {match[0]!r}: marks are %s, a literal % is written %%: {sql}")

    return _MARK.sub(replaced, sql)


class SqliteCursor:
    """Takes SQL with %s marks; translations are kept by their text."""

    __slots__ = ("_cursor", "_execute", "_inserts", "_translations", "fetchall", "fetchone")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._execute = cursor.execute
        self._translations: dict[str, str] = {}
        self._inserts: dict[str, dict[int, str]] = {}
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def execute(self, sql: str, params: Any, /) -> None:
        self._execute(self._translations.get(sql) or self._translated(sql), params)

    def executemany(self, sql: str, rows: Any, /) -> None:
        rest = rows if isinstance(rows, list) else list(rows)
        inserts = self._inserts.get(sql)
        if inserts is None:
            inserts = self._inserts[sql] = _inserts(sql)
        for page, insert in inserts.items():
            whole = len(rest) - len(rest) % page
            for start in range(0, whole, page):
                self._execute(insert, list(chain.from_iterable(rest[start : start + page])))
            rest = rest[whole:]
        self._cursor.executemany(self._translations.get(sql) or self._translated(sql), rest)

    def _translated(self, sql: str) -> str:
        if len(self._translations) >= TRANSLATIONS_KEPT:
            self._translations.clear()
        self._translations[sql] = translated = translate(sql)
        return translated


def _inserts(sql: str) -> dict[int, str]:
    """The statement for pages of rows, largest first, if it inserts."""
    insert = insert_of_one(sql)
    return {} if insert is None else {page: translate(insert.of_rows(page)) for page in PAGES}


class SqliteConnection:
    """Transactions are opened and closed on the one cursor, which also ends a SELECT not read to its end."""

    def __init__(self, raw: sqlite3.Connection, *, writing: bool, check_file: Callable[[], None]) -> None:
        self._raw = raw
        self._check_file = check_file
        self._is_writing = writing
        self._cursor = raw.cursor()
        self._begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
        self.cursor = SqliteCursor(self._cursor)

    def begin(self, *, is_tiny: bool = False) -> None:
        if self._is_writing:
            self._check_file()
        self._cursor.execute(self._begin)

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def roll_back(self) -> None:
        if self._raw.in_transaction:
            self._quietly("ROLLBACK")

    def check(self) -> None:
        if not self._raw.in_transaction:
            raise sqlite3.OperationalError("The transaction was ended by an error that a work swallowed")

    def save(self) -> None:
        self._cursor.execute("SAVEPOINT work")

    def release(self) -> None:
        self._cursor.execute("RELEASE work")

    def roll_back_to_save(self) -> None:
        self.check()  # a full disk ends the whole transaction
        self._cursor.execute("ROLLBACK TO work")
        self._cursor.execute("RELEASE work")

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._raw.close()

    def _quietly(self, sql: str) -> None:
        with suppress(sqlite3.Error):
            self._cursor.execute(sql)


class SqliteBackend:
    """The database in the file `path`."""

    dialect: DialectName = "sqlite"
    prefers_direct_reads = True

    def __init__(self, path: Path, *, serving: bool, durable: bool) -> None:
        self._path = path
        self._serving = serving
        self._synchronous = "FULL" if durable else "OFF"
        self._lock: int | None = None
        self._file: os.stat_result | None = None

    def claim(self) -> None:
        """Create the file, readable by its owner only, and lock the file beside it."""
        if sqlite3.sqlite_version_info < OLDEST:
            raise CannotStart(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or later is needed")
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._file = os.stat(self._path)
            if self._serving:
                self._lock_beside()
        except OSError as error:
            raise CannotStart(f"Cannot open the database {self._path}: {error.strerror}") from error

    def disclaim(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def connect(self, *, writing: bool) -> SqliteConnection:
        self._check_file()
        # mode=rw: a file that vanished must not come back empty
        raw = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_KEPT,
        )
        try:
            if writing:
                raw.execute("PRAGMA journal_mode = WAL")
                raw.execute(f"PRAGMA synchronous = {self._synchronous}")
                raw.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            else:
                raw.execute("PRAGMA query_only = ON")
            raw.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
            raw.execute("PRAGMA temp_store = MEMORY")
        except sqlite3.Error:
            raw.close()
            raise
        return SqliteConnection(raw, writing=writing, check_file=self._check_file)

    def diagnose(self, error: BaseException) -> Trouble | None:
        if isinstance(error, OverflowError | UnicodeEncodeError):
            return Trouble(Remedy.REPLACE, UnstorableValue(f"This value cannot be stored: {error}"))
        if isinstance(error, _FileGone):
            return Trouble(Remedy.GIVE_UP, DatabaseUnavailable(str(error)))
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            answer = f"The database {self._path} is locked by another program: try again in a moment"
            return Trouble(Remedy.RETRY, DatabaseUnavailable(answer))
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            answer = f"The database {self._path} is damaged ({error}): restore it from a backup"
            return Trouble(Remedy.ISOLATE, DatabaseCorrupt(answer))
        complaint = _COMPLAINTS.get(code)
        if complaint is None:
            return None
        return Trouble(Remedy.GIVE_UP, DatabaseUnavailable(f"{complaint.format(path=self._path)} ({error})"))

    def _check_file(self) -> None:
        """A file that was deleted or replaced can still be written to, and all of that would be lost."""
        try:
            now = os.stat(self._path)
        except OSError as error:
            raise _FileGone(f"The database {self._path} is gone ({error.strerror}): put it back") from error
        if self._file is not None and (now.st_ino, now.st_dev) != (self._file.st_ino, self._file.st_dev):
            raise _FileGone(f"The database {self._path} was replaced while in use: restart the server")

    def _lock_beside(self) -> None:
        lock_path = f"{self._path}.lock"
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise CannotStart(
                f"Another server (process {owner or 'unknown'}) already serves the database {self._path}: "
                "stop it first"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock


class _FileGone(Exception):
    """The file at the path is not the one that was opened."""


_COMPLAINTS = {
    sqlite3.SQLITE_FULL: "The disk that holds the database {path} is full: make room on it",
    sqlite3.SQLITE_IOERR: "The disk that holds the database {path} fails: look at the system's log",
    sqlite3.SQLITE_CANTOPEN: "The database {path} cannot be opened: is it still there, and readable?",
    sqlite3.SQLITE_READONLY: "The database {path} may not be written: check its owner and mode",
    sqlite3.SQLITE_PERM: "The database {path} may not be accessed: check its owner and mode",
    sqlite3.SQLITE_NOMEM: "Out of memory for the database {path}",
    sqlite3.SQLITE_PROTOCOL: "The lock files of the database {path} are in disorder",
}
