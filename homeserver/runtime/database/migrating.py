"""Apply the migrations that a database has not seen yet."""

from collections.abc import Sequence

from homeserver.runtime.database.backend import Connection
from homeserver.runtime.database.errors import CannotStart
from homeserver.runtime.database.transaction import Transaction
from homeserver.runtime.migrations import DialectName, Migration


def migrate(connection: Connection, dialect: DialectName, migrations: Sequence[Migration]) -> list[int]:
    """Apply what is missing, one transaction each; the numbers applied. Raises CannotStart."""
    mine = [step for step in migrations if step.dialect in (None, dialect)]
    if len({step.number for step in mine}) != len(mine):
        raise ValueError("Two migrations have the same number")
    applied = _applied(connection, dialect)
    if unknown := applied - {step.number for step in mine}:
        raise CannotStart(
            "The database was written by a newer version of the server "
            f"(it has migration {max(unknown)}): upgrade the server"
        )
    missing = [step for step in mine if step.number not in applied]
    for step in missing:
        _apply(connection, dialect, step)
    return [step.number for step in missing]


def _applied(connection: Connection, dialect: DialectName) -> set[int]:
    connection.begin()
    txn = Transaction(dialect, connection.cursor, is_writing=True)
    txn.execute(
        "CREATE TABLE IF NOT EXISTS applied_migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)"
    )
    numbers = set(txn.column("SELECT number FROM applied_migrations"))
    connection.commit()
    return numbers


def _apply(connection: Connection, dialect: DialectName, step: Migration) -> None:
    connection.begin()
    try:
        txn = Transaction(dialect, connection.cursor, is_writing=True)
        for statement in step.statements(dialect):
            txn.execute(statement.replace("%", "%%"))
        txn.execute("INSERT INTO applied_migrations (number, name) VALUES (%s, %s)", (step.number, step.name))
        connection.commit()
    except BaseException:
        connection.roll_back()
        raise
