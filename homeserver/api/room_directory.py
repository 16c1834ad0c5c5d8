"""Pages of the room directory, as clients and other servers ask for them, and how both get them.

https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3publicrooms
https://spec.matrix.org/latest/server-server-api/#post_matrixfederationv1publicrooms
"""

import msgspec

from homeserver.http.request import Request
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.directory import DirectoryPage, DirectoryQuery


class DirectoryFilter(msgspec.Struct):
    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class DirectorySearch(msgspec.Struct):
    """There are no third-party networks here: which of them are meant makes no difference."""

    limit: int | None = None
    since: str | None = None
    filter: DirectoryFilter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


def listing_query(request: Request) -> DirectoryQuery:
    """Of a GET."""
    limit = request.query_int("limit", 0, minimum=0) or None
    return DirectoryQuery(limit=limit, since=request.query_one("since"))


def search_query(request: Request) -> DirectoryQuery:
    """Of a POST."""
    body = request.json(DirectorySearch, allow_empty=True)
    filter_ = body.filter or DirectoryFilter()
    types = None if filter_.room_types is None else tuple(filter_.room_types)
    return DirectoryQuery(body.limit, body.since, filter_.generic_search_term, types)


def shown(page: DirectoryPage) -> JsonObject:
    """The answer to both."""
    found: JsonObject = {"chunk": page.chunk, "total_room_count_estimate": page.total}
    if page.next_batch is not None:
        found["next_batch"] = page.next_batch
    if page.prev_batch is not None:
        found["prev_batch"] = page.prev_batch
    return found
