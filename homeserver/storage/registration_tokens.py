"""Tokens that let their bearer register: how often, and until when."""

from typing import NamedTuple

from homeserver.runtime.database import Transaction


class RegistrationToken(NamedTuple):
    """A token. `uses_allowed` None: any number; `expires_ms` None: for ever."""

    token: str
    uses_allowed: int | None
    pending: int
    completed: int
    expires_ms: int | None


_COLUMNS = "token, uses_allowed, pending, completed, expires_ms"
_USABLE = """(expires_ms IS NULL OR expires_ms > %s)
            AND (uses_allowed IS NULL OR completed + pending < uses_allowed)"""


class RegistrationTokenStore:
    """The table `registration_tokens`."""

    def add(self, txn: Transaction, token: RegistrationToken, *, now_ms: int) -> bool:
        """Add it; False when there is one of the same name."""
        added = txn.execute(
            f"""
            INSERT INTO registration_tokens ({_COLUMNS}, created_ms) VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING""",
            (*token, now_ms),
        )
        return added == 1

    def token(self, txn: Transaction, token: str) -> RegistrationToken | None:
        """The token, or None when there is none."""
        return txn.one(
            RegistrationToken, f"SELECT {_COLUMNS} FROM registration_tokens WHERE token = %s", (token,)
        )

    def tokens(self, txn: Transaction) -> list[RegistrationToken]:
        """All tokens, oldest first."""
        return txn.all(
            RegistrationToken, f"SELECT {_COLUMNS} FROM registration_tokens ORDER BY created_ms, token"
        )

    def remove(self, txn: Transaction, token: str) -> bool:
        """Remove it; False when there is none."""
        return txn.execute("DELETE FROM registration_tokens WHERE token = %s", (token,)) == 1

    def is_usable(self, txn: Transaction, token: str, *, now_ms: int) -> bool:
        """Would it let somebody register now?"""
        sql = f"SELECT 1 FROM registration_tokens WHERE token = %s AND {_USABLE}"
        return txn.row(sql, (token, now_ms)) is not None

    def reserve(self, txn: Transaction, token: str, *, now_ms: int) -> bool:
        """Set one use aside for a registration under way; False when none is left."""
        sql = f"UPDATE registration_tokens SET pending = pending + 1 WHERE token = %s AND {_USABLE}"
        return txn.execute(sql, (token, now_ms)) == 1

    def release(self, txn: Transaction, token: str) -> None:
        """Give a reserved use back."""
        txn.execute(
            "UPDATE registration_tokens SET pending = pending - 1 WHERE token = %s AND pending > 0", (token,)
        )

    def use(self, txn: Transaction, token: str, *, now_ms: int) -> bool:
        """Spend one use; False when none is left."""
        sql = f"UPDATE registration_tokens SET completed = completed + 1 WHERE token = %s AND {_USABLE}"
        return txn.execute(sql, (token, now_ms)) == 1

    def use_reserved(self, txn: Transaction, token: str) -> None:
        """Spend the use that was set aside."""
        txn.execute(
            """
            UPDATE registration_tokens SET pending = pending - 1, completed = completed + 1
            WHERE token = %s""",
            (token,),
        )
