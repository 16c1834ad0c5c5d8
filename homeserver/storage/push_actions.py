"""What events do to users' unread counts.

`events.notify` says what an event does to everyone with the predefined push rules. `push_actions` holds the
exceptions: who is mentioned or invited, and who has rules of their own with another outcome.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.identifiers import Identifiers

MOST_LOOKED_AT = 2_000
"""Of each room so many events are looked at for one page of notifications."""

MANY = 500


class NotifyOrHighlight(Protocol):
    """What an event does to one user."""

    @property
    def notify(self) -> bool: ...

    @property
    def highlight(self) -> bool: ...


class Outcome(Protocol):
    """What an event does to local users: the exceptions by name."""

    @property
    def personal(self) -> Mapping[UserId, NotifyOrHighlight]: ...


class PersonalAction(NamedTuple):
    """One exception: what the event does to this user."""

    event_nid: int
    thread_root: EventId | None
    notify: bool
    highlight: bool


class DefaultAction(NamedTuple):
    """What an event does to everyone without an exception. `notify`: 1 notifies, 2 highlights too."""

    event_nid: int
    sender_nid: int
    thread_root: EventId | None
    notify: int


class ThreadTotal(NamedTuple):
    """Events of one thread (None: the main timeline) that notify, highlight, and are the user's own."""

    thread_root: EventId | None
    notifications: int
    highlights: int
    own: int


class Stay(NamedTuple):
    """A user in a room. `tip`: no event is newer; `since`: the event that began the membership, 0: none."""

    room_id: RoomId
    room_nid: int
    tip: int
    since: int


class Notification(NamedTuple):
    """An event that notified a user."""

    event_nid: int
    room_nid: int
    thread_root: EventId | None
    highlight: bool


