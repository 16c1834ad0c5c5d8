"""What other servers push: PUT /send.

https://spec.matrix.org/latest/server-server-api/#transactions
"""

from typing import Protocol

from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol import canonical_json
from homeserver.protocol.damaged_json import read_entries
from homeserver.protocol.errors import BadJson, NotJson
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.services.federation.traffic import Traffic

MAX_BODY = 12 * 1024 * 1024
"""Fifty events of 64 KiB, and as much again for a hundred EDUs."""


class HasTraffic(Protocol):
    @property
    def traffic(self) -> Traffic: ...


async def send(services: HasTraffic, request: Request, txn_id: str) -> RawJson:
    return RawJson(await services.traffic.inbox.take(ServerName(request.origin), txn_id, _body(request)))


async def pull(services: HasTraffic, request: Request) -> JsonObject:
    """Ours: the transactions after `v`, for a server that missed some. `known`: false when `v` is too old."""
    sent = await services.traffic.sent_after(ServerName(request.origin), request.query_required("v"))
    if sent is None:
        return {"known": False, "transactions": []}
    transactions: list[Json] = [{"txn_id": one.txn_id, "body": one.body} for one in sent]
    return {"known": True, "transactions": transactions}


def _body(request: Request) -> JsonObject:
    """Numbers of events in old rooms stay as they are; an entry that is not JSON as it should be is None."""
    try:
        value = canonical_json.decode(request.body)
    except NotJson:
        return read_entries(request.body, ("pdus", "edus"))
    if not isinstance(value, dict):
        raise BadJson("A transaction is a JSON object")
    return value
