"""Events of rooms' states and gaps that could not be verified yet, and the names of those that were late."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId
from homeserver.runtime.database import Transaction

OF_GAP, OF_AUTH_CHAIN, OF_TOLD_STATE, OF_JOINED_STATE = range(-1, 3)
"""What an event was told to be part of: a gap and no state, what authorises a state, the state after a gap,
the state before our join."""


class UnprovenEvent(NamedTuple):
    """`servers`: those whose keys it takes; none where only what authorises it lacks them."""

    event_id: EventId
    servers: str
    part: int
    raw: bytes


class UnprovenEventStore:
    """Rows stay when an event has become part of the state, without its JSON: `has_late` tells by them.

    That is with `ReceivedEventStore`, for whoever loads the room.
    """

    def note(self, txn: Transaction, room_nid: int, events: Iterable[UnprovenEvent]) -> None:
        txn.executemany(
            """
            INSERT INTO unproven_events (room_nid, event_id, servers, part, raw) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (room_nid, event_id) DO UPDATE SET part = excluded.part
            WHERE excluded.part > unproven_events.part""",
            [(room_nid, *event) for event in events],
        )

    def size(self, txn: Transaction, room_nid: int) -> tuple[int, int]:
        """How many wait for proof, and their bytes."""
        row = txn.row(
            """
            SELECT COUNT(*), COALESCE(SUM(LENGTH(raw)), 0) FROM unproven_events
            WHERE room_nid = %s AND LENGTH(raw) > 0""",
            (room_nid,),
        )
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def rooms(self, txn: Transaction) -> list[tuple[RoomId, str]]:
        """(room, servers) of all that wait."""
        return [
            (row[0], row[1])
            for row in txn.rows(
                """
                SELECT DISTINCT rooms.room_id, u.servers
                FROM unproven_events AS u JOIN rooms ON rooms.nid = u.room_nid WHERE LENGTH(u.raw) > 0"""
            )
        ]

    def of_room(self, txn: Transaction, room_nid: int) -> list[UnprovenEvent]:
        """Those that wait."""
        return txn.all(
            UnprovenEvent,
            """
            SELECT event_id, servers, part, raw FROM unproven_events
            WHERE room_nid = %s AND LENGTH(raw) > 0""",
            (room_nid,),
        )

    def mark_late(self, txn: Transaction, room_nid: int, event_ids: Iterable[EventId]) -> None:
        """They are part of the state now."""
        txn.executemany(
            "UPDATE unproven_events SET raw = %s WHERE room_nid = %s AND event_id = %s",
            [(b"", room_nid, event_id) for event_id in event_ids],
        )

    def remove(self, txn: Transaction, room_nid: int, event_ids: Sequence[EventId]) -> None:
        txn.executemany(
            "DELETE FROM unproven_events WHERE room_nid = %s AND event_id = %s",
            [(room_nid, event_id) for event_id in event_ids],
        )

    def remove_all(self, txn: Transaction, room_id: RoomId) -> None:
        """Nobody of ours is in the room, or it is joined anew."""
        txn.execute(
            "DELETE FROM unproven_events WHERE room_nid IN (SELECT nid FROM rooms WHERE room_id = %s)",
            (room_id,),
        )
