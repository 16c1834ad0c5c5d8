"""Local accounts: who exists, what they may do, and the hash of their password."""

from typing import NamedTuple

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Transaction


class NewAccount(NamedTuple):
    """What is known of an account when it is made."""

    user_id: UserId
    is_guest: bool
    is_admin: bool
    password_hash: str | None
    created_ms: int


class Account(NamedTuple):
    """An account as it stands."""

    user_id: UserId
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool
    is_deactivated: bool
    password_hash: str | None


class Departure(NamedTuple):
    """A deactivated account whose rooms are still to be left."""

    user_id: UserId
    is_erased: bool


_COLUMNS = "user_id, is_guest, is_admin, is_locked, is_suspended, deactivated_ms IS NOT NULL, password_hash"


class AccountStore:
    """The table `users`."""

    def create(self, txn: Transaction, account: NewAccount) -> bool:
        """Add it; False when the user ID is taken, by a deactivated account too."""
        added = txn.execute(
            """
            INSERT INTO users (user_id, is_guest, is_admin, is_locked, is_suspended, is_erased, is_leaving,
                password_hash, created_ms)
            VALUES (%s, %s, %s, FALSE, FALSE, FALSE, FALSE, %s, %s)
            ON CONFLICT DO NOTHING""",
            (account.user_id, account.is_guest, account.is_admin, account.password_hash, account.created_ms),
        )
        return added == 1

    def exists(self, txn: Transaction, user_id: UserId) -> bool:
        """Is the user ID taken? Deactivated accounts keep theirs."""
        return txn.row("SELECT 1 FROM users WHERE user_id = %s", (user_id,)) is not None

    def account(self, txn: Transaction, user_id: UserId) -> Account | None:
        """The account, or None when there is none."""
        row = txn.row(f"SELECT {_COLUMNS} FROM users WHERE user_id = %s", (user_id,))
        return None if row is None else _account(row)

    def account_named(self, txn: Transaction, user_id: UserId) -> Account | None:
        """The account of this ID, or else of the same ID in lower case: people type as they like."""
        lower = user_id.lower()
        rows = txn.rows(f"SELECT {_COLUMNS} FROM users WHERE user_id IN (%s, %s)", (user_id, lower))
        accounts = sorted((_account(row) for row in rows), key=lambda found: found.user_id != user_id)
        return accounts[0] if accounts else None

    def guests(self, txn: Transaction) -> list[UserId]:
        """Who is here without an account of their own."""
        return [row[0] for row in txn.rows("SELECT user_id FROM users WHERE is_guest")]

    def is_unchanged(self, txn: Transaction, account: Account) -> bool:
        """Is it still in use and has it still the password that was checked?"""
        row = txn.row(
            "SELECT password_hash, deactivated_ms FROM users WHERE user_id = %s", (account.user_id,)
        )
        return row is not None and tuple(row) == (account.password_hash, None)

    def change_password(self, txn: Transaction, user_id: UserId, password_hash: str) -> None:
        """Keep a new hash. A deactivated account keeps none."""
        txn.execute(
            "UPDATE users SET password_hash = %s WHERE user_id = %s AND deactivated_ms IS NULL",
            (password_hash, user_id),
        )

    def make_person(self, txn: Transaction, user_id: UserId, password_hash: str) -> bool:
        """A guest becomes a full account; False when there is no such guest."""
        upgraded = txn.execute(
            """
            UPDATE users SET is_guest = FALSE, password_hash = %s
            WHERE user_id = %s AND is_guest AND deactivated_ms IS NULL""",
            (password_hash, user_id),
        )
        return upgraded == 1

    def make_admin(self, txn: Transaction, user_id: UserId, *, is_admin: bool) -> bool:
        """Give or take the right to administer; False when there is no such account."""
        return txn.execute("UPDATE users SET is_admin = %s WHERE user_id = %s", (is_admin, user_id)) == 1

    def lock(self, txn: Transaction, user_id: UserId, *, is_locked: bool) -> None:
        """Lock or unlock."""
        txn.execute("UPDATE users SET is_locked = %s WHERE user_id = %s", (is_locked, user_id))

    def suspend(self, txn: Transaction, user_id: UserId, *, is_suspended: bool) -> None:
        """Suspend or no longer suspend."""
        txn.execute("UPDATE users SET is_suspended = %s WHERE user_id = %s", (is_suspended, user_id))

    def deactivate(self, txn: Transaction, user_id: UserId, *, now_ms: int, erase: bool) -> bool:
        """Close it for good and note that its rooms are to be left; False when it was closed before."""
        closed = txn.execute(
            """
            UPDATE users
            SET deactivated_ms = %s, password_hash = NULL, is_leaving = TRUE, is_erased = %s
            WHERE user_id = %s AND deactivated_ms IS NULL""",
            (now_ms, erase, user_id),
        )
        return closed == 1

    def departures(self, txn: Transaction) -> list[Departure]:
        """Deactivated accounts whose rooms are still to be left."""
        rows = txn.rows("SELECT user_id, is_erased FROM users WHERE is_leaving ORDER BY deactivated_ms")
        return [Departure(UserId(user_id), bool(is_erased)) for user_id, is_erased in rows]

    def departed(self, txn: Transaction, user_id: UserId) -> None:
        """Note that its rooms have been left."""
        txn.execute("UPDATE users SET is_leaving = FALSE WHERE user_id = %s", (user_id,))

    def is_erased(self, txn: Transaction, user_id: UserId) -> bool:
        """Did its owner ask, on leaving, that their words be forgotten?"""
        return bool(txn.value("SELECT is_erased FROM users WHERE user_id = %s", (user_id,)))


def _account(row: tuple[object, ...]) -> Account:
    user_id, is_guest, is_admin, is_locked, is_suspended, is_deactivated, password_hash = row
    assert isinstance(user_id, str)
    assert password_hash is None or isinstance(password_hash, str)
    return Account(
        UserId(user_id),
        bool(is_guest),
        bool(is_admin),
        bool(is_locked),
        bool(is_suspended),
        bool(is_deactivated),
        password_hash,
    )
