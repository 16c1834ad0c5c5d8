"""Events as they were signed, and where they stand in their room.

`nid` is the position at which an event reached this server: the order of sync. `(depth, nid)` is
the order of history.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.identifiers import Identifiers

ACCEPTED, REJECTED, SOFT_FAILED, OUTLIER, HIDDEN = range(5)
"""HIDDEN: accepted, and part of history as other servers see it; no client is shown it."""
MANY = 500  # marks in one IN (...)
DEVICE_END = "\x1f"
"""Stands between device and transaction id in `txn`: a device id has no control characters."""


def txn_of(device: str, txn_id: str) -> str:
    """What the column `txn` holds for an event that the device sent under the transaction id."""
    return f"{device}{DEVICE_END}{txn_id}"


def device_and_txn_id(txn: str) -> tuple[str, str]:
    """The reverse of `txn_of`."""
    device, _, txn_id = txn.partition(DEVICE_END)
    return device, txn_id


class EventRow(NamedTuple):
    """An event with what its unsigned part needs: what it replaced, what redacted it."""

    nid: int
    event_id: EventId
    raw: bytes
    state_nid: int | None
    status: int
    notify: int
    thread_root: EventId | None
    txn: str | None
    replaces_nid: int | None
    replaces_id: EventId | None
    replaces_raw: bytes | None
    redaction_id: EventId | None
    redaction_raw: bytes | None
    has_children: bool
    """May its readers be told of what relates to it? Not of reactions, and never with state."""


class LocatedEvent(NamedTuple):
    """An event and the room it is in."""

    room_id: RoomId
    version: str
    row: EventRow


class NewEvent(NamedTuple):
    """What the room's writer hands over to be kept."""

    nid: int
    event_id: EventId
    type: str
    state_key: str | None
    sender: UserId
    depth: int
    origin_server_ts: int
    state_nid: int | None
    replaces_nid: int | None
    status: int
    notify: int
    thread_root: EventId | None
    txn: str | None
    raw: bytes


class Place(NamedTuple):
    """Where an event stands in its room's history."""

    depth: int
    nid: int


class SentTransaction(NamedTuple):
    """An event that a device sent under a transaction id."""

    txn: str
    room_id: RoomId
    type: str
    event_id: EventId


class Relation(NamedTuple):
    """The m.relates_to of an event."""

    event_nid: int
    parent_id: EventId
    rel_type: str
    key: str | None


_COLUMNS = """e.nid, e.event_id, e.raw, e.state_nid, e.status, e.notify, e.thread_root, e.txn,
                   e.replaces_nid, p.event_id, p.raw, r.event_id, r.raw,
                   e.state_key_nid IS NULL AND EXISTS (
                       SELECT 1 FROM relations AS c
                       WHERE c.parent_id = e.event_id AND c.rel_type <> 'm.annotation')"""
_JOINS = """LEFT JOIN events AS p ON p.nid = e.replaces_nid
            LEFT JOIN events AS r ON r.nid = e.redacted_by"""


