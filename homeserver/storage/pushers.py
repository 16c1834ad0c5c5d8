"""Where users want to be pushed to."""

from typing import NamedTuple

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.runtime.database import Transaction


class PusherRow(NamedTuple):
    """One pusher. `pusher`: JSON of all that the client said beside app id and pushkey."""

    app_id: str
    pushkey: str
    pusher: bytes


class PusherStore:
    """A pusher is named by its user, app id and pushkey."""

    def put(
        self, txn: Transaction, user_id: UserId, row: PusherRow, *, device_id: DeviceId | None, now_ms: int
    ) -> None:
        """Add the pusher, or replace it."""
        txn.execute(
            """
            INSERT INTO pushers (user_id, app_id, pushkey, device_id, pusher, created_ms)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (user_id, app_id, pushkey)
            DO UPDATE SET device_id = excluded.device_id, pusher = excluded.pusher""",
            (user_id, row.app_id, row.pushkey, device_id, row.pusher, now_ms),
        )

    def remove(self, txn: Transaction, user_id: UserId, app_id: str, *, pushkey: str) -> None:
        txn.execute(
            "DELETE FROM pushers WHERE user_id = %s AND app_id = %s AND pushkey = %s",
            (user_id, app_id, pushkey),
        )

    def remove_others(self, txn: Transaction, user_id: UserId, app_id: str, *, pushkey: str) -> None:
        """Remove the pushers with this app id and pushkey of all other users."""
        txn.execute(
            "DELETE FROM pushers WHERE app_id = %s AND pushkey = %s AND user_id <> %s",
            (app_id, pushkey, user_id),
        )

    def remove_of_device(self, txn: Transaction, user_id: UserId, device_id: DeviceId) -> None:
        """The device has logged out."""
        txn.execute("DELETE FROM pushers WHERE user_id = %s AND device_id = %s", (user_id, device_id))

    def of_user(self, txn: Transaction, user_id: UserId) -> list[PusherRow]:
        """The user's pushers, oldest first."""
        return txn.all(
            PusherRow,
            """
            SELECT app_id, pushkey, pusher FROM pushers
            WHERE user_id = %s ORDER BY created_ms, app_id, pushkey""",
            (user_id,),
        )
