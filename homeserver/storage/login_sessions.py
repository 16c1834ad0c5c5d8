"""Multi-stage authentication under way. Session IDs are known here only by their SHA-256."""

from typing import NamedTuple

from homeserver.runtime.database import Transaction


class LoginSession(NamedTuple):
    """How far a client has come.

    `state` is JSON, `body_hash` binds the session to one request body, of `reserved_token` (a registration
    token) one use is set aside.
    """

    state: bytes
    body_hash: bytes
    reserved_token: str | None
    expires_ms: int


_COLUMNS = "state, body_hash, reserved_token, expires_ms"


class LoginSessionStore:
    """The table `login_sessions`."""

    def add(self, txn: Transaction, session_hash: bytes, session: LoginSession) -> None:
        """Begin one."""
        txn.execute(
            f"INSERT INTO login_sessions (session_hash, {_COLUMNS}) VALUES (%s, %s, %s, %s, %s)",
            (session_hash, *session),
        )

    def session(self, txn: Transaction, session_hash: bytes) -> LoginSession | None:
        """It, an expired one included."""
        return txn.one(
            LoginSession, f"SELECT {_COLUMNS} FROM login_sessions WHERE session_hash = %s", (session_hash,)
        )

    def advance(self, txn: Transaction, session_hash: bytes, session: LoginSession) -> None:
        """Replace what is known of it."""
        txn.execute(
            """
            UPDATE login_sessions SET state = %s, body_hash = %s, reserved_token = %s, expires_ms = %s
            WHERE session_hash = %s""",
            (*session, session_hash),
        )

    def remove(self, txn: Transaction, session_hash: bytes) -> bool:
        """End it; False when it has ended before."""
        return txn.execute("DELETE FROM login_sessions WHERE session_hash = %s", (session_hash,)) == 1

    def remove_expired(self, txn: Transaction, *, now_ms: int) -> list[str]:
        """End those whose time is over. Returns the registration tokens of which a use was set aside."""
        tokens = txn.column(
            "DELETE FROM login_sessions WHERE expires_ms <= %s RETURNING reserved_token", (now_ms,)
        )
        return [token for token in tokens if token is not None]
