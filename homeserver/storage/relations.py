"""What relates to what: threads, edits, reactions, references."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, UserId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.events import Place

MOST_IGNORED = 10_000


class Related(NamedTuple):
    """A child of an event."""

    parent_id: EventId
    rel_type: str
    nid: int
    event_id: EventId
    type: str
    sender: UserId


class EditRow(NamedTuple):
    """An edit of an event by its own sender, in the original's type."""

    parent_id: EventId
    nid: int


class ThreadRow(NamedTuple):
    """A thread, seen from its root: how many events, the newest of them, how many are the reader's own."""

    parent_id: EventId
    length: int
    latest_nid: int
    own: int


class ReferenceRow(NamedTuple):
    parent_id: EventId
    event_id: EventId


class Aggregates(NamedTuple):
    """What is bundled with events; edits newest first."""

    edits: list[EditRow]
    threads: list[ThreadRow]
    references: list[ReferenceRow]


class Reader(NamedTuple):
    """Who asks, and whose events they do not want to see."""

    user_id: UserId
    ignored: frozenset[UserId]


class Descent(NamedTuple):
    """Which children are wanted: by type of relation and of event (None: any), down to how many levels."""

    rel_type: str | None
    event_type: str | None
    levels: int


class ThreadRoot(NamedTuple):
    nid: int
    latest_nid: int


class ChildPage(NamedTuple):
    """Events between two places, exclusive of `start`, as pages of a room's history are."""

    start: Place | None
    stop: Place | None
    backwards: bool
    limit: int


EDITS_LOOKED_AT = 3
"""Per event: the newest edit may be one that does not count."""


