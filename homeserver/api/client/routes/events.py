"""Events: filters, syncing, reading and sending them, and what relates to them."""

from homeserver.api.client import events, filters, relations, sync
from homeserver.api.client.routes.prefixes import V1, V3
from homeserver.http.routing import Auth, Route

FILTERS = (
    Route("POST", f"{V3}/user/{{userId}}/filter", filters.upload, Auth.USER, limited="personal_settings"),
    Route("GET", f"{V3}/user/{{userId}}/filter/{{filterId}}", filters.get, Auth.USER),
)
SYNC = (Route("GET", f"{V3}/sync", sync.sync, Auth.USER, long_poll=True, for_guests=True),)
ROOM_EVENTS = (
    Route("GET", f"{V3}/rooms/{{roomId}}/event/{{eventId}}", events.event, Auth.USER, for_guests=True),
    Route("GET", f"{V3}/rooms/{{roomId}}/joined_members", events.joined_members, Auth.USER),
    Route("GET", f"{V3}/rooms/{{roomId}}/members", events.members, Auth.USER, for_guests=True),
    Route("GET", f"{V3}/rooms/{{roomId}}/state", events.state, Auth.USER, for_guests=True),
    Route(
        "GET",
        f"{V3}/rooms/{{roomId}}/state/{{eventType}}/{{stateKey}}",
        events.state_event,
        Auth.USER,
        optional_last=True,
        for_guests=True,
    ),
    Route("GET", f"{V3}/rooms/{{roomId}}/messages", events.messages, Auth.USER, for_guests=True),
    Route("GET", f"{V1}/rooms/{{roomId}}/timestamp_to_event", events.timestamp_to_event, Auth.USER),
    Route("GET", f"{V3}/rooms/{{roomId}}/context/{{eventId}}", events.context, Auth.USER, for_guests=True),
    Route(
        "PUT",
        f"{V3}/rooms/{{roomId}}/state/{{eventType}}/{{stateKey}}",
        events.put_state,
        Auth.USER,
        limited="messages",
        optional_last=True,
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "PUT",
        f"{V3}/rooms/{{roomId}}/send/{{eventType}}/{{txnId}}",
        events.send,
        Auth.USER,
        limited="messages",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "PUT",
        f"{V3}/rooms/{{roomId}}/redact/{{eventId}}/{{txnId}}",
        events.redact,
        Auth.USER,
        limited="messages",
    ),
)
_CHILDREN = f"{V1}/rooms/{{roomId}}/relations/{{eventId}}"
RELATIONS = (
    Route("GET", _CHILDREN, relations.children, Auth.USER, for_guests=True),
    Route("GET", f"{_CHILDREN}/{{relType}}", relations.children_related_by, Auth.USER, for_guests=True),
    Route(
        "GET",
        f"{_CHILDREN}/{{relType}}/{{eventType}}",
        relations.children_of_type,
        Auth.USER,
        for_guests=True,
    ),
    Route(
        "GET",
        f"{V1}/rooms/{{roomId}}/threads",
        relations.threads,
        Auth.USER,
        limited="thread_lists",
        for_guests=True,
    ),
)