class PushActionStore:
    """Rows are added with their event and never change."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers

    def add(
        self, txn: Transaction, room_nid: int, event_nid: int, thread_root: EventId | None, outcome: Outcome
    ) -> None:
        """Keep the exceptions of an event, in its own transaction."""
        personal = outcome.personal
        if not personal:
            return
        nids = self._identifiers.user_nids(txn, personal)
        txn.executemany(
            """
            INSERT INTO push_actions (user_nid, room_nid, event_nid, thread_root, notify, highlight)
            VALUES (%s, %s, %s, %s, %s, %s)""",
            [
                (nids[user_id], room_nid, event_nid, thread_root, actions.notify, actions.highlight)
                for user_id, actions in personal.items()
            ],
        )

    def withdraw(self, txn: Transaction, room_nid: int, user_id: UserId) -> None:
        """Forget what the event did to the user that made their membership what it is: another follows."""
        user_nid = self._identifiers.user_nid(txn, user_id)
        txn.execute(
            """
            DELETE FROM push_actions WHERE user_nid = %s AND room_nid = %s AND event_nid = (
                SELECT event_nid FROM memberships WHERE room_nid = %s AND user_nid = %s)""",
            (user_nid, room_nid, room_nid, user_nid),
        )

    def stays(self, txn: Transaction, user_nid: int, room_ids: Sequence[RoomId]) -> list[Stay]:
        """How the user stands in the rooms that exist."""
        found: list[Stay] = []
        for start in range(0, len(room_ids), MANY):
            some = room_ids[start : start + MANY]
            found += txn.all(
                Stay,
                f"""
                SELECT r.room_id, r.nid, r.tip, COALESCE(m.since_nid, 0)
                FROM rooms AS r LEFT JOIN memberships AS m ON m.room_nid = r.nid AND m.user_nid = %s
                WHERE r.room_id IN ({marks(some)})""",
                (user_nid, *some),
            )
        return found

    def thread_totals(
        self, txn: Transaction, user_nid: int, room_nid: int, event_nid: int, *, limit: int
    ) -> list[ThreadTotal]:
        """What the newest `limit` accepted events after `event_nid` come to by the predefined rules."""
        return txn.all(
            ThreadTotal,
            """
            SELECT thread_root, COUNT(*), SUM(CASE WHEN notify > 1 THEN 1 ELSE 0 END),
                   SUM(CASE WHEN sender_nid = %s THEN 1 ELSE 0 END)
            FROM (SELECT thread_root, notify, sender_nid FROM events
                  WHERE room_nid = %s AND nid > %s AND notify > 0 AND status = 0
                  ORDER BY nid DESC LIMIT %s) AS newest
            GROUP BY thread_root""",
            (user_nid, room_nid, event_nid, limit),
        )

    def defaults_after(
        self, txn: Transaction, room_nid: int, event_nid: int, *, limit: int
    ) -> list[DefaultAction]:
        """The newest `limit` accepted events after `event_nid` that notify by the predefined rules."""
        return txn.all(
            DefaultAction,
            """
            SELECT nid, sender_nid, thread_root, notify FROM events
            WHERE room_nid = %s AND nid > %s AND notify > 0 AND status = 0 ORDER BY nid DESC LIMIT %s""",
            (room_nid, event_nid, limit),
        )

    def personal_after(
        self, txn: Transaction, user_nid: int, room_nid: int, event_nid: int, *, limit: int
    ) -> list[PersonalAction]:
        """The newest `limit` exceptions for the user after `event_nid`, newest first."""
        return txn.all(
            _personal,
            """
            SELECT event_nid, thread_root, notify, highlight FROM push_actions
            WHERE user_nid = %s AND room_nid = %s AND event_nid > %s ORDER BY event_nid DESC LIMIT %s""",
            (user_nid, room_nid, event_nid, limit),
        )

    def notifications_before(
        self, txn: Transaction, user_nid: int, before: int, *, only_highlights: bool, limit: int
    ) -> list[Notification]:
        """The newest `limit` events before nid `before` that notified the user, newest first.

        By the predefined rules in rooms they are in; by name also elsewhere (invites).
        """
        found = self._personal_before(txn, user_nid, before, only_highlights=only_highlights, limit=limit)
        for room_nid, since_nid in self._joined_rooms(txn, user_nid):
            found += self._defaults_before(
                txn, user_nid, (room_nid, since_nid, before), only_highlights=only_highlights, limit=limit
            )
        return sorted(found, reverse=True)[:limit]

    def _joined_rooms(self, txn: Transaction, user_nid: int) -> Sequence[tuple[int, int]]:
        return txn.rows(
            "SELECT room_nid, since_nid FROM memberships WHERE user_nid = %s AND membership = 'join'",
            (user_nid,),
        )

    def _personal_before(
        self, txn: Transaction, user_nid: int, before: int, *, only_highlights: bool, limit: int
    ) -> list[Notification]:
        return txn.all(
            _notification,
            f"""
            SELECT event_nid, room_nid, thread_root, highlight FROM push_actions
            WHERE user_nid = %s AND event_nid < %s AND notify {"AND highlight" if only_highlights else ""}
            ORDER BY event_nid DESC LIMIT %s""",
            (user_nid, before, limit),
        )

    def _defaults_before(
        self,
        txn: Transaction,
        user_nid: int,
        span: tuple[int, int, int],
        *,
        only_highlights: bool,
        limit: int,
    ) -> list[Notification]:
        """In one room. `span`: the room's nid, and event nids after and before which to look."""
        return txn.all(
            _notification,
            f"""
            SELECT e.nid, e.room_nid, e.thread_root, e.notify > 1 FROM (
                SELECT nid, room_nid, thread_root, notify, sender_nid FROM events
                WHERE room_nid = %s AND nid > %s AND nid < %s AND notify > 0 AND status = 0
                ORDER BY nid DESC LIMIT {MOST_LOOKED_AT}) AS e
            WHERE e.sender_nid <> %s {"AND e.notify > 1" if only_highlights else ""}
                AND NOT EXISTS (
                    SELECT 1 FROM push_actions AS p
                    WHERE p.user_nid = %s AND p.room_nid = e.room_nid AND p.event_nid = e.nid)
            ORDER BY e.nid DESC LIMIT %s""",
            (*span, user_nid, user_nid, limit),
        )

    def room_ids(self, txn: Transaction, room_nids: Sequence[int]) -> dict[int, RoomId]:
        if not room_nids:
            return {}
        return dict(txn.rows(f"SELECT nid, room_id FROM rooms WHERE nid IN ({marks(room_nids)})", room_nids))


def _personal(
    event_nid: int, thread_root: EventId | None, notify: object, highlight: object
) -> PersonalAction:
    return PersonalAction(event_nid, thread_root, bool(notify), bool(highlight))


def _notification(
    event_nid: int, room_nid: int, thread_root: EventId | None, highlight: object
) -> Notification:
    return Notification(event_nid, room_nid, thread_root, bool(highlight))
