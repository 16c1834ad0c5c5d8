"""Last known presence: when a user was last active, and their status message."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Transaction, marks


class LastPresence(NamedTuple):
    """`was_online`: they were not offline when this was saved."""

    user_id: UserId
    was_online: bool
    last_active_ts: int
    status_msg: str | None


class PresenceStore:
    """Who is online is known in memory; here is what to begin with after a restart."""

    def put(self, txn: Transaction, people: Sequence[LastPresence]) -> None:
        """Replace what is known about these users."""
        txn.executemany(
            """
            INSERT INTO presence (user_id, was_online, last_active_ts, status_msg) VALUES (%s, %s, %s, %s)
            ON CONFLICT (user_id) DO UPDATE SET was_online = excluded.was_online,
                last_active_ts = excluded.last_active_ts, status_msg = excluded.status_msg""",
            people,
        )

    def remove(self, txn: Transaction, user_id: UserId) -> None:
        txn.execute("DELETE FROM presence WHERE user_id = %s", (user_id,))

    def of_users(self, txn: Transaction, user_ids: Sequence[UserId]) -> list[LastPresence]:
        """Those of the users about whom anything is known. At most 30,000 at a time."""
        if not user_ids:
            return []
        return txn.all(
            LastPresence,
            f"""
            SELECT user_id, was_online, last_active_ts, status_msg
            FROM presence WHERE user_id IN ({marks(user_ids)})""",
            user_ids,
        )

    def who_was_online(self, txn: Transaction) -> list[LastPresence]:
        return txn.all(
            LastPresence,
            "SELECT user_id, was_online, last_active_ts, status_msg FROM presence WHERE was_online",
        )
