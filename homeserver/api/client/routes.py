"""Every endpoint of the client-server API, in the specification's order, one tuple per module.

`tests/spec` holds this table against the specification: method, spelling, authentication, rate limit.
Parameters are passed to the endpoint by position, in path order.
"""

from homeserver.api.client import (
    account,
    account_data,
    devices,
    events,
    filters,
    login,
    media,
    membership,
    openid,
    presence,
    profiles,
    push,
    receipts,
    relations,
    rooms,
    server_administration,
    spaces,
    sync,
    typing_notifications,
    versions,
)
from homeserver.http.routing import Auth, Route

V1 = "/_matrix/client/v1"
V3 = "/_matrix/client/v3"
MEDIA_V1 = "/_matrix/media/v1"
MEDIA_V3 = "/_matrix/media/v3"

SERVER_DISCOVERY = (
    Route("GET", "/.well-known/matrix/client", versions.well_known_client, Auth.NONE),
    Route("GET", "/.well-known/matrix/policy_server", versions.well_known_policy_server, Auth.NONE),
    Route("GET", "/.well-known/matrix/server", versions.well_known_server, Auth.NONE),
    Route("GET", "/.well-known/matrix/support", versions.well_known_support, Auth.NONE),
    Route("GET", "/_matrix/client/versions", versions.supported_versions, Auth.OPTIONAL),
)
ACCOUNT = (
    Route("POST", f"{V3}/register", account.register, Auth.NONE, limited="registration_requests"),
    Route(
        "GET",
        f"{V3}/register/available",
        account.is_name_available,
        Auth.NONE,
        limited="registration_requests",
    ),
    Route(
        "GET",
        f"{V1}/register/m.login.registration_token/validity",
        account.is_registration_token_valid,
        Auth.NONE,
        limited="registration_token_checks",
    ),
    Route(
        "POST",
        f"{V3}/account/password",
        account.change_password,
        Auth.OPTIONAL,
        limited="account_changes",
    ),
    Route("POST", f"{V3}/account/deactivate", account.deactivate, Auth.OPTIONAL, limited="account_changes"),
    Route("GET", f"{V3}/account/3pid", account.third_party_ids, Auth.USER),
    Route("GET", f"{V3}/account/whoami", account.whoami, Auth.USER, for_guests=True),
)
LOGIN = (
    Route("GET", f"{V3}/login", login.flows, Auth.NONE),
    Route("POST", f"{V3}/login", login.log_in, Auth.NONE, limited="logins"),
    Route("POST", f"{V1}/login/get_token", login.login_token, Auth.USER, limited="account_changes"),
    Route("POST", f"{V3}/refresh", login.refresh, Auth.NONE, r0=False),
    Route("POST", f"{V3}/logout", login.log_out, Auth.USER, for_guests=True, for_locked=True),
    Route("POST", f"{V3}/logout/all", login.log_out_everywhere, Auth.USER, for_guests=True, for_locked=True),
)
SERVER_ADMINISTRATION = (
    Route("GET", f"{V3}/admin/whois/{{userId}}", server_administration.who_is, Auth.USER),
    Route("GET", f"{V1}/admin/suspend/{{userId}}", server_administration.is_suspended, Auth.ADMIN),
    Route("PUT", f"{V1}/admin/suspend/{{userId}}", server_administration.suspend, Auth.ADMIN),
    Route("GET", f"{V1}/admin/lock/{{userId}}", server_administration.is_locked, Auth.ADMIN),
    Route("PUT", f"{V1}/admin/lock/{{userId}}", server_administration.lock, Auth.ADMIN),
)
CAPABILITIES = (Route("GET", f"{V3}/capabilities", account.capabilities, Auth.USER, for_guests=True),)
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
ROOMS = (
    Route("POST", f"{V3}/createRoom", rooms.create, Auth.USER, limited="room_creations", for_suspended=False),
    Route("GET", f"{V3}/directory/room/{{roomAlias}}", rooms.alias, Auth.NONE),
    Route(
        "PUT",
        f"{V3}/directory/room/{{roomAlias}}",
        rooms.put_alias,
        Auth.USER,
        limited="messages",
        for_suspended=False,
    ),
    Route("DELETE", f"{V3}/directory/room/{{roomAlias}}", rooms.delete_alias, Auth.USER, limited="messages"),
    Route("GET", f"{V3}/rooms/{{roomId}}/aliases", rooms.room_aliases, Auth.USER),
)
MEMBERSHIP = (
    Route("GET", f"{V3}/joined_rooms", membership.joined_rooms, Auth.USER, for_guests=True),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/invite",
        membership.invite,
        Auth.USER,
        limited="invites",
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/join/{{roomIdOrAlias}}",
        membership.join,
        Auth.USER,
        limited="joins",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/join",
        membership.join_room,
        Auth.USER,
        limited="joins",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/knock/{{roomIdOrAlias}}",
        membership.knock,
        Auth.USER,
        limited="joins",
        for_suspended=False,
    ),
    Route(
        "POST", f"{V3}/rooms/{{roomId}}/forget", membership.forget, Auth.USER, limited="membership_changes"
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/leave",
        membership.leave,
        Auth.USER,
        limited="membership_changes",
        for_guests=True,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/kick",
        membership.kick,
        Auth.USER,
        limited="membership_changes",
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/ban",
        membership.ban,
        Auth.USER,
        limited="membership_changes",
        for_suspended=False,
    ),
    Route(
        "POST",
        f"{V3}/rooms/{{roomId}}/unban",
        membership.unban,
        Auth.USER,
        limited="membership_changes",
        for_suspended=False,
    ),
)
UPGRADES = (Route("POST", f"{V3}/rooms/{{roomId}}/upgrade", rooms.upgrade, Auth.USER, for_suspended=False),)
DIRECTORY = (
    Route("GET", f"{V3}/directory/list/room/{{roomId}}", rooms.visibility, Auth.NONE),
    Route(
        "PUT",
        f"{V3}/directory/list/room/{{roomId}}",
        rooms.put_visibility,
        Auth.USER,
        limited="messages",
        for_suspended=False,
    ),
    Route("GET", f"{V3}/publicRooms", rooms.public_rooms, Auth.NONE),
    Route("POST", f"{V3}/publicRooms", rooms.search_public_rooms, Auth.USER, for_guests=True),
)
SPACES = (
    Route(
        "GET",
        f"{V1}/room_summary/{{roomIdOrAlias}}",
        spaces.room_summary,
        Auth.OPTIONAL,
        limited="spaces",
        for_guests=True,
    ),
    Route(
        "GET",
        f"{V1}/rooms/{{roomId}}/hierarchy",
        spaces.hierarchy,
        Auth.USER,
        limited="spaces",
        for_guests=True,
    ),
)
PROFILES = (
    Route("GET", f"{V3}/profile/{{userId}}", profiles.profile, Auth.NONE),
    Route("GET", f"{V3}/profile/{{userId}}/{{keyName}}", profiles.field, Auth.NONE),
    Route(
        "PUT",
        f"{V3}/profile/{{userId}}/{{keyName}}",
        profiles.put_field,
        Auth.USER,
        limited="profile_changes",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "DELETE",
        f"{V3}/profile/{{userId}}/{{keyName}}",
        profiles.delete_field,
        Auth.USER,
        limited="profile_changes",
        for_guests=True,
        for_suspended=False,
    ),
)
DEVICES = (
    Route("GET", f"{V3}/devices", devices.devices, Auth.USER, for_guests=True),
    Route("GET", f"{V3}/devices/{{deviceId}}", devices.device, Auth.USER, for_guests=True),
    Route(
        "PUT",
        f"{V3}/devices/{{deviceId}}",
        devices.rename,
        Auth.USER,
        limited="personal_settings",
        for_guests=True,
    ),
    Route("DELETE", f"{V3}/devices/{{deviceId}}", devices.delete, Auth.USER),
    Route("POST", f"{V3}/delete_devices", devices.delete_many, Auth.USER),
)
OPENID = (
    Route(
        "POST",
        f"{V3}/user/{{userId}}/openid/request_token",
        openid.request_token,
        Auth.USER,
        limited="account_changes",
    ),
)
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
_MXC = "{serverName}/{mediaId}"
MEDIA = (
    Route("GET", f"{V1}/media/config", media.config, Auth.USER, for_guests=True),
    Route(
        "GET",
        f"{V1}/media/download/{_MXC}",
        media.download,
        Auth.USER,
        limited="downloads",
        for_guests=True,
    ),
    Route(
        "GET",
        f"{V1}/media/download/{_MXC}/{{fileName}}",
        media.download_as,
        Auth.USER,
        limited="downloads",
        for_guests=True,
    ),
    Route(
        "GET",
        f"{V1}/media/thumbnail/{_MXC}",
        media.thumbnail,
        Auth.USER,
        limited="downloads",
        for_guests=True,
    ),
    Route("POST", f"{MEDIA_V1}/create", media.create, Auth.USER, limited="uploads", for_suspended=False),
    Route("GET", f"{MEDIA_V3}/config", media.config, Auth.USER, for_guests=True),
    Route(
        "GET",
        f"{MEDIA_V3}/download/{_MXC}",
        media.unauthenticated_download,
        Auth.NONE,
        limited="downloads",
    ),
    Route(
        "GET",
        f"{MEDIA_V3}/download/{_MXC}/{{fileName}}",
        media.unauthenticated_download_as,
        Auth.NONE,
        limited="downloads",
    ),
    Route(
        "GET",
        f"{MEDIA_V3}/thumbnail/{_MXC}",
        media.unauthenticated_thumbnail,
        Auth.NONE,
        limited="downloads",
    ),
    Route(
        "POST",
        f"{MEDIA_V3}/upload",
        media.upload,
        Auth.USER,
        limited="uploads",
        body="stream",
        max_body=media.NO_LIMIT,
        for_suspended=False,
    ),
    Route(
        "PUT",
        f"{MEDIA_V3}/upload/{_MXC}",
        media.upload_to,
        Auth.USER,
        limited="uploads",
        body="stream",
        max_body=media.NO_LIMIT,
        for_suspended=False,
        r0=False,
    ),
)
REPORTS: tuple[Route, ...] = ()
SEARCH: tuple[Route, ...] = ()
THIRD_PARTY_NETWORKS: tuple[Route, ...] = ()
CALLS: tuple[Route, ...] = ()
TO_DEVICE: tuple[Route, ...] = ()
KEYS: tuple[Route, ...] = ()
KEY_BACKUPS: tuple[Route, ...] = ()

ROUTES: tuple[Route, ...] = (
    *SERVER_DISCOVERY,
    *ACCOUNT,
    *LOGIN,
    *SERVER_ADMINISTRATION,
    *CAPABILITIES,
    *FILTERS,
    *SYNC,
    *ROOM_EVENTS,
    *RELATIONS,
    *ROOMS,
    *MEMBERSHIP,
    *UPGRADES,
    *DIRECTORY,
    *SPACES,
    *PROFILES,
    *DEVICES,
    *OPENID,
    *TYPING_NOTIFICATIONS,
    *RECEIPTS,
    *PRESENCE,
    *ACCOUNT_DATA,
    *PUSH,
    *MEDIA,
    *REPORTS,
    *SEARCH,
    *THIRD_PARTY_NETWORKS,
    *CALLS,
    *TO_DEVICE,
    *KEYS,
    *KEY_BACKUPS,
)
