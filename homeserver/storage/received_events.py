"""Events as the intake of other servers' events needs them: what stands where, what is missing.

Events that were not appended at the live end of their room (outliers, history) have negative nids: sync,
which asks for what came after a position, never sees them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.events import ACCEPTED, OUTLIER, REJECTED
from homeserver.storage.unproven_events import OF_GAP

MANY = 500


class KnownEvent(NamedTuple):
    """Where a stored event stands. `state_nid`: the state set before it; None: not known (an outlier)."""

    nid: int
    event_id: EventId
    room_nid: int
    status: int
    state_nid: int | None
    state_key_nid: int | None
    depth: int

    @property
    def is_state(self) -> bool:
        return self.state_key_nid is not None

    @property
    def state_after(self) -> int | None:
        """The state set after it. A rejected event changes nothing."""
        if self.state_nid is None or not self.is_state or self.status == REJECTED:
            return self.state_nid
        return self.nid

    @property
    def is_placed(self) -> bool:
        """Does it stand in the room's history, so that others can follow it?"""
        return self.status != OUTLIER and self.state_nid is not None


class StoredPdu(NamedTuple):
    """A stored event with its JSON."""

    known: KnownEvent
    raw: bytes


class MissingEvent(NamedTuple):
    """An event that we do not have. `depth`, `follower_nid`: of the deepest event that names it."""

    event_id: EventId
    depth: int
    follower_nid: int


_KNOWN = "nid, event_id, room_nid, status, state_nid, state_key_nid, depth"


