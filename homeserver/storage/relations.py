"""What relates to what: threads, edits, reactions, references."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, UserId
from homeserver.runtime.database import Transaction, marks


class Related(NamedTuple):
    """A child of an event."""

    parent_id: EventId
    rel_type: str
    nid: int
    event_id: EventId
    type: str
    sender: UserId


class RelationStore:
    """Look-ups by parent."""

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
