"""What users reported, for operators. Our own endpoints."""

import orjson

from homeserver.api.client.reports import HasReports
from homeserver.http.request import Request
from homeserver.protocol.errors import NotFound
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.storage.reports import Report, ReportChoice

MOST_LISTED = 500
MAX_DIGITS = 18


async def listed(services: HasReports, request: Request) -> JsonObject:
    """The newest first. `from`: the `next` of the page before; `room`, `user`, `reporter`: only those."""
    limit = request.query_int("limit", 100, minimum=1, maximum=MOST_LISTED)
    start = request.query_int("from", 0, minimum=0, maximum=10**MAX_DIGITS)
    choice = ReportChoice(*(request.query_one(name) for name in ("room", "user", "reporter")))
    found = await services.reports.page(choice, before=start or None, limit=limit)
    shown: list[Json] = [_shown(report) for report in found]
    answer: JsonObject = {"reports": shown}
    return {**answer, "next": found[-1].report_id} if len(found) == limit else answer


async def one(services: HasReports, request: Request, report_id: str) -> JsonObject:
    """With the event as the reporter saw it."""
    report = await services.reports.get(_number(report_id))
    event: Json = None if report.event is None else orjson.loads(report.event)
    return _shown(report) | ({} if event is None else {"event": event})


async def delete(services: HasReports, request: Request, report_id: str) -> JsonObject:
    """It was dealt with."""
    await services.reports.remove(_number(report_id))
    return {}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise NotFound(f"There is no report {text[:100]}")
    return int(text)


def _shown(report: Report) -> JsonObject:
    """`user_id` is who is reported: of an event, its sender."""
    shown: JsonObject = {
        "id": report.report_id,
        "received_ts": report.received_ms,
        "reporter": report.reporter_id,
        "reason": report.reason,
    }
    about: JsonObject = {
        "room_id": report.room_id,
        "event_id": report.event_id,
        "user_id": report.user_id,
    }
    return shown | {name: value for name, value in about.items() if value is not None}
