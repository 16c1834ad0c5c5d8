"""PostgreSQL through psycopg2: as few round trips as the wire allows.

BEGIN travels in front of the first statement, so a transaction costs one round trip more than its statements:
the COMMIT.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import extensions
from psycopg2.extras import execute_batch, execute_values

from homeserver.protocol.errors import MatrixError
from homeserver.runtime.database.backend import Remedy, Trouble
from homeserver.runtime.database.errors import (
    CannotStart,
    DatabaseCorrupt,
    DatabaseUnavailable,
    UnstorableValue,
)
from homeserver.runtime.database.inserts import Insert, insert_of_one
from homeserver.runtime.migrations import DialectName

OLDEST = 130_000
SERVING_LOCK = 0x706F_7374_726F_6F6D
"""The advisory lock a serving process holds: "postroom"."""
SERVING_LOCK_PATIENCE_S = 2.0
CONNECT_TIMEOUT_S = 5
PAGE = 500
"""Rows that executemany sends at once."""


def _bytes(value: Any, _cursor: object) -> bytes | None:
    return None if value is None else bytes.fromhex(value[2:])


def _number(value: Any, _cursor: object) -> float | None:
    if value is None:
        return None
    return float(value) if "." in value or "N" in value else int(value)


BYTES = extensions.new_type((17,), "BYTES", _bytes)
NUMBER = extensions.new_type((1700,), "NUMBER", _number)
"""SUM over BIGINT is NUMERIC: an int again, as on SQLite."""


class PostgresqlCursor:
    """Puts what is `ahead` in front of the next statement."""

    __slots__ = ("_cursor", "_inserts", "ahead", "fetchall", "fetchone")

    def __init__(self, cursor: extensions.cursor) -> None:
        self._cursor = cursor
        self._inserts: dict[str, Insert | None] = {}
        self.ahead = ""
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def execute(self, sql: str, params: Any, /) -> None:
        if self.ahead:
            sql, self.ahead = self.ahead + sql, ""
        self._cursor.execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> None:
        if self.ahead:
            self.flush()
        if sql not in self._inserts:
            self._inserts[sql] = insert_of_one(sql)
        insert = self._inserts[sql]
        if insert is None or insert.may_update:  # two rows in a row may be the same
            execute_batch(self._cursor, sql, rows, page_size=PAGE)
        else:
            together = f"{insert.head}%s{insert.tail}"
            execute_values(self._cursor, together, rows, template=insert.row, page_size=PAGE)

    def flush(self) -> None:
        """Send what is ahead by itself."""
        sql, self.ahead = self.ahead, ""
        self._cursor.execute(sql)


class PostgresqlConnection:
    """In autocommit as far as psycopg2 knows: transactions are opened and closed by our own statements."""

    def __init__(self, raw: extensions.connection, *, writing: bool) -> None:
        self._raw = raw
        self._begin = "BEGIN;" if writing else "BEGIN ISOLATION LEVEL REPEATABLE READ;"
        self.cursor = PostgresqlCursor(raw.cursor())

    def begin(self, *, is_tiny: bool = False) -> None:
        self.cursor.ahead = "" if is_tiny else self._begin

    def commit(self) -> None:
        if self._raw.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE:
            self.cursor.ahead = ""  # nothing was executed, or a tiny read
            return
        self.check()  # COMMIT after an error rolls back without saying so
        self.cursor.ahead += "COMMIT"
        self.cursor.flush()

    def roll_back(self) -> None:
        self.cursor.ahead = ""
        if self._raw.closed or self._raw.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE:
            return
        try:
            self.cursor.execute("ROLLBACK", None)
        except psycopg2.Error:
            self.close()  # and the next use reconnects

    def check(self) -> None:
        if self._raw.info.transaction_status == extensions.TRANSACTION_STATUS_INERROR:
            raise psycopg2.errors.InFailedSqlTransaction(
                "A work swallowed an error that ended the transaction"
            )

    def save(self) -> None:
        self.cursor.ahead += "SAVEPOINT work"
        self.cursor.flush()

    def release(self) -> None:
        self.cursor.execute("RELEASE work", None)

    def roll_back_to_save(self) -> None:
        self.cursor.execute("ROLLBACK TO work; RELEASE work", None)

    def close(self) -> None:
        with suppress(psycopg2.Error):
            self._raw.close()


class PostgresqlBackend:
    """The database that the URL names, as libpq understands it."""

    dialect: DialectName = "postgresql"
    prefers_direct_reads = False

    def __init__(self, url: str, *, serving: bool, durable: bool) -> None:
        self._url = url
        self._serving = serving
        self._synchronous_commit = "on" if durable else "off"

    def claim(self) -> None:
        """The advisory lock is taken by the writer's connection, and lost with it."""
        try:
            raw = psycopg2.connect(self._url, connect_timeout=CONNECT_TIMEOUT_S)
        except psycopg2.Error as error:
            raise CannotStart(f"Cannot connect to the database: {_first_line(error)}") from error
        try:
            if raw.server_version < OLDEST:
                raise CannotStart(
                    f"PostgreSQL {raw.server_version // 10_000} is too old: 13 or later is needed"
                )
            if raw.info.parameter_status("server_encoding") != "UTF8":
                raise CannotStart(
                    "The database must be encoded in UTF-8: create it with ENCODING 'UTF8' TEMPLATE template0"
                )
        finally:
            raw.close()

    def disclaim(self) -> None:
        """Nothing: the lock went with the connection."""

    def connect(self, *, writing: bool) -> PostgresqlConnection:
        raw = psycopg2.connect(
            self._url,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="postroom",
            client_encoding="UTF8",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        raw.autocommit = True
        extensions.register_type(BYTES, raw)
        extensions.register_type(NUMBER, raw)
        with raw.cursor() as cursor:
            cursor.execute(
                f"SET synchronous_commit = {self._synchronous_commit}; SET lock_timeout = '5s';"
                "SET idle_in_transaction_session_timeout = '60s'; SET bytea_output = 'hex'"
            )
            if not writing:
                cursor.execute("SET default_transaction_read_only = on")
            elif self._serving:
                self._take_serving_lock(raw)
        return PostgresqlConnection(raw, writing=writing)

    def diagnose(self, error: BaseException) -> Trouble | None:
        if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "NUL" in str(error)):
            return Trouble(Remedy.REPLACE, UnstorableValue(f"This value cannot be stored: {error}"))
        if isinstance(error, _AlreadyServed):
            served = "Another server already serves this database: stop it first"
            return Trouble(Remedy.RECONNECT, DatabaseUnavailable(served))
        if not isinstance(error, psycopg2.Error):
            return None
        code = error.pgcode or ""
        for start, remedy, answer, message in _TROUBLES:
            if code.startswith(start):
                return Trouble(remedy, answer(f"{message} ({_first_line(error)})"))
        if not code and type(error) in _LOST:
            message = f"The connection to the database is lost ({_first_line(error)}): try again in a moment"
            return Trouble(Remedy.RECONNECT, DatabaseUnavailable(message))
        return None

    def _take_serving_lock(self, raw: extensions.connection) -> None:
        """A process that has just ended holds the lock until PostgreSQL has noticed."""
        give_up_at = time.monotonic() + SERVING_LOCK_PATIENCE_S
        with raw.cursor() as cursor:
            while True:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (SERVING_LOCK,))
                row = cursor.fetchone()
                if row is not None and row[0]:
                    return
                if time.monotonic() > give_up_at:
                    break
                time.sleep(0.02)
        raw.close()
        raise _AlreadyServed


