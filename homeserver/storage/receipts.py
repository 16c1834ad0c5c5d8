"""Read receipts: how far each user has read each room, publicly or privately, by thread or in all."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, UserId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.identifiers import Identifiers

PRIVATE = "m.read.private"

MANY = 500


class Receipt(NamedTuple):
    """`thread` is None (unthreaded), "main" or the thread root's event id; `event_nid` orders receipts."""

    user_id: UserId
    type: str
    thread: str | None
    event_id: EventId
    event_nid: int
    ts: int
    position: int


def _receipt(
    user_id: str, type_: str, thread: str, event_id: str, event_nid: int, ts: int, position: int
) -> Receipt:
    return Receipt(UserId(user_id), type_, thread or None, EventId(event_id), event_nid, ts, position)


class ReceiptStore:
    """One row for each user, room, type and thread: the one furthest ahead."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers

    def advance(self, txn: Transaction, room_nid: int, receipt: Receipt) -> bool:
        """Keep the receipt unless there is one as far ahead already; whether it was kept."""
        return bool(
            txn.execute(
                """
                INSERT INTO receipts (user_nid, room_nid, type, thread, event_id, event_nid, ts, position)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (user_nid, room_nid, type, thread)
                DO UPDATE SET event_id = excluded.event_id, event_nid = excluded.event_nid,
                    ts = excluded.ts, position = excluded.position
                WHERE receipts.event_nid < excluded.event_nid""",
                (
                    self._identifiers.user_nid(txn, receipt.user_id),
                    room_nid,
                    receipt.type,
                    receipt.thread or "",
                    receipt.event_id,
                    receipt.event_nid,
                    receipt.ts,
                    receipt.position,
                ),
            )
        )

    def changed_since(
        self, txn: Transaction, room_nid: int, position: int, *, viewer: UserId, limit: int
    ) -> list[Receipt]:
        """The newest `limit` receipts after `position` that the viewer may see, newest first.

        Private receipts are their owner's alone. The viewer's own receipts come whatever the limit.
        """
        viewer_nid = self._identifiers.user_nid(txn, viewer)
        others = txn.all(
            _receipt,
            """
            SELECT u.user_id, r.type, r.thread, r.event_id, r.event_nid, r.ts, r.position
            FROM receipts AS r JOIN user_ids AS u ON u.nid = r.user_nid
            WHERE r.room_nid = %s AND r.position > %s AND r.type <> %s AND r.user_nid <> %s
            ORDER BY r.position DESC LIMIT %s""",
            (room_nid, position, PRIVATE, viewer_nid, limit),
        )
        # The position is compared here: it would lead the database to look through the whole room.
        own = [
            _receipt(viewer, *row)
            for row in txn.rows(
                """
                SELECT type, thread, event_id, event_nid, ts, position
                FROM receipts WHERE user_nid = %s AND room_nid = %s""",
                (viewer_nid, room_nid),
            )
        ]
        newer = [receipt for receipt in own if receipt.position > position]
        return sorted(others + newer, key=lambda receipt: -receipt.position)

    def last_positions(self, txn: Transaction, room_nids: Sequence[int]) -> dict[int, int]:
        """When receipts of the rooms last changed; rooms without any are left out."""
        if not room_nids:
            return {}
        return dict(
            txn.rows(
                f"""
                SELECT room_nid, MAX(position) FROM receipts
                WHERE room_nid IN ({marks(room_nids)}) GROUP BY room_nid""",
                room_nids,
            )
        )

    def event_nid(self, txn: Transaction, event_id: EventId) -> int | None:
        """Where the event stands in the order of receipts; None if it is not known."""
        nid: int | None = txn.value("SELECT nid FROM events WHERE event_id = %s", (event_id,))
        return nid

    def read_up_to(
        self, txn: Transaction, user_nid: int, room_nids: Sequence[int]
    ) -> dict[int, dict[str | None, int]]:
        """By room and thread (None: the whole room) the event nid up to which the user has read."""
        found: dict[int, dict[str | None, int]] = {}
        for start in range(0, len(room_nids), MANY):
            some = room_nids[start : start + MANY]
            rows = txn.rows(
                f"""
                SELECT room_nid, thread, MAX(event_nid) FROM receipts
                WHERE user_nid = %s AND room_nid IN ({marks(some)}) GROUP BY room_nid, thread""",
                (user_nid, *some),
            )
            for room_nid, thread, nid in rows:
                found.setdefault(room_nid, {})[thread or None] = nid
        return found
