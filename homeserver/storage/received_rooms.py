"""Rooms of other servers: joined in part, known from outside, and whole states written at once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Transaction
from homeserver.storage.events import REJECTED
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.rooms import Member


class PartialRoom(NamedTuple):
    """A room some of whose state is still to be fetched. `servers`: JSON list."""

    room_id: RoomId
    join_id: EventId
    state_nid: int
    servers: bytes


class OutsideMembership(NamedTuple):
    """What a user was shown of a room. `stripped`: JSON list."""

    event_nid: int
    stripped: bytes


class UntoldLeave(NamedTuple):
    """A leave from outside a room that other servers are to be told of. `servers`, `content`: JSON."""

    room_id: RoomId
    user_id: UserId
    servers: bytes
    content: bytes
    attempts: int
    next_ms: int


class CurrentEntry(NamedTuple):
    """A line of a room's current state, by number."""

    state_key_nid: int
    event_nid: int
    since_nid: int


class ReceivedRoomStore:
    """Rows that only rooms of other servers have."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers

    def create_or_get(self, txn: Transaction, room_id: RoomId, version: str) -> int:
        """The room's nid; a new row has no state yet, which `Rooms` takes for a room not known."""
        nid = txn.value("SELECT nid FROM rooms WHERE room_id = %s", (room_id,))
        if nid is None:
            nid = txn.value(
                """
                INSERT INTO rooms (room_id, version, is_public, heads, depth, tip, state_nid)
                VALUES (%s, %s, %s, %s, 0, 0, 0) RETURNING nid""",
                (room_id, version, False, b"[]"),
            )
        return int(nid)

    def settle_version(self, txn: Transaction, room_nid: int, version: str) -> bool:
        """The version, of which invites may have said something else; False: it is known to be another.

        What was kept by the rules of another version counts for nothing then.
        """
        known, state_nid = txn.rows(
            """
            SELECT version, state_nid FROM rooms WHERE nid = %s""",
            (room_nid,),
        )[0]
        if known == version:
            return True
        if state_nid:
            return False
        txn.execute("UPDATE rooms SET version = %s WHERE nid = %s", (version, room_nid))
        txn.execute("UPDATE events SET status = %s WHERE room_nid = %s", (REJECTED, room_nid))
        return True

    def current_ids(self, txn: Transaction, room_nid: int) -> dict[int, int]:
        """The current state as {state key: event}, by number."""
        return dict(
            txn.rows("SELECT state_key_nid, event_nid FROM current_state WHERE room_nid = %s", (room_nid,))
        )

    def put_current(self, txn: Transaction, room_nid: int, entries: Iterable[CurrentEntry]) -> None:
        txn.executemany(
            """
            INSERT INTO current_state (room_nid, state_key_nid, event_nid, since_nid) VALUES (%s, %s, %s, %s)
            ON CONFLICT (room_nid, state_key_nid) DO UPDATE SET
                event_nid = excluded.event_nid, since_nid = excluded.since_nid""",
            [(room_nid, *entry) for entry in entries],
        )

    def remove_current(self, txn: Transaction, room_nid: int, state_key_nids: Iterable[int]) -> None:
        txn.executemany(
            "DELETE FROM current_state WHERE room_nid = %s AND state_key_nid = %s",
            [(room_nid, nid) for nid in state_key_nids],
        )

    def clear_current(self, txn: Transaction, room_nid: int) -> None:
        """Before a state that has nothing to do with what was known is put in its place."""
        txn.execute("DELETE FROM current_state WHERE room_nid = %s", (room_nid,))

    def put_members(self, txn: Transaction, room_nid: int, members: Sequence[Member]) -> None:
        """As RoomStore.put_member, many at once."""
        nids = self._identifiers.user_nids(txn, [member.user_id for member in members])
        txn.executemany(
            """
            INSERT INTO memberships
                (room_nid, user_nid, membership, event_nid, since_nid, is_local, forgotten)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (room_nid, user_nid) DO UPDATE SET membership = excluded.membership,
                event_nid = excluded.event_nid, since_nid = excluded.since_nid,
                forgotten = excluded.forgotten""",
            [
                (
                    room_nid, nids[member.user_id], member.membership, member.event_nid, member.since,
                    member.is_local, False,
                )
                for member in members
            ],
        )  # fmt: skip

    # Joined in part

    def put_partial(self, txn: Transaction, room_nid: int, partial: PartialRoom) -> None:
        self.remove_partial(txn, room_nid)
        txn.execute(
            """
            INSERT INTO partial_rooms (room_nid, join_id, state_nid, servers) VALUES (%s, %s, %s, %s)""",
            (room_nid, partial.join_id, partial.state_nid, partial.servers),
        )

    def remove_partial(self, txn: Transaction, room_nid: int) -> None:
        txn.execute("DELETE FROM partial_rooms WHERE room_nid = %s", (room_nid,))
        txn.execute("DELETE FROM redacted_originals WHERE room_nid = %s", (room_nid,))

    def partial(self, txn: Transaction) -> list[PartialRoom]:
        """All of them."""
        return txn.all(
            PartialRoom,
            """
            SELECT rooms.room_id, p.join_id, p.state_nid, p.servers
            FROM partial_rooms AS p JOIN rooms ON rooms.nid = p.room_nid ORDER BY p.room_nid""",
        )

    def keep_original(self, txn: Transaction, event_nid: int) -> None:
        """Before an event is emptied: in a room that is known in part, it may have to be filled again."""
        txn.execute(
            """
            INSERT INTO redacted_originals (room_nid, event_nid, raw)
            SELECT e.room_nid, e.nid, e.raw
            FROM events AS e JOIN partial_rooms AS p ON p.room_nid = e.room_nid
            WHERE e.nid = %s
            ON CONFLICT DO NOTHING""",
            (event_nid,),
        )

    def put_back(self, txn: Transaction, room_nid: int, redaction_nid: int) -> list[EventId]:
        """What the redaction emptied says again what it said."""
        rows = txn.rows(
            """
            SELECT o.raw, e.nid, e.event_id
            FROM redacted_originals AS o JOIN events AS e ON e.nid = o.event_nid
            WHERE o.room_nid = %s AND e.redacted_by = %s""",
            (room_nid, redaction_nid),
        )
        txn.executemany(
            "UPDATE events SET raw = %s, redacted_by = NULL WHERE nid = %s", [row[:2] for row in rows]
        )
        return [row[2] for row in rows]

    # From outside

    def put_outside(
        self, txn: Transaction, room_nid: int, user_id: UserId, *, event_nid: int, stripped: bytes
    ) -> None:
        user_nid = self._identifiers.user_nid(txn, user_id)
        txn.execute(
            """
            INSERT INTO outside_memberships (room_nid, user_nid, event_nid, stripped) VALUES (%s, %s, %s, %s)
            ON CONFLICT (room_nid, user_nid) DO UPDATE SET
                event_nid = excluded.event_nid, stripped = excluded.stripped""",
            (room_nid, user_nid, event_nid, stripped),
        )

    def outside(self, txn: Transaction, room_id: RoomId, user_id: UserId) -> OutsideMembership | None:
        return txn.one(
            OutsideMembership,
            """
            SELECT o.event_nid, o.stripped FROM outside_memberships AS o
            JOIN rooms ON rooms.nid = o.room_nid JOIN user_ids AS u ON u.nid = o.user_nid
            WHERE rooms.room_id = %s AND u.user_id = %s""",
            (room_id, user_id),
        )

    def remove_outside(self, txn: Transaction, room_nid: int) -> None:
        """We are in the room now: its own state tells."""
        txn.execute("DELETE FROM outside_memberships WHERE room_nid = %s", (room_nid,))

    # Leaves that nobody could be told of

    def put_untold_leave(self, txn: Transaction, untold: UntoldLeave) -> None:
        """In place of an earlier one of that user and room."""
        txn.execute(
            """
            INSERT INTO untold_leaves (room_id, user_id, servers, content, attempts, next_ms)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (room_id, user_id) DO UPDATE SET servers = excluded.servers,
                content = excluded.content, attempts = excluded.attempts, next_ms = excluded.next_ms""",
            untold,
        )

    def untold_leaves(self, txn: Transaction) -> list[UntoldLeave]:
        """All of them."""
        return txn.all(
            UntoldLeave,
            "SELECT room_id, user_id, servers, content, attempts, next_ms FROM untold_leaves",
        )

    def remove_untold_leave(self, txn: Transaction, room_id: RoomId, user_id: UserId) -> None:
        """Somebody was told, or nobody will be."""
        txn.execute("DELETE FROM untold_leaves WHERE room_id = %s AND user_id = %s", (room_id, user_id))
