"""SQLite and PostgreSQL behind two doors: `Database.read(work)` and `Database.write(work)`."""

from homeserver.runtime.database.database import Database, open_database
from homeserver.runtime.database.errors import (
    CannotStart,
    DatabaseCorrupt,
    DatabaseUnavailable,
    UnstorableValue,
)
from homeserver.runtime.database.transaction import Transaction, marks

__all__ = [
    "CannotStart",
    "Database",
    "DatabaseCorrupt",
    "DatabaseUnavailable",
    "Transaction",
    "UnstorableValue",
    "marks",
    "open_database",
]
