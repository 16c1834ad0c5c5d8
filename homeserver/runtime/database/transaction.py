"""What a work sees of the database: SQL in, rows out."""

from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import starmap
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from homeserver.runtime.migrations import DialectName

P = ParamSpec("P")
T = TypeVar("T")

Params: TypeAlias = Sequence[object]
Effect: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]


class Cursor(Protocol):
    """A DB-API cursor whose `execute` takes our SQL as written, with %s marks."""

    @property
    def rowcount(self) -> int:
        """Rows changed by the last statement."""

    def execute(self, sql: str, params: Any, /) -> object:
        """Run one statement."""

    def executemany(self, sql: str, rows: Any, /) -> object:
        """Run one statement for each row of parameters."""

    def fetchone(self) -> Any:
        """The next row or None."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""


def marks(values: Sized) -> str:
    """One mark for each value: `f"... WHERE room_id IN ({marks(rooms)})", tuple(rooms)`.

    `values` must not be empty (`IN ()` is no SQL) and not exceed 30,000, SQLite's limit for parameters.
    """
    return ",".join(("%s",) * len(values))


class Transaction:
    """Synchronous, valid only inside the work it was given to.

    SQL uses %s marks on both databases; a literal % is written %%. BYTEA and BLOB columns come back as
    bytes; BOOLEAN columns as bool on PostgreSQL and as 0 or 1 on SQLite.
    """

    __slots__ = ("_cursor", "_execute", "dialect", "effects", "is_writing")

    def __init__(self, dialect: DialectName, cursor: Cursor, *, is_writing: bool) -> None:
        self.dialect: DialectName = dialect
        self.is_writing = is_writing
        self.effects: list[Effect] = []
        self._cursor = cursor
        self._execute = cursor.execute

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement; how many rows it changed."""
        self._execute(sql, params)
        return self._cursor.rowcount

    def executemany(self, sql: str, rows: Iterable[Params]) -> None:
        """Run a statement once for each row, in order; on PostgreSQL with few round trips."""
        self._cursor.executemany(sql, rows)

    def rows(self, sql: str, params: Params = ()) -> list[Any]:
        """All rows, as tuples."""
        self._execute(sql, params)
        return self._cursor.fetchall()

    def row(self, sql: str, params: Params = ()) -> Any:
        """The first row as a tuple, None if there is none."""
        self._execute(sql, params)
        return self._cursor.fetchone()

    def value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, None if there is no row."""
        self._execute(sql, params)
        row = self._cursor.fetchone()
        return None if row is None else row[0]

    def column(self, sql: str, params: Params = ()) -> list[Any]:
        """The first column of all rows."""
        self._execute(sql, params)
        return [row[0] for row in self._cursor.fetchall()]

    def all(self, record_type: Callable[..., T], sql: str, params: Params = ()) -> list[T]:
        """All rows as records: the columns in the order of the record's fields."""
        self._execute(sql, params)
        return list(starmap(record_type, self._cursor.fetchall()))

    def one(self, record_type: Callable[..., T], sql: str, params: Params = ()) -> T | None:
        """The first row as a record, None if there is none."""
        self._execute(sql, params)
        row = self._cursor.fetchone()
        return None if row is None else record_type(*row)

    def after_commit(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the function on the reactor thread once this work is committed, in commit order.

        If the work fails or runs again, what it registered is forgotten. In a read it is an error.
        """
        if not self.is_writing:
            raise RuntimeError("A read commits nothing that something could come after")
        self.effects.append((function, args, kwargs))
