"""Every endpoint of the server-server API, in the specification's order, one tuple per module.

`tests/spec` holds this table against the specification: method, spelling, authentication, rate limit.
Requests are counted for each server that signs them (`federation_requests`), wherever they go.
"""

from homeserver.api.federation import keys
from homeserver.http.routing import Auth, Route

KEY_V2 = "/_matrix/key/v2"
V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"

SERVER = (Route("GET", f"{V1}/version", keys.server_version, Auth.NONE),)
KEYS = (
    Route("GET", f"{KEY_V2}/server", keys.own_keys, Auth.NONE),
    Route("POST", f"{KEY_V2}/query", keys.keys_of_servers, Auth.NONE, limited="notary_queries"),
    Route(
        "GET", f"{KEY_V2}/query/{{serverName}}", keys.keys_of_server, Auth.NONE, limited="notary_queries"
    ),
)
# In the specification's order: transactions, events (event auth, backfill, state, timestamp_to_event), rooms
# (joins, knocks, invites, leaves), queries (public rooms, spaces, profiles, devices, keys, openid), media.
ROUTES: tuple[Route, ...] = (
    *SERVER,
    *KEYS,
)
