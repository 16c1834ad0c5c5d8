"""Reports: what users tell the operators about events, rooms and people.

Rooms and people may be reported by anybody, whether this server knows them or not: the answer tells nobody
what there is. https://spec.matrix.org/latest/client-server-api/#reporting-content
"""

import logging

from homeserver.protocol.errors import NotFound, TooLarge
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.requester import Requester
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.services.rooms import RoomServices
from homeserver.services.rooms.access import NotInRoom, joined_room
from homeserver.storage.reports import NewReport, Report, ReportChoice, ReportStore

MAX_REASON_BYTES = 8_192
MOST_OF_REPORTER = 500

logger = logging.getLogger(__name__)


class Reports:
    """Takes reports, and shows them to operators."""

    def __init__(self, database: Database, store: ReportStore, rooms: RoomServices, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._rooms = rooms
        self._clock = clock

    async def report_event(
        self, requester: Requester, room_id: RoomId, event_id: EventId, reason: str
    ) -> None:
        """One that the user can see, in a room that they are in. Raises NotFound, TooLarge."""
        try:
            await joined_room(self._rooms.rooms, room_id, requester.user_id)
            event = await self._rooms.history.event(requester.user_id, room_id, event_id)
        except (NotInRoom, NotFound):
            raise NotFound("There is no such event, or you are not in its room") from None
        seen = event.client_json(self._clock.now_ms())
        await self._keep(self._new(requester, reason)._replace(
            room_id=room_id, event_id=event_id, user_id=event.sender, event=seen
        ))  # fmt: skip

    async def report_room(self, requester: Requester, room_id: RoomId, reason: str) -> None:
        """Raises TooLarge."""
        await self._keep(self._new(requester, reason)._replace(room_id=room_id))

    async def report_user(self, requester: Requester, user_id: UserId, reason: str) -> None:
        """Raises TooLarge."""
        await self._keep(self._new(requester, reason)._replace(user_id=user_id))

    async def page(self, choice: ReportChoice, *, before: int | None, limit: int) -> list[Report]:
        """For operators: the newest first, from the one before `before` on."""
        return await self._database.read(self._store.page, choice, before=before, limit=limit)

    async def get(self, report_id: int) -> Report:
        """Raises NotFound."""
        report = await self._database.read(self._store.get, report_id)
        if report is None:
            raise NotFound(f"There is no report {report_id}")
        return report

    async def remove(self, report_id: int) -> None:
        """Raises NotFound."""
        if not await self._database.write(self._store.remove, report_id):
            raise NotFound(f"There is no report {report_id}")

    def _new(self, requester: Requester, reason: str) -> NewReport:
        reason = reason.replace("\0", "\N{REPLACEMENT CHARACTER}")  # which PostgreSQL cannot keep
        if len(reason.encode()) > MAX_REASON_BYTES:
            raise TooLarge(f"A reason is at most {MAX_REASON_BYTES} bytes")
        return NewReport(self._clock.now_ms(), requester.user_id, reason)

    async def _keep(self, report: NewReport) -> None:
        number = await self._database.write(self._store.add, report, most=MOST_OF_REPORTER)
        about = report.event_id or report.room_id or report.user_id
        logger.info("%s reported %s to you: see report %d", report.reporter_id, about, number)
