"""What other servers sent: transactions that were answered, events that wait for their room's turn."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.runtime.database import Transaction, marks

MANY = 500


class Staged(NamedTuple):
    """An event as it came, as JSON."""

    nid: int
    event_id: EventId
    origin: ServerName
    attempts: int
    pdu: bytes


class NewlyStaged(NamedTuple):
    room_id: RoomId
    event_id: EventId
    pdu: bytes


class RoomGate(NamedTuple):
    """What decides whether a server may send into a room; `acl` is the event as signed."""

    room_id: RoomId
    nid: int
    version: str
    is_joined: bool
    acl: bytes | None


class StagedEventStore:
    """Intake, as rows."""

    def gates(self, txn: Transaction, room_ids: Sequence[RoomId]) -> list[RoomGate]:
        """Those of the rooms that we know."""
        found: list[RoomGate] = []
        for start in range(0, len(room_ids), MANY):
            some = room_ids[start : start + MANY]
            found += txn.all(
                _gate,
                f"""
                SELECT rooms.room_id, rooms.nid, rooms.version,
                    EXISTS (SELECT 1 FROM memberships AS m
                        WHERE m.room_nid = rooms.nid AND m.is_local = %s AND m.membership = 'join'),
                    (SELECT e.raw FROM state_keys AS k
                        JOIN current_state AS c ON c.state_key_nid = k.nid AND c.room_nid = rooms.nid
                        JOIN events AS e ON e.nid = c.event_nid
                        WHERE k.type = 'm.room.server_acl' AND k.state_key = '')
                FROM rooms WHERE rooms.room_id IN ({marks(some)})""",
                (True, *some),
            )
        return found

    def answer(self, txn: Transaction, origin: ServerName, txn_id: str) -> bytes | None:
        """What the transaction was answered; None if it is new."""
        answer: bytes | None = txn.value(
            "SELECT answer FROM received_transactions WHERE origin = %s AND txn_id = %s", (origin, txn_id)
        )
        return answer

    def keep_answer(
        self, txn: Transaction, origin: ServerName, txn_id: str, answer: bytes, *, now_ms: int
    ) -> None:
        txn.execute(
            """
            INSERT INTO received_transactions (origin, txn_id, answer, received_ms) VALUES (%s, %s, %s, %s)
            ON CONFLICT DO NOTHING""",
            (origin, txn_id, answer, now_ms),
        )

    def keep_newest(self, txn: Transaction, origin: ServerName, most: int) -> None:
        """Forget the server's transactions but for the newest: it sends one after the other."""
        txn.execute(
            """
            DELETE FROM received_transactions WHERE origin = %s AND received_ms < (
                SELECT received_ms FROM received_transactions WHERE origin = %s
                ORDER BY received_ms DESC LIMIT 1 OFFSET %s)""",
            (origin, origin, most),
        )

    def last_from(self, txn: Transaction, origin: ServerName) -> str | None:
        """The last transaction that came from the server."""
        txn_id: str | None = txn.value(
            """
            SELECT txn_id FROM received_transactions WHERE origin = %s
            ORDER BY received_ms DESC, txn_id DESC LIMIT 1""",
            (origin,),
        )
        return txn_id

    def stage(
        self, txn: Transaction, origin: ServerName, events: Sequence[NewlyStaged]
    ) -> list[tuple[RoomId, Staged]]:
        """Put events in line; those already there are left out of the answer."""
        added = []
        for event in events:
            nid = txn.value(
                """
                INSERT INTO staged_events (room_id, event_id, origin, attempts, pdu)
                VALUES (%s, %s, %s, 0, %s)
                ON CONFLICT (room_id, origin, event_id) DO NOTHING RETURNING nid""",
                (event.room_id, event.event_id, origin, event.pdu),
            )
            if nid is not None:
                added.append((event.room_id, Staged(nid, event.event_id, origin, 0, event.pdu)))
        return added

    def of_room(
        self, txn: Transaction, room_id: RoomId, origin: ServerName, *, after: int, limit: int
    ) -> list[Staged]:
        """The server's next events for the room, in the order in which they came."""
        return txn.all(
            Staged,
            """
            SELECT nid, event_id, origin, attempts, pdu FROM staged_events
            WHERE room_id = %s AND origin = %s AND nid > %s ORDER BY nid LIMIT %s""",
            (room_id, origin, after, limit),
        )

    def remove(self, txn: Transaction, nids: Collection[int]) -> int:
        """They have been dealt with; how many there were."""
        return txn.execute(f"DELETE FROM staged_events WHERE nid IN ({marks(tuple(nids))})", tuple(nids))

    def note_attempt(self, txn: Transaction, nids: Collection[int]) -> None:
        """Dealing with them failed once more."""
        txn.execute(
            f"UPDATE staged_events SET attempts = attempts + 1 WHERE nid IN ({marks(tuple(nids))})",
            tuple(nids),
        )

    def waiting(self, txn: Transaction) -> list[tuple[RoomId, ServerName, int, int]]:
        """(room, server, how many events of it wait there, their bytes), in the order in which they came."""
        rows = txn.rows(
            """
            SELECT room_id, origin, COUNT(*), SUM(LENGTH(pdu)) FROM staged_events
            GROUP BY room_id, origin ORDER BY MIN(nid)"""
        )
        return [(row[0], row[1], row[2], int(row[3])) for row in rows]

    def forget_transactions(self, txn: Transaction, *, before_ms: int) -> None:
        """Transactions answered so long ago that nobody will repeat them."""
        txn.execute("DELETE FROM received_transactions WHERE received_ms < %s", (before_ms,))


def _gate(room_id: str, nid: int, version: str, is_joined: object, acl: bytes | None) -> RoomGate:
    return RoomGate(RoomId(room_id), nid, version, bool(is_joined), acl)
