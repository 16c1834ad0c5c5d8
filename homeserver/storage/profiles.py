"""Profiles of local users: named fields, each a JSON value."""

from typing import NamedTuple

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Transaction


class Field(NamedTuple):
    """One field; `value` is JSON."""

    name: str
    value: bytes


class ProfileStore:
    """The tables `profiles` and `profile_changes`."""

    def fields(self, txn: Transaction, user_id: UserId) -> list[Field]:
        """All fields, by name."""
        return txn.all(
            Field, "SELECT field, value FROM profiles WHERE user_id = %s ORDER BY field", (user_id,)
        )

    def value(self, txn: Transaction, user_id: UserId, field: str) -> bytes | None:
        """The JSON of one field, or None when it is not there."""
        value = txn.value("SELECT value FROM profiles WHERE user_id = %s AND field = %s", (user_id, field))
        assert value is None or isinstance(value, bytes)
        return value

    def put(self, txn: Transaction, user_id: UserId, field: Field) -> None:
        """Add or replace a field."""
        txn.execute(
            """
            INSERT INTO profiles (user_id, field, value) VALUES (%s, %s, %s)
            ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value""",
            (user_id, *field),
        )

    def remove(self, txn: Transaction, user_id: UserId, field: str) -> bool:
        """Remove a field; False when it was not there."""
        return txn.execute("DELETE FROM profiles WHERE user_id = %s AND field = %s", (user_id, field)) == 1

    def remove_all(self, txn: Transaction, user_id: UserId) -> None:
        """Remove the whole profile."""
        txn.execute("DELETE FROM profiles WHERE user_id = %s", (user_id,))

    def note_change(self, txn: Transaction, user_id: UserId) -> None:
        """Remember that the user's rooms are to be told."""
        txn.execute("INSERT INTO profile_changes (user_id) VALUES (%s) ON CONFLICT DO NOTHING", (user_id,))

    def forget_change(self, txn: Transaction, user_id: UserId) -> None:
        """The user's rooms have been told."""
        txn.execute("DELETE FROM profile_changes WHERE user_id = %s", (user_id,))

    def noted_changes(self, txn: Transaction) -> list[UserId]:
        """Users whose rooms are still to be told."""
        return txn.column("SELECT user_id FROM profile_changes ORDER BY user_id")
