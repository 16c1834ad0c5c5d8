"""Events on their way to other servers: which, to whom, and how far each server has got.

One row says that an event goes out; who gets it follows from the time each server was in the room. So an
event costs one row, not one for each of a thousand servers, and what a crash left undelivered is found again.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import RoomId, ServerName
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.destinations import DestinationStore

FOREVER = 2**63 - 1
MANY = 500


class StoredReceipt(NamedTuple):
    """A public receipt of a user, in a room that the destination was in."""

    room_id: RoomId
    user_id: str
    thread: str
    event_id: str
    ts: int
    position: int


class OutgoingStore:
    """Outgoing events and the receipts beside them."""

    def __init__(self, destinations: DestinationStore) -> None:
        self._destinations = destinations

    # Written with the event

    def add(
        self, txn: Transaction, room_nid: int, event_nid: int, besides: ServerName | None,
        outlier_nid: int | None = None,
    ) -> None:  # fmt: skip
        """The event goes out, to all but `besides`.

        `outlier_nid`: its own, where it was an outlier until now; then `event_nid` is its turn only.
        """
        txn.execute(
            """
            INSERT INTO outgoing_events (event_nid, room_nid, besides, outlier_nid)
            VALUES (%s, %s, %s, %s)""",
            (event_nid, room_nid, besides, outlier_nid),
        )

    def address(
        self, txn: Transaction, room_nid: int, event_nid: int, servers: Collection[ServerName]
    ) -> None:
        """From this event on the room's events go to these servers and no others."""
        rows = txn.rows(
            """
            SELECT d.server, r.destination_nid FROM destination_rooms AS r
            JOIN destinations AS d ON d.nid = r.destination_nid
            WHERE r.room_nid = %s AND r.to_nid = 9223372036854775807""",
            (room_nid,),
        )
        known = dict(rows)
        gone = [nid for server, nid in known.items() if server not in servers]
        new = [server for server in servers if server not in known]
        for start in range(0, len(gone), MANY):
            some = gone[start : start + MANY]
            txn.execute(
                f"""
                UPDATE destination_rooms SET to_nid = %s
                WHERE room_nid = %s AND to_nid = 9223372036854775807
                    AND destination_nid IN ({marks(some)})""",
                (event_nid, room_nid, *some),
            )
        if new:
            nids = self._destinations.numbers(txn, new, since=event_nid - 1)
            txn.executemany(
                """
                INSERT INTO destination_rooms (destination_nid, room_nid, from_nid, to_nid)
                VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING""",
                [(nids[server], room_nid, event_nid, FOREVER) for server in new],
            )

    # Read by the sender

    def pending(
        self, txn: Transaction, destination_nid: int, *, after: int, upto: int, limit: int
    ) -> list[int]:
        """The destination's outgoing events with `after` < nid <= `upto`, oldest first."""
        return txn.column(
            """
            SELECT o.event_nid FROM destination_rooms AS r
            JOIN destinations AS d ON d.nid = r.destination_nid
            JOIN outgoing_events AS o
                ON o.room_nid = r.room_nid AND o.event_nid >= r.from_nid AND o.event_nid < r.to_nid
            WHERE r.destination_nid = %s AND r.to_nid > %s AND o.event_nid > %s AND o.event_nid <= %s
                AND (o.besides IS NULL OR o.besides <> d.server)
            ORDER BY o.event_nid LIMIT %s""",
            (destination_nid, after, after, upto, limit),
        )

    def newest_of_rooms(
        self, txn: Transaction, destination_nid: int, *, after: int, upto: int, before: int, limit: int
    ) -> list[int]:
        """The newest event of each room with `after` < nid <= `upto`, if it is < `before`; newest first."""
        return txn.column(
            """
            SELECT MAX(o.event_nid) FROM destination_rooms AS r
            JOIN destinations AS d ON d.nid = r.destination_nid
            JOIN outgoing_events AS o
                ON o.room_nid = r.room_nid AND o.event_nid >= r.from_nid AND o.event_nid < r.to_nid
            WHERE r.destination_nid = %s AND r.to_nid > %s AND o.event_nid > %s AND o.event_nid <= %s
                AND (o.besides IS NULL OR o.besides <> d.server)
            GROUP BY o.room_nid HAVING MAX(o.event_nid) < %s
            ORDER BY MAX(o.event_nid) DESC LIMIT %s""",
            (destination_nid, after, after, upto, before, limit),
        )

    def count_pending(self, txn: Transaction, destination_nid: int, *, after: int, most: int) -> int:
        """How many events wait for the destination; counting stops at `most`."""
        count: int = txn.value(
            """
            SELECT COUNT(*) FROM (
                SELECT 1 FROM destination_rooms AS r
                JOIN destinations AS d ON d.nid = r.destination_nid
                JOIN outgoing_events AS o
                    ON o.room_nid = r.room_nid AND o.event_nid >= r.from_nid AND o.event_nid < r.to_nid
                WHERE r.destination_nid = %s AND r.to_nid > %s AND o.event_nid > %s
                    AND (o.besides IS NULL OR o.besides <> d.server)
                LIMIT %s) AS waiting""",
            (destination_nid, after, after, most),
        )
        return count

    def pdus(self, txn: Transaction, nids: Sequence[int]) -> dict[int, bytes]:
        """{nid: event as signed}."""
        found: dict[int, bytes] = {}
        for start in range(0, len(nids), MANY):
            some = nids[start : start + MANY]
            found.update(txn.rows(f"SELECT nid, raw FROM events WHERE nid IN ({marks(some)})", some))
            others = [nid for nid in some if nid not in found]
            if others:
                found.update(self._outliers(txn, others))
        return found

    def _outliers(self, txn: Transaction, nids: Sequence[int]) -> list[tuple[int, bytes]]:
        return txn.rows(
            f"""
            SELECT o.event_nid, e.raw FROM outgoing_events AS o JOIN events AS e ON e.nid = o.outlier_nid
            WHERE o.event_nid IN ({marks(nids)})""",
            nids,
        )

    def left_behind(self, txn: Transaction, server_name: ServerName) -> list[ServerName]:
        """Servers for whom an event, an EDU or a receipt of a user of `server_name` waits."""
        found = txn.column(
            """
            WITH newest AS (SELECT room_nid, MAX(event_nid) AS nid FROM outgoing_events GROUP BY room_nid)
            SELECT d.server FROM newest JOIN destination_rooms AS r ON r.room_nid = newest.room_nid
            JOIN destinations AS d ON d.nid = r.destination_nid
            WHERE r.to_nid = 9223372036854775807 AND newest.nid >= r.from_nid AND newest.nid > d.sent_nid
            UNION SELECT d.server
            FROM destination_rooms AS r JOIN destinations AS d ON d.nid = r.destination_nid
            WHERE r.to_nid < 9223372036854775807 AND r.to_nid > d.sent_nid
            UNION SELECT d.server
            FROM outgoing_edus AS e JOIN destinations AS d ON d.nid = e.destination_nid"""
        )
        found += txn.column(
            """
            WITH newest AS (
                SELECT x.room_nid, MAX(x.position) AS position
                FROM receipts AS x JOIN user_ids AS u ON u.nid = x.user_nid
                WHERE x.type = 'm.read' AND u.user_id LIKE %s GROUP BY x.room_nid)
            SELECT DISTINCT d.server FROM newest JOIN destination_rooms AS r ON r.room_nid = newest.room_nid
            JOIN destinations AS d ON d.nid = r.destination_nid
            WHERE r.to_nid = 9223372036854775807 AND newest.position > d.receipts_position""",
            (f"%:{server_name}",),
        )
        return list(dict.fromkeys(found))

    def receipts(
        self, txn: Transaction, destination_nid: int, server_name: ServerName, *, after: int, limit: int
    ) -> list[StoredReceipt]:
        """Public receipts of users of `server_name` in the destination's rooms, oldest first."""
        return txn.all(
            StoredReceipt,
            """
            SELECT rooms.room_id, u.user_id, x.thread, x.event_id, x.ts, x.position
            FROM destination_rooms AS r JOIN receipts AS x ON x.room_nid = r.room_nid
            JOIN rooms ON rooms.nid = r.room_nid JOIN user_ids AS u ON u.nid = x.user_nid
            WHERE r.destination_nid = %s AND r.to_nid = 9223372036854775807
                AND x.position > %s AND x.type = 'm.read' AND u.user_id LIKE %s
            ORDER BY x.position LIMIT %s""",
            (destination_nid, after, f"%:{server_name}", limit),
        )

    def prune(self, txn: Transaction, upto: int) -> int:
        """Forget events up to `upto`, which everybody has or will catch up beyond; how many.

        Of each room the newest stays, for servers that come back after a long time.
        """
        txn.execute("DELETE FROM destination_rooms WHERE to_nid <= %s", (upto,))
        return txn.execute(
            """
            DELETE FROM outgoing_events WHERE event_nid <= %s AND EXISTS (
                SELECT 1 FROM outgoing_events AS later
                WHERE later.room_nid = outgoing_events.room_nid
                    AND later.event_nid > outgoing_events.event_nid)""",
            (upto,),
        )
