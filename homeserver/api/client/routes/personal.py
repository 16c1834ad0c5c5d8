"""What people tell one another in passing, and what they keep for themselves."""

from homeserver.api.client import account_data, presence, push, receipts, typing_notifications
from homeserver.api.client.routes.prefixes import V3
from homeserver.http.routing import Auth, Route

TYPING_NOTIFICATIONS = (
    Route(
        "PUT",
        f"{V3}/rooms/{{roomId}}/typing/{{userId}}",
        typing_notifications.set_typing,
        Auth.USER,
        limited="typing_notifications",
    ),
)
RECEIPTS = (
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/receipt/{{receiptType}}/{{eventId}}",
        receipts.send,
        Auth.USER,
        limited="receipts",
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/read_markers",
        receipts.set_read_markers,
        Auth.USER,
        limited="receipts",
    ),
)
PRESENCE = (
    Route("GET", f"{V3}/presence/{{userId}}/status", presence.get, Auth.USER),
    Route("PUT", f"{V3}/presence/{{userId}}/status", presence.put, Auth.USER, limited="presence"),
)
_ACCOUNT_DATA = f"{V3}/user/{{userId}}/account_data/{{type}}"
_ROOM_ACCOUNT_DATA = f"{V3}/user/{{userId}}/rooms/{{roomId}}/account_data/{{type}}"
_TAGS = f"{V3}/user/{{userId}}/rooms/{{roomId}}/tags"
ACCOUNT_DATA = (
    Route("GET", _ACCOUNT_DATA, account_data.get, Auth.USER),
    Route("PUT", _ACCOUNT_DATA, account_data.put, Auth.USER, limited="personal_settings"),
    Route("GET", _ROOM_ACCOUNT_DATA, account_data.get_of_room, Auth.USER),
    Route("PUT", _ROOM_ACCOUNT_DATA, account_data.put_of_room, Auth.USER, limited="personal_settings"),
    Route("GET", _TAGS, account_data.tags, Auth.USER),
    Route("PUT", f"{_TAGS}/{{tag}}", account_data.put_tag, Auth.USER, limited="personal_settings"),
    Route("DELETE", f"{_TAGS}/{{tag}}", account_data.delete_tag, Auth.USER, limited="personal_settings"),
)
_PUSH_RULE = f"{V3}/pushrules/global/{{kind}}/{{ruleId}}"
PUSH = (
    Route("GET", f"{V3}/pushers", push.get_pushers, Auth.USER),
    Route("POST", f"{V3}/pushers/set", push.set_pusher, Auth.USER, limited="push_rules"),
    Route("GET", f"{V3}/notifications", push.notifications, Auth.USER),
    Route("GET", f"{V3}/pushrules/", push.all_rules, Auth.USER),
    Route("GET", f"{V3}/pushrules/global/", push.global_rules, Auth.USER),
    Route("GET", _PUSH_RULE, push.get_rule, Auth.USER),
    Route("PUT", _PUSH_RULE, push.put_rule, Auth.USER, limited="push_rules"),
    Route("DELETE", _PUSH_RULE, push.delete_rule, Auth.USER, limited="push_rules"),
    Route("GET", f"{_PUSH_RULE}/enabled", push.get_enabled, Auth.USER),
    Route("PUT", f"{_PUSH_RULE}/enabled", push.put_enabled, Auth.USER, limited="push_rules"),
    Route("GET", f"{_PUSH_RULE}/actions", push.get_actions, Auth.USER),
    Route("PUT", f"{_PUSH_RULE}/actions", push.put_actions, Auth.USER, limited="push_rules"),
)
