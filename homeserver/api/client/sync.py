"""/sync.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync
"""

from typing import Protocol

import orjson

from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.filters import PASS_ALL, Filter, parse_filter
from homeserver.protocol.ids import UserId
from homeserver.protocol.presence import PresenceState
from homeserver.protocol.stream_position import parse_sync_token
from homeserver.services.filters import Filters
from homeserver.services.sync.query import SyncQuery
from homeserver.services.sync.sync import Sync

LONGEST_TIMEOUT_MS = 3_600_000
_PRESENCE = {
    state.value: state for state in (PresenceState.ONLINE, PresenceState.UNAVAILABLE, PresenceState.OFFLINE)
}


class HasSync(Protocol):
    @property
    def sync(self) -> Sync: ...

    @property
    def filters(self) -> Filters: ...


async def sync(services: HasSync, request: Request) -> RawJson:
    requester = request.requester
    since = request.query_one("since")
    presence = request.query_one("set_presence")
    if presence is not None and presence not in _PRESENCE:
        raise InvalidParam(f"set_presence is one of {', '.join(_PRESENCE)}")
    filter_text = request.query_one("filter")
    query = SyncQuery(
        requester.user_id,
        requester.device_id,
        since=parse_sync_token(since) if since else 0,
        filter=await _filter(services, requester.user_id, filter_text) if filter_text else PASS_ALL,
        full_state=request.query_bool("full_state"),
        use_state_after=request.query_bool("use_state_after"),
    )
    timeout_ms = request.query_int("timeout", 0, minimum=0, maximum=LONGEST_TIMEOUT_MS)
    state = _PRESENCE[presence] if presence else None
    return RawJson(await services.sync.sync(query, timeout_ms=timeout_ms, presence=state))


async def _filter(services: HasSync, user_id: UserId, text: str) -> Filter:
    """A filter's id, or the filter itself."""
    if not text.lstrip().startswith("{"):
        return services.filters.remembered(user_id, text) or await services.filters.get(user_id, text)
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise InvalidParam(f"filter is neither a filter's id nor JSON: {error}") from None
    return parse_filter(value)
