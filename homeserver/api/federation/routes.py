"""Every endpoint of the server-server API, in the specification's order, one tuple per module.

`tests/spec` holds this table against the specification: method, spelling, authentication, rate limit.
Requests are counted for each server that signs them (`federation_requests`), wherever they go.
"""

from homeserver.api.federation import events, keys, media, policy, queries, rooms, transactions
from homeserver.http.routing import Auth, Route

KEY_V2 = "/_matrix/key/v2"
V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"
MAX_INVITE = 4 * 1024 * 1024
"""An invite comes with the events that describe its room: stripped by some, whole by others."""

SERVER = (Route("GET", f"{V1}/version", keys.server_version, Auth.NONE),)
KEYS = (
    Route("GET", f"{KEY_V2}/server", keys.own_keys, Auth.NONE),
    Route("POST", f"{KEY_V2}/query", keys.keys_of_servers, Auth.NONE, limited="notary_queries"),
    Route("GET", f"{KEY_V2}/query/{{serverName}}", keys.keys_of_server, Auth.NONE, limited="notary_queries"),
)
TRANSACTIONS = (
    Route("PUT", f"{V1}/send/{{txnId}}", transactions.send, Auth.FEDERATION, max_body=transactions.MAX_BODY),
)
EVENTS = (
    Route("GET", f"{V1}/event_auth/{{roomId}}/{{eventId}}", events.event_auth, Auth.FEDERATION),
    Route("GET", f"{V1}/backfill/{{roomId}}", events.backfill, Auth.FEDERATION),
    Route("POST", f"{V1}/get_missing_events/{{roomId}}", events.missing_events, Auth.FEDERATION),
    Route("GET", f"{V1}/state/{{roomId}}", events.state, Auth.FEDERATION),
    Route("GET", f"{V1}/state_ids/{{roomId}}", events.state_ids, Auth.FEDERATION),
    Route("GET", f"{V1}/event/{{eventId}}", events.event, Auth.FEDERATION),
    Route("GET", f"{V1}/timestamp_to_event/{{roomId}}", events.timestamp_to_event, Auth.FEDERATION),
)
MAKE_JOIN = f"{V1}/make_join/{{roomId}}/{{userId}}"
MAKE_KNOCK = f"{V1}/make_knock/{{roomId}}/{{userId}}"
MAKE_LEAVE = f"{V1}/make_leave/{{roomId}}/{{userId}}"
EXCHANGE = f"{V1}/exchange_third_party_invite/{{roomId}}"
ROOMS = (
    Route("GET", MAKE_JOIN, rooms.make_join, Auth.FEDERATION),
    Route("PUT", f"{V2}/send_join/{{roomId}}/{{eventId}}", rooms.send_join, Auth.FEDERATION),
    Route("GET", MAKE_KNOCK, rooms.make_knock, Auth.FEDERATION),
    Route("PUT", f"{V1}/send_knock/{{roomId}}/{{eventId}}", rooms.send_knock, Auth.FEDERATION),
    Route(
        "PUT", f"{V1}/invite/{{roomId}}/{{eventId}}", rooms.invite_v1, Auth.FEDERATION, max_body=MAX_INVITE
    ),
    Route("PUT", f"{V2}/invite/{{roomId}}/{{eventId}}", rooms.invite, Auth.FEDERATION, max_body=MAX_INVITE),
    Route("GET", MAKE_LEAVE, rooms.make_leave, Auth.FEDERATION),
    Route("PUT", f"{V2}/send_leave/{{roomId}}/{{eventId}}", rooms.send_leave, Auth.FEDERATION),
    Route("PUT", EXCHANGE, rooms.exchange_third_party_invite, Auth.FEDERATION),
    Route("PUT", f"{V1}/3pid/onbind", rooms.on_bind, Auth.NONE, limited="third_party_bindings"),
)
QUERIES = (
    Route("GET", f"{V1}/publicRooms", queries.public_rooms, Auth.FEDERATION),
    Route("POST", f"{V1}/publicRooms", queries.search_public_rooms, Auth.FEDERATION),
    Route("GET", f"{V1}/hierarchy/{{roomId}}", queries.hierarchy, Auth.FEDERATION),
    Route("GET", f"{V1}/query/directory", queries.directory, Auth.FEDERATION),
    Route("GET", f"{V1}/query/profile", queries.profile, Auth.FEDERATION),
    Route("GET", f"{V1}/query/{{queryType}}", queries.query, Auth.FEDERATION),
    Route("GET", f"{V1}/openid/userinfo", queries.openid_userinfo, Auth.NONE),
    Route("GET", f"{V1}/user/devices/{{userId}}", queries.devices, Auth.FEDERATION),
    Route("POST", f"{V1}/user/keys/claim", queries.claim_keys, Auth.FEDERATION),
    Route("POST", f"{V1}/user/keys/query", queries.query_keys, Auth.FEDERATION),
)
MEDIA = (
    Route("GET", f"{V1}/media/download/{{mediaId}}", media.download, Auth.FEDERATION, limited="downloads"),
    Route("GET", f"{V1}/media/thumbnail/{{mediaId}}", media.thumbnail, Auth.FEDERATION, limited="downloads"),
)
SIGN = "/_matrix/policy/v1/sign"
POLICY = (Route("POST", SIGN, policy.sign, Auth.FEDERATION, limited="federation_requests"),)
ROUTES: tuple[Route, ...] = (
    *SERVER,
    *KEYS,
    *TRANSACTIONS,
    *EVENTS,
    *ROOMS,
    *QUERIES,
    *MEDIA,
    *POLICY,
)

OWN_ROUTES = (
    # The prose of the identity service API says POST, and identity servers do.
    Route("POST", f"{V1}/3pid/onbind", rooms.on_bind, Auth.NONE, limited="third_party_bindings"),
    Route("GET", "/_postroom/federation/v1/pull", transactions.pull, Auth.FEDERATION),
)
"""What the table of the specification lacks; the last is what only Postrooms ask one another."""