_INSERT = """
    INSERT INTO events (nid, event_id, room_nid, type, state_key_nid, sender_nid, depth,
        origin_server_ts, state_nid, replaces_nid, status, notify, thread_root, txn, raw)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


def _values(room_nid: int, event: NewEvent, state_key_nid: int | None, sender_nid: int) -> tuple[object, ...]:
    return (
        event.nid, event.event_id, room_nid, event.type, state_key_nid, sender_nid, event.depth,
        event.origin_server_ts, event.state_nid, event.replaces_nid, event.status, event.notify,
        event.thread_root, event.txn, event.raw,
    )  # fmt: skip


class EventStore:
    """Inserts and look-ups; never decodes."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers

    def insert(self, txn: Transaction, room_nid: int, event: NewEvent, state_key_nid: int | None) -> None:
        sender_nid = self._identifiers.user_nid(txn, event.sender)
        txn.execute(_INSERT, _values(room_nid, event, state_key_nid, sender_nid))

    def insert_many(self, txn: Transaction, room_nid: int, events: Sequence[NewEvent]) -> None:
        """The same for many of one room, in few statements."""
        senders = self._identifiers.user_nids(txn, [event.sender for event in events])
        keys = self._identifiers.state_key_nids(
            txn, [(event.type, event.state_key) for event in events if event.state_key is not None]
        )
        rows = []
        for event in events:
            key_nid = None if event.state_key is None else keys[event.type, event.state_key]
            rows.append(_values(room_nid, event, key_nid, senders[event.sender]))
        txn.executemany(_INSERT, rows)

    def by_nids(self, txn: Transaction, nids: Sequence[int]) -> list[EventRow]:
        """In no particular order; unknown ones are left out."""
        found: list[EventRow] = []
        for start in range(0, len(nids), MANY):
            some = nids[start : start + MANY]
            found += [
                EventRow(*row)
                for row in txn.rows(
                    f"SELECT {_COLUMNS} FROM events AS e {_JOINS} WHERE e.nid IN ({marks(some)})", some
                )
            ]
        return found

    def raw_by_nids(self, txn: Transaction, nids: Sequence[int]) -> dict[int, bytes]:
        """The JSON alone of those that are stored."""
        found: dict[int, bytes] = {}
        for start in range(0, len(nids), MANY):
            some = nids[start : start + MANY]
            rows = txn.rows(f"SELECT nid, raw FROM events WHERE nid IN ({marks(some)})", some)
            found.update((nid, raw) for nid, raw in rows)
        return found

    def by_ids(self, txn: Transaction, event_ids: Sequence[EventId]) -> list[LocatedEvent]:
        """With their rooms; unknown ones are left out."""
        found: list[LocatedEvent] = []
        for start in range(0, len(event_ids), MANY):
            some = event_ids[start : start + MANY]
            rows = txn.rows(
                f"""
                SELECT rooms.room_id, rooms.version, {_COLUMNS}
                FROM events AS e JOIN rooms ON rooms.nid = e.room_nid {_JOINS}
                WHERE e.event_id IN ({marks(some)})""",
                some,
            )
            found += [LocatedEvent(row[0], row[1], EventRow(*row[2:])) for row in rows]
        return found

    def with_successors(self, txn: Transaction, event_id: EventId) -> list[LocatedEvent]:
        """The event and, of state, what replaced it: the unsigned part of that repeats its content."""
        rows = txn.rows(
            """
            SELECT e.event_id FROM events AS t
            JOIN events AS e ON e.room_nid = t.room_nid AND e.state_key_nid = t.state_key_nid
            WHERE t.event_id = %s AND e.nid > t.nid AND e.replaces_nid = t.nid""",
            (event_id,),
        )
        return self.by_ids(txn, [event_id, *(row[0] for row in rows)])

    def latest(self, txn: Transaction, room_nid: int, *, after: int, upto: int, limit: int) -> list[EventRow]:
        """The newest accepted events with `after` < nid <= `upto`, newest first: the order of sync."""
        return [
            EventRow(*row)
            for row in txn.rows(
                f"""
                SELECT {_COLUMNS} FROM events AS e {_JOINS}
                WHERE e.room_nid = %s AND e.nid > %s AND e.nid <= %s AND e.status = 0
                ORDER BY e.nid DESC LIMIT %s""",
                (room_nid, after, upto, limit),
            )
        ]

    def before(self, txn: Transaction, room_nid: int, place: Place, *, limit: int) -> list[EventRow]:
        """Accepted events at or before `place` in history, newest first."""
        return [
            EventRow(*row)
            for row in txn.rows(
                f"""
                SELECT {_COLUMNS} FROM events AS e {_JOINS}
                WHERE e.room_nid = %s AND (e.depth, e.nid) <= (%s, %s) AND e.status = 0
                ORDER BY e.depth DESC, e.nid DESC LIMIT %s""",
                (room_nid, place.depth, place.nid, limit),
            )
        ]

    def after(self, txn: Transaction, room_nid: int, place: Place, *, limit: int) -> list[EventRow]:
        """Accepted events after `place` in history, oldest first."""
        return [
            EventRow(*row)
            for row in txn.rows(
                f"""
                SELECT {_COLUMNS} FROM events AS e {_JOINS}
                WHERE e.room_nid = %s AND (e.depth, e.nid) > (%s, %s) AND e.status = 0
                ORDER BY e.depth, e.nid LIMIT %s""",
                (room_nid, place.depth, place.nid, limit),
            )
        ]

    def place_of(self, txn: Transaction, room_nid: int, event_id: EventId) -> Place | None:
        return txn.one(
            Place,
            "SELECT depth, nid FROM events WHERE event_id = %s AND room_nid = %s AND status = 0",
            (event_id, room_nid),
        )

    def place_at(self, txn: Transaction, room_nid: int, position: int) -> Place:
        """Where history stood when the stream was at `position`; (0, 0) before the room began.

        Where the room forked, what came last may be less deep than what came before it: all that is before.
        """
        depth, nid = txn.rows(
            """
            SELECT MAX(depth), MAX(nid) FROM (
                SELECT depth, nid FROM events WHERE room_nid = %s AND nid <= %s AND status = 0
                ORDER BY nid DESC LIMIT 100) AS latest""",
            (room_nid, position),
        )[0]
        return Place(0, 0) if nid is None else Place(depth, nid)

    def nearest(
        self, txn: Transaction, room_nid: int, ts: int, *, forwards: bool
    ) -> tuple[EventId, int] | None:
        """(event id, its origin_server_ts) nearest in time at or after (before) `ts`."""
        if forwards:
            sql = "origin_server_ts >= %s AND status = 0 ORDER BY origin_server_ts, depth, nid LIMIT 1"
        else:
            sql = """origin_server_ts <= %s AND status = 0
                ORDER BY origin_server_ts DESC, depth DESC, nid DESC LIMIT 1"""
        row = txn.row(
            f"SELECT event_id, origin_server_ts FROM events WHERE room_nid = %s AND {sql}", (room_nid, ts)
        )
        return None if row is None else (row[0], row[1])

    def of_state_key(self, txn: Transaction, room_nid: int, key: StateKey) -> list[tuple[int, bytes]]:
        """(nid, JSON) of every accepted event that ever held the state key, oldest first."""
        rows = txn.rows(
            """
            SELECT e.nid, e.raw FROM events AS e JOIN state_keys AS k ON k.nid = e.state_key_nid
            WHERE e.room_nid = %s AND k.type = %s AND k.state_key = %s AND e.status = 0 ORDER BY e.nid""",
            (room_nid, *key),
        )
        return [(row[0], row[1]) for row in rows]

    def last_positions(self, txn: Transaction, room_nids: Iterable[int], after: int) -> dict[int, int]:
        """{room nid: its newest event} for those of the rooms with events after the position."""
        found = {}
        for room_nid in room_nids:
            nid = txn.value("SELECT MAX(nid) FROM events WHERE room_nid = %s AND nid > %s", (room_nid, after))
            if nid is not None:
                found[room_nid] = nid
        return found

    def sent_by_device(
        self, txn: Transaction, user_id: UserId, device: str, since_ts: int, *, limit: int
    ) -> list[SentTransaction]:
        """The last `limit` events that the device sent with transaction ids since the time (ms), in order."""
        user_nid = self._identifiers.user_nid(txn, user_id)
        newest_first = txn.all(
            SentTransaction,
            """
            SELECT e.txn, rooms.room_id, e.type, e.event_id
            FROM events AS e JOIN rooms ON rooms.nid = e.room_nid
            WHERE e.sender_nid = %s AND e.txn >= %s AND e.txn < %s AND e.origin_server_ts >= %s
            ORDER BY e.nid DESC LIMIT %s""",
            (user_nid, device + DEVICE_END, device + chr(ord(DEVICE_END) + 1), since_ts, limit),
        )
        return newest_first[::-1]

    def sent_under(
        self, txn: Transaction, user_id: UserId, sent_txn: str, since_ts: int
    ) -> list[SentTransaction]:
        """What the user sent under one transaction id of one device (`txn_of`) since the time (ms)."""
        return txn.all(
            SentTransaction,
            """
            SELECT e.txn, rooms.room_id, e.type, e.event_id
            FROM events AS e JOIN rooms ON rooms.nid = e.room_nid
            WHERE e.sender_nid = %s AND e.txn = %s AND e.origin_server_ts >= %s""",
            (self._identifiers.user_nid(txn, user_id), sent_txn, since_ts),
        )

    def redact(self, txn: Transaction, target_nid: int, *, redaction_nid: int, raw: bytes) -> None:
        """Replace the target's JSON by what the redaction leaves of it."""
        txn.execute(
            "UPDATE events SET raw = %s, redacted_by = %s WHERE nid = %s", (raw, redaction_nid, target_nid)
        )

    def add_relation(self, txn: Transaction, room_nid: int, relation: Relation) -> None:
        txn.execute(
            """
            INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, aggregation_key)
            VALUES (%s, %s, %s, %s, %s)""",
            (relation.event_nid, room_nid, relation.parent_id, relation.rel_type, relation.key),
        )

    def remove_relation(self, txn: Transaction, event_nid: int) -> None:
        """The event counts no more."""
        txn.execute("DELETE FROM relations WHERE event_nid = %s", (event_nid,))