class _AlreadyServed(psycopg2.OperationalError):
    """Another process holds the serving lock."""


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError)
"""Without an SQLSTATE, so not from the server but about the connection to it."""

_TROUBLES: tuple[tuple[str, Remedy, type[MatrixError], str], ...] = (
    ("22021", Remedy.REPLACE, UnstorableValue, "This text cannot be stored"),
    ("22003", Remedy.REPLACE, UnstorableValue, "This number cannot be stored"),
    ("40", Remedy.RETRY, DatabaseUnavailable, "The database is overtaxed: try again in a moment"),
    ("55P03", Remedy.RETRY, DatabaseUnavailable, "The database is locked by another program"),
    ("08", Remedy.RECONNECT, DatabaseUnavailable, "The connection to the database is lost"),
    ("57P", Remedy.RECONNECT, DatabaseUnavailable, "The database is restarting"),
    ("25006", Remedy.GIVE_UP, DatabaseUnavailable, "The database may only be read"),
    ("25P03", Remedy.RECONNECT, DatabaseUnavailable, "A transaction was idle for too long"),
    (
        "53100",
        Remedy.GIVE_UP,
        DatabaseUnavailable,
        "The disk that holds the database is full: make room on it",
    ),
    (
        "53",
        Remedy.RECONNECT,
        DatabaseUnavailable,
        "The database server has too little memory or too few connections",
    ),
    ("58", Remedy.GIVE_UP, DatabaseUnavailable, "The disk that holds the database fails: look at its log"),
    ("XX001", Remedy.ISOLATE, DatabaseCorrupt, "The database is damaged: restore it from a backup"),
    ("XX002", Remedy.ISOLATE, DatabaseCorrupt, "An index of the database is damaged: REINDEX it"),
)
"""What the beginning of an SQLSTATE means. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
