"""Short-lived tokens that are good for one purpose. Known here only by their SHA-256."""

from typing import Literal, NamedTuple

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Transaction

Purpose = Literal["login", "openid"]


class PurposeToken(NamedTuple):
    """Whose token, and until when."""

    user_id: UserId
    expires_ms: int


class PurposeTokenStore:
    """The table `purpose_tokens`."""

    def add(
        self, txn: Transaction, token_hash: bytes, purpose: Purpose, user_id: UserId, *, expires_ms: int
    ) -> None:
        """Keep a new token."""
        txn.execute(
            "INSERT INTO purpose_tokens (token_hash, purpose, user_id, expires_ms) VALUES (%s, %s, %s, %s)",
            (token_hash, purpose, user_id, expires_ms),
        )

    def token(self, txn: Transaction, token_hash: bytes, purpose: Purpose) -> PurposeToken | None:
        """The token, an expired one included."""
        return txn.one(
            PurposeToken,
            "SELECT user_id, expires_ms FROM purpose_tokens WHERE token_hash = %s AND purpose = %s",
            (token_hash, purpose),
        )

    def take(self, txn: Transaction, token_hash: bytes, purpose: Purpose) -> PurposeToken | None:
        """The token, an expired one included; nobody gets it again."""
        return txn.one(
            PurposeToken,
            "DELETE FROM purpose_tokens WHERE token_hash = %s AND purpose = %s RETURNING user_id, expires_ms",
            (token_hash, purpose),
        )

    def remove_of(self, txn: Transaction, user_id: UserId) -> None:
        """Forget all tokens of the user."""
        txn.execute("DELETE FROM purpose_tokens WHERE user_id = %s", (user_id,))

    def remove_expired(self, txn: Transaction, *, now_ms: int) -> None:
        """Forget tokens whose time is over."""
        txn.execute("DELETE FROM purpose_tokens WHERE expires_ms <= %s", (now_ms,))