class RelationStore:
    """Look-ups by parent."""

    def aggregates(self, txn: Transaction, parents: Sequence[EventId], reader: Reader) -> Aggregates:
        """Edits, threads and references of the events, none redacted, none by users the reader ignores."""
        rel_types = set(
            txn.column(
                f"""
                SELECT DISTINCT rel_type FROM relations
                WHERE parent_id IN ({marks(parents)})
                  AND rel_type IN ('m.replace', 'm.thread', 'm.reference')""",
                parents,
            )
        )
        return Aggregates(
            self._edits(txn, parents) if "m.replace" in rel_types else [],
            self._threads(txn, parents, reader) if "m.thread" in rel_types else [],
            self._references(txn, parents, reader) if "m.reference" in rel_types else [],
        )

    def descendants(
        self, txn: Transaction, room_nid: int, parent: EventId, descent: Descent, *, page: ChildPage
    ) -> list[int]:
        """The nids of what relates to an event, directly or through others, in the order of the page."""
        within, place, order = _bounds(page)
        filters, values = "", []
        if descent.rel_type is not None:
            filters += " AND tree.rel_type = %s"
            values.append(descent.rel_type)
        if descent.event_type is not None:
            filters += " AND e.type = %s"
            values.append(descent.event_type)
        return txn.column(
            f"""
            WITH RECURSIVE tree (nid, rel_type, level) AS (
                SELECT event_nid, rel_type, 1 FROM relations WHERE parent_id = %s AND room_nid = %s
                UNION ALL
                SELECT r.event_nid, r.rel_type, tree.level + 1
                FROM tree JOIN events AS above ON above.nid = tree.nid
                JOIN relations AS r ON r.parent_id = above.event_id
                WHERE tree.level < %s
            )
            SELECT e.nid FROM tree JOIN events AS e ON e.nid = tree.nid
            WHERE e.room_nid = %s AND e.status = 0 AND e.redacted_by IS NULL{filters}{within}
            ORDER BY {order} LIMIT %s""",
            (parent, room_nid, descent.levels, room_nid, *values, *place, page.limit),
        )

    def thread_roots(
        self, txn: Transaction, room_nid: int, reader: Reader, *, before: int | None, own: bool, limit: int
    ) -> list[ThreadRoot]:
        """Threads of a room, the one with the newest event first; `own`: only where the reader takes part."""
        ignored, values = _not_by(reader.ignored)
        took_part = "HAVING MAX(CASE WHEN users.user_id = %s OR owner.user_id = %s THEN 1 ELSE 0 END) = 1"
        return txn.all(
            ThreadRoot,
            f"""
            SELECT nid, latest FROM (
                SELECT root.nid AS nid, MAX(e.nid) AS latest
                FROM relations AS r JOIN events AS e ON e.nid = r.event_nid
                JOIN user_ids AS users ON users.nid = e.sender_nid
                JOIN events AS root ON root.event_id = r.parent_id
                JOIN user_ids AS owner ON owner.nid = root.sender_nid
                WHERE r.room_nid = %s AND r.rel_type = 'm.thread' AND root.room_nid = r.room_nid
                  AND e.redacted_by IS NULL AND e.status = 0{ignored}
                GROUP BY root.nid {took_part if own else ""}
            ) AS threads
            {"" if before is None else "WHERE latest < %s"}
            ORDER BY latest DESC LIMIT %s""",
            (
                room_nid,
                *values,
                *((reader.user_id,) * 2 if own else ()),
                *(() if before is None else (before,)),
                limit,
            ),
        )

    def children(self, txn: Transaction, parents: Sequence[EventId]) -> list[Related]:
        """The unredacted children of the events, oldest first."""
        found: list[Related] = []
        for start in range(0, len(parents), 500):
            some = parents[start : start + 500]
            found += txn.all(
                Related,
                f"""
                SELECT r.parent_id, r.rel_type, e.nid, e.event_id, e.type, users.user_id
                FROM relations AS r JOIN events AS e ON e.nid = r.event_nid
                JOIN user_ids AS users ON users.nid = e.sender_nid
                WHERE r.parent_id IN ({marks(some)}) AND e.redacted_by IS NULL AND e.status = 0
                ORDER BY e.nid""",
                some,
            )
        return found

    def has_annotated(self, txn: Transaction, user_id: UserId, parent: EventId, key: str) -> bool:
        """Has the user reacted to the event with this key, and not taken it back?"""
        return (
            txn.value(
                """
                SELECT 1 FROM relations AS r JOIN events AS e ON e.nid = r.event_nid
                JOIN user_ids AS users ON users.nid = e.sender_nid
                WHERE r.parent_id = %s AND r.rel_type = 'm.annotation' AND r.aggregation_key = %s
                  AND users.user_id = %s AND e.redacted_by IS NULL""",
                (parent, key, user_id),
            )
            is not None
        )

    def _edits(self, txn: Transaction, parents: Sequence[EventId]) -> list[EditRow]:
        return txn.all(
            EditRow,
            f"""
            SELECT parent_id, nid FROM (
                SELECT r.parent_id AS parent_id, e.nid AS nid, ROW_NUMBER() OVER (
                    PARTITION BY r.parent_id ORDER BY e.origin_server_ts DESC, e.event_id DESC) AS place
                FROM relations AS r JOIN events AS e ON e.nid = r.event_nid
                JOIN events AS parent ON parent.event_id = r.parent_id
                WHERE r.parent_id IN ({marks(parents)}) AND r.rel_type = 'm.replace'
                  AND parent.room_nid = e.room_nid AND parent.sender_nid = e.sender_nid
                  AND parent.type = e.type AND parent.redacted_by IS NULL
                  AND e.redacted_by IS NULL AND e.status = 0
            ) AS edits
            WHERE place <= {EDITS_LOOKED_AT} ORDER BY parent_id, place""",
            parents,
        )

    def _threads(self, txn: Transaction, parents: Sequence[EventId], reader: Reader) -> list[ThreadRow]:
        ignored, values = _not_by(reader.ignored)
        return txn.all(
            ThreadRow,
            f"""
            SELECT r.parent_id, COUNT(*), MAX(e.nid),
                   SUM(CASE WHEN users.user_id = %s THEN 1 ELSE 0 END)
            FROM relations AS r JOIN events AS e ON e.nid = r.event_nid
            JOIN user_ids AS users ON users.nid = e.sender_nid
            WHERE r.parent_id IN ({marks(parents)}) AND r.rel_type = 'm.thread'
              AND e.redacted_by IS NULL AND e.status = 0{ignored}
            GROUP BY r.parent_id""",
            (reader.user_id, *parents, *values),
        )

    def _references(self, txn: Transaction, parents: Sequence[EventId], reader: Reader) -> list[ReferenceRow]:
        ignored, values = _not_by(reader.ignored)
        return txn.all(
            ReferenceRow,
            f"""
            SELECT r.parent_id, e.event_id
            FROM relations AS r JOIN events AS e ON e.nid = r.event_nid
            JOIN user_ids AS users ON users.nid = e.sender_nid
            WHERE r.parent_id IN ({marks(parents)}) AND r.rel_type = 'm.reference'
              AND e.redacted_by IS NULL AND e.status = 0{ignored}
            ORDER BY e.nid LIMIT 1000""",
            (*parents, *values),
        )


def _bounds(page: ChildPage) -> tuple[str, list[int], str]:
    """SQL that keeps to the page, its values, and the order."""
    within, values = "", []
    after, upto = (page.stop, page.start) if page.backwards else (page.start, page.stop)
    if after is not None:
        within += " AND (e.depth, e.nid) > (%s, %s)"
        values += [after.depth, after.nid]
    if upto is not None:
        within += " AND (e.depth, e.nid) <= (%s, %s)"
        values += [upto.depth, upto.nid]
    return within, values, "e.depth DESC, e.nid DESC" if page.backwards else "e.depth, e.nid"


def _not_by(ignored: frozenset[UserId]) -> tuple[str, tuple[UserId, ...]]:
    """SQL that leaves out the events of some users, and its values."""
    if not ignored:
        return "", ()
    users = tuple(ignored)[:MOST_IGNORED]
    return f" AND users.user_id NOT IN ({marks(users)})", users
