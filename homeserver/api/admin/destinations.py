"""How sending to other servers goes, and what an operator can do about it. Our own endpoints."""

from typing import Protocol

import msgspec

from homeserver.http.request import Request
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.services.federation.destinations import DestinationView
from homeserver.services.federation.traffic import Traffic

MOST_LISTED = 500


class Block(msgspec.Struct):
    blocked: bool


class HasTraffic(Protocol):
    @property
    def traffic(self) -> Traffic: ...


async def listed(services: HasTraffic, request: Request) -> JsonObject:
    """By name. `from`: the `next` of the page before; `trouble=true`: only who fails or is blocked."""
    limit = request.query_int("limit", 100, minimum=1, maximum=MOST_LISTED)
    views = await services.traffic.destinations.page(
        after=request.query_one("from") or "", limit=limit, in_trouble=request.query_bool("trouble")
    )
    shown: list[Json] = [_shown(services, view) for view in views]
    answer: JsonObject = {"destinations": shown}
    return {**answer, "next": views[-1].row.server} if len(views) == limit else answer


async def one(services: HasTraffic, request: Request, server_name: str) -> JsonObject:
    return _shown(services, await services.traffic.destinations.get(ServerName(server_name)))


async def reset(services: HasTraffic, request: Request, server_name: str) -> JsonObject:
    """Forget the failures and try at once."""
    await services.traffic.destinations.reset(ServerName(server_name))
    return {}


async def block(services: HasTraffic, request: Request, server_name: str) -> JsonObject:
    """Send it nothing until it is unblocked: then it gets what a server gets that was away."""
    body = request.json(Block)
    await services.traffic.destinations.block(ServerName(server_name), is_blocked=body.blocked)
    return {}


def _shown(services: HasTraffic, view: DestinationView) -> JsonObject:
    row = view.row
    return {
        "destination": row.server,
        "blocked": row.is_blocked,
        "waiting_events": view.waiting_events,
        "waiting_edus": view.waiting_edus,
        "incoming_events": services.traffic.intake.waiting_of(row.server).events,
        "last_success_ts": row.last_success_ms,
        "last_failure_ts": row.last_failure_ms,
        "failing_since_ts": row.failing_since_ms,
        "failures": row.failures,
        "retry_ts": row.retry_at_ms or None,
        "last_error": row.last_error,
    }
