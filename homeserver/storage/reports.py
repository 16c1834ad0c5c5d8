"""What users reported to the operators."""

from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Transaction


class NewReport(NamedTuple):
    """About an event (with its room, its sender, and its JSON as the reporter saw it), a room, or a user."""

    received_ms: int
    reporter_id: UserId
    reason: str
    room_id: RoomId | None = None
    event_id: EventId | None = None
    user_id: UserId | None = None
    event: bytes | None = None


class Report(NamedTuple):
    """A report under the number that it got."""

    report_id: int
    received_ms: int
    reporter_id: UserId
    reason: str
    room_id: RoomId | None
    event_id: EventId | None
    user_id: UserId | None
    event: bytes | None


class ReportChoice(NamedTuple):
    """Which reports: about a room or anything in it, about a user or what they sent, by whom. None: any."""

    room_id: str | None = None
    user_id: str | None = None
    reporter_id: str | None = None


_COLUMNS = "report_id, received_ms, reporter_id, reason, room_id, event_id, user_id, event"


class ReportStore:
    def add(self, txn: Transaction, report: NewReport, *, most: int) -> int:
        """Keep it instead of what the reporter said of the same thing before; its number.

        Of one reporter's reports the newest `most` stay.
        """
        txn.execute(
            """
            DELETE FROM reports WHERE reporter_id = %s AND COALESCE(room_id, '') = %s
              AND COALESCE(event_id, '') = %s AND COALESCE(user_id, '') = %s""",
            (report.reporter_id, report.room_id or "", report.event_id or "", report.user_id or ""),
        )
        number = txn.value(
            """
            INSERT INTO reports (received_ms, reporter_id, reason, room_id, event_id, user_id, event)
            VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING report_id""",
            report,
        )
        txn.execute(
            """
            DELETE FROM reports WHERE reporter_id = %s AND report_id <= (
                SELECT report_id FROM reports WHERE reporter_id = %s
                ORDER BY report_id DESC LIMIT 1 OFFSET %s)""",
            (report.reporter_id, report.reporter_id, most),
        )
        return int(number)

    def page(self, txn: Transaction, choice: ReportChoice, *, before: int | None, limit: int) -> list[Report]:
        """The newest first, from the one before `before` on."""
        wanted = {"room_id": choice.room_id, "user_id": choice.user_id, "reporter_id": choice.reporter_id}
        conditions = [f"{column} = %s" for column, value in wanted.items() if value is not None]
        values: list[object] = [value for value in wanted.values() if value is not None]
        if before is not None:
            conditions.append("report_id < %s")
            values.append(before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return txn.all(
            Report,
            f"""
            SELECT {_COLUMNS} FROM reports {where}
            ORDER BY report_id DESC LIMIT %s""",
            (*values, limit),
        )

    def get(self, txn: Transaction, report_id: int) -> Report | None:
        return txn.one(Report, f"SELECT {_COLUMNS} FROM reports WHERE report_id = %s", (report_id,))

    def remove(self, txn: Transaction, report_id: int) -> bool:
        """Was there one?"""
        return txn.execute("DELETE FROM reports WHERE report_id = %s", (report_id,)) > 0
