"""Sessions and the tokens that stand for them. Tokens are known here only by their SHA-256.

A session has a chain of token pairs. The pair that was used last is the current one. A refresh adds a
successor and leaves the current pair as it is, until the successor is used and becomes current.
https://spec.matrix.org/latest/client-server-api/#refreshing-access-tokens
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.runtime.database import Transaction, marks

REMEMBERED_PAIRS = 10
"""So many pairs of a session are kept, to notice when one that was replaced is used again."""


class PairHashes(NamedTuple):
    """An access token and the refresh token that came with it, if one did. None for a time: never expires."""

    access_hash: bytes
    access_expires_ms: int | None
    refresh_hash: bytes | None
    refresh_expires_ms: int | None


class Link(NamedTuple):
    """Where a token stands in its session's chain."""

    session_id: int
    pair: int
    parent_pair: int
    current_pair: int

    @property
    def is_current(self) -> bool:
        return self.pair == self.current_pair

    @property
    def is_next(self) -> bool:
        """It came of the current pair, and has not been used yet."""
        return self.parent_pair == self.current_pair


class AccessToken(NamedTuple):
    """What an access token stands for."""

    link: Link
    expires_ms: int | None
    user_id: UserId
    device_id: DeviceId
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool


class RefreshToken(NamedTuple):
    """What a refresh token stands for."""

    link: Link
    expires_ms: int | None
    user_id: UserId
    device_id: DeviceId
    is_locked: bool


class SessionStore:
    """The tables `sessions` and `token_pairs`."""

    def start(
        self, txn: Transaction, user_id: UserId, device_id: DeviceId, hashes: PairHashes, *, now_ms: int
    ) -> int:
        """Begin a session with its first pair of tokens; the device must have none. Returns its ID."""
        session_id = txn.value(
            """
            INSERT INTO sessions (user_id, device_id, current_pair, created_ms)
            VALUES (%s, %s, 1, %s) RETURNING session_id""",
            (user_id, device_id, now_ms),
        )
        assert isinstance(session_id, int)
        self._add_pair(txn, session_id, hashes, pair=1, parent_pair=0)
        return session_id

    def of_access_token(self, txn: Transaction, access_hash: bytes) -> AccessToken | None:
        """The token, expired or replaced ones included; None when it is unknown."""
        row = txn.row(
            """
            SELECT p.session_id, p.pair, p.parent_pair, s.current_pair, p.access_expires_ms,
                s.user_id, s.device_id, u.is_guest, u.is_admin, u.is_locked, u.is_suspended
            FROM token_pairs p
            JOIN sessions s ON s.session_id = p.session_id
            JOIN users u ON u.user_id = s.user_id
            WHERE p.access_hash = %s""",
            (access_hash,),
        )
        if row is None:
            return None
        flags = [bool(flag) for flag in row[7:]]
        return AccessToken(Link(*row[:4]), row[4], UserId(row[5]), DeviceId(row[6]), *flags)

    def of_refresh_token(self, txn: Transaction, refresh_hash: bytes) -> RefreshToken | None:
        """The token, expired or replaced ones included; None when it is unknown."""
        row = txn.row(
            """
            SELECT p.session_id, p.pair, p.parent_pair, s.current_pair, p.refresh_expires_ms,
                s.user_id, s.device_id, u.is_locked
            FROM token_pairs p
            JOIN sessions s ON s.session_id = p.session_id
            JOIN users u ON u.user_id = s.user_id
            WHERE p.refresh_hash = %s""",
            (refresh_hash,),
        )
        if row is None:
            return None
        return RefreshToken(Link(*row[:4]), row[4], UserId(row[5]), DeviceId(row[6]), bool(row[7]))

    def extend(self, txn: Transaction, link: Link, hashes: PairHashes) -> None:
        """Add a successor of the pair at `link`."""
        newest = txn.value("SELECT MAX(pair) FROM token_pairs WHERE session_id = %s", (link.session_id,))
        assert isinstance(newest, int)
        self._add_pair(txn, link.session_id, hashes, pair=newest + 1, parent_pair=link.pair)

    def make_current(self, txn: Transaction, link: Link) -> list[bytes]:
        """Note that this pair is in use: all others are void. Returns the hashes of their access tokens."""
        txn.execute(
            "UPDATE sessions SET current_pair = %s WHERE session_id = %s", (link.pair, link.session_id)
        )
        txn.execute(
            """
            DELETE FROM token_pairs
            WHERE session_id = %s AND pair <= (
                SELECT MAX(pair) FROM token_pairs WHERE session_id = %s) - %s""",
            (link.session_id, link.session_id, REMEMBERED_PAIRS),
        )
        return txn.column(
            "SELECT access_hash FROM token_pairs WHERE session_id = %s AND pair <> %s",
            (link.session_id, link.pair),
        )

    def ids_of(
        self, txn: Transaction, user_id: UserId, device_ids: Collection[DeviceId] | None = None
    ) -> list[int]:
        """The user's sessions, or those of some of the user's devices."""
        sql, params = "SELECT session_id FROM sessions WHERE user_id = %s", [str(user_id)]
        if device_ids is not None:
            if not device_ids:
                return []
            sql += f" AND device_id IN ({marks(device_ids)})"
            params += device_ids
        return txn.column(sql, params)

    def end(self, txn: Transaction, session_ids: Sequence[int]) -> list[bytes]:
        """Forget sessions and their tokens. Returns the hashes of the access tokens."""
        if not session_ids:
            return []
        some = marks(session_ids)
        access_hashes = txn.column(
            f"DELETE FROM token_pairs WHERE session_id IN ({some}) RETURNING access_hash", session_ids
        )
        txn.execute(f"DELETE FROM sessions WHERE session_id IN ({some})", session_ids)
        return access_hashes

    def access_hashes_of(self, txn: Transaction, user_id: UserId) -> list[bytes]:
        """The hashes of all the user's access tokens."""
        return txn.column(
            """
            SELECT p.access_hash FROM token_pairs p
            JOIN sessions s ON s.session_id = p.session_id
            WHERE s.user_id = %s""",
            (user_id,),
        )

    def _add_pair(
        self, txn: Transaction, session_id: int, hashes: PairHashes, *, pair: int, parent_pair: int
    ) -> None:
        txn.execute(
            """
            INSERT INTO token_pairs (session_id, pair, parent_pair, access_hash, access_expires_ms,
                refresh_hash, refresh_expires_ms)
            VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            (session_id, pair, parent_pair, *hashes),
        )