class ReceivedEventStore:
    """Look-ups and changes of place."""

    def known(self, txn: Transaction, event_ids: Sequence[EventId]) -> dict[EventId, KnownEvent]:
        """Those of the events that are stored."""
        found: dict[EventId, KnownEvent] = {}
        for some in _chunks(event_ids):
            rows = txn.rows(f"SELECT {_KNOWN} FROM events WHERE event_id IN ({marks(some)})", some)
            for row in rows:
                found[row[1]] = KnownEvent(*row)
        return found

    def pdus(self, txn: Transaction, event_ids: Sequence[EventId]) -> dict[EventId, StoredPdu]:
        """Those of the events that are stored, with their JSON."""
        found: dict[EventId, StoredPdu] = {}
        for some in _chunks(event_ids):
            rows = txn.rows(f"SELECT {_KNOWN}, raw FROM events WHERE event_id IN ({marks(some)})", some)
            for row in rows:
                found[row[1]] = StoredPdu(KnownEvent(*row[:7]), row[7])
        return found

    def placed_since(self, txn: Transaction, room_nid: int, nid: int) -> dict[EventId, StoredPdu]:
        """The room's events from the nid on and all below 0, but those that have no place in its history."""
        rows = txn.rows(
            f"""
            SELECT {_KNOWN}, raw FROM events
            WHERE room_nid = %s AND (nid >= %s OR nid < 0) AND state_nid IS NOT NULL AND status <> %s""",
            (room_nid, nid, OUTLIER),
        )
        return {row[1]: StoredPdu(KnownEvent(*row[:7]), row[7]) for row in rows}

    def ids(self, txn: Transaction, nids: Iterable[int]) -> dict[int, EventId]:
        """{nid: event id}."""
        found: dict[int, EventId] = {}
        for some in _chunks(list(nids)):
            found.update(txn.rows(f"SELECT nid, event_id FROM events WHERE nid IN ({marks(some)})", some))
        return found

    def nids(self, txn: Transaction, event_ids: Sequence[EventId]) -> dict[EventId, int]:
        """{event id: nid}; unknown ones are left out."""
        found: dict[EventId, int] = {}
        for some in _chunks(event_ids):
            found.update(
                txn.rows(f"SELECT event_id, nid FROM events WHERE event_id IN ({marks(some)})", some)
            )
        return found

    def lowest(self, txn: Transaction) -> int:
        """The lowest nid that an event or a state set has, at most 0."""
        events = txn.value("SELECT MIN(nid) FROM events") or 0
        sets = txn.value("SELECT MIN(nid) FROM state_sets") or 0
        return min(int(events), int(sets), 0)

    def place(
        self, txn: Transaction, nid: int, *, status: int, state_nid: int | None, replaces_nid: int | None
    ) -> None:
        """An outlier has found its place."""
        txn.execute(
            "UPDATE events SET status = %s, state_nid = %s, replaces_nid = %s WHERE nid = %s",
            (status, state_nid, replaces_nid, nid),
        )

    def set_status(self, txn: Transaction, nid: int, status: int) -> None:
        txn.execute("UPDATE events SET status = %s WHERE nid = %s", (status, nid))

    def set_state(self, txn: Transaction, nid: int, state_nid: int) -> None:
        """The state before it is another set now."""
        txn.execute("UPDATE events SET state_nid = %s WHERE nid = %s", (state_nid, nid))

    # Gaps

    def note_missing(
        self, txn: Transaction, room_nid: int, event_ids: Iterable[EventId], *, depth: int, follower_nid: int
    ) -> None:
        """The event at `follower_nid` follows events that we do not have."""
        txn.executemany(
            """
            INSERT INTO missing_events (room_nid, event_id, depth, follower_nid) VALUES (%s, %s, %s, %s)
            ON CONFLICT (room_nid, event_id) DO UPDATE SET
                depth = excluded.depth, follower_nid = excluded.follower_nid
            WHERE excluded.depth > missing_events.depth""",
            [(room_nid, event_id, depth, follower_nid) for event_id in event_ids],
        )

    def note_found(self, txn: Transaction, room_nid: int, event_ids: Sequence[EventId]) -> None:
        """The events are here now (or will never be accepted)."""
        for some in _chunks(event_ids):
            txn.execute(
                f"DELETE FROM missing_events WHERE room_nid = %s AND event_id IN ({marks(some)})",
                (room_nid, *some),
            )

    def missing(self, txn: Transaction, room_nid: int, *, upto_depth: int, limit: int) -> list[MissingEvent]:
        """What is missing before events at or below a depth, nearest first."""
        return txn.all(
            MissingEvent,
            """
            SELECT event_id, depth, follower_nid FROM missing_events
            WHERE room_nid = %s AND depth <= %s ORDER BY depth DESC, follower_nid DESC LIMIT %s""",
            (room_nid, upto_depth, limit),
        )

    def is_missing(self, txn: Transaction, room_nid: int, event_id: EventId) -> bool:
        """Is it not here, though events here follow it?"""
        sql = "SELECT 1 FROM missing_events WHERE room_nid = %s AND event_id = %s"
        return txn.value(sql, (room_nid, event_id)) is not None

    def has_missing(self, txn: Transaction, room_nid: int) -> bool:
        return txn.value("SELECT 1 FROM missing_events WHERE room_nid = %s LIMIT 1", (room_nid,)) is not None

    def partial_servers(self, txn: Transaction, room_nid: int) -> bytes | None:
        """Who can be asked for the rest of the state, as a JSON list; None: all of it is here."""
        servers: bytes | None = txn.value(
            "SELECT servers FROM partial_rooms WHERE room_nid = %s", (room_nid,)
        )
        return servers

    def has_late(self, txn: Transaction, room_nid: int) -> bool:
        """May states of the room lack what came late, or has not come? See `unproven_events`."""
        sql = "SELECT 1 FROM unproven_events WHERE room_nid = %s AND part <> %s LIMIT 1"
        return txn.value(sql, (room_nid, OF_GAP)) is not None

    def set_last_gap(self, txn: Transaction, room_nid: int, position: int) -> None:
        txn.execute("UPDATE rooms SET last_gap = %s WHERE nid = %s", (position, room_nid))

    # Redactions that came before what they redact

    def note_early_redaction(self, txn: Transaction, redacts: EventId, redaction_nid: int) -> None:
        txn.execute(
            "INSERT INTO early_redactions (redacts, redaction_nid) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (redacts, redaction_nid),
        )

    def early_redactions(
        self, txn: Transaction, event_ids: Sequence[EventId]
    ) -> Mapping[EventId, list[tuple[int, bytes, int | None]]]:
        """{redacted event: [(nid, JSON, state set before) of accepted redactions that wait for it]}."""
        found: dict[EventId, list[tuple[int, bytes, int | None]]] = {}
        for some in _chunks(event_ids):
            rows = txn.rows(
                f"""
                SELECT w.redacts, e.nid, e.raw, e.state_nid
                FROM early_redactions AS w JOIN events AS e ON e.nid = w.redaction_nid
                WHERE w.redacts IN ({marks(some)}) AND e.status = {ACCEPTED} ORDER BY e.depth, e.nid""",
                some,
            )
            for redacts, nid, raw, state_nid in rows:
                found.setdefault(redacts, []).append((nid, raw, state_nid))
        return found

    def forget_early_redactions(self, txn: Transaction, event_id: EventId) -> None:
        txn.execute("DELETE FROM early_redactions WHERE redacts = %s", (event_id,))


def _chunks(items: Sequence[EventId] | Sequence[int]) -> Iterable[tuple[EventId | int, ...]]:
    for start in range(0, len(items), MANY):
        yield tuple(items[start : start + MANY])
