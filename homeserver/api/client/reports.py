"""Reporting events, rooms and people to the operators.

https://spec.matrix.org/latest/client-server-api/#reporting-content
"""

from typing import Protocol

import msgspec

from homeserver.http.request import Request
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.reports import Reports


class HasReports(Protocol):
    @property
    def reports(self) -> Reports: ...


class EventReport(msgspec.Struct):
    reason: str = ""


class Report(msgspec.Struct):
    reason: str


async def report_event(
    services: HasReports, request: Request, room_id: RoomId, event_id: EventId
) -> JsonObject:
    reason = request.json(EventReport, allow_empty=True).reason
    await services.reports.report_event(request.requester, room_id, event_id, reason)
    return {}


async def report_room(services: HasReports, request: Request, room_id: RoomId) -> JsonObject:
    await services.reports.report_room(request.requester, room_id, request.json(Report).reason)
    return {}


async def report_user(services: HasReports, request: Request, user_id: UserId) -> JsonObject:
    await services.reports.report_user(request.requester, user_id, request.json(Report).reason)
    return {}
