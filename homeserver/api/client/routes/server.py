"""Where the server is, what it can do, and what its administrators may."""

from homeserver.api.client import account, server_administration, versions
from homeserver.api.client.routes.prefixes import V1, V3
from homeserver.http.routing import Auth, Route

SERVER_DISCOVERY = (
    Route("GET", "/.well-known/matrix/client", versions.well_known_client, Auth.NONE),
    Route("GET", "/.well-known/matrix/policy_server", versions.well_known_policy_server, Auth.NONE),
    Route("GET", "/.well-known/matrix/server", versions.well_known_server, Auth.NONE),
    Route("GET", "/.well-known/matrix/support", versions.well_known_support, Auth.NONE),
    Route("GET", "/_matrix/client/versions", versions.supported_versions, Auth.OPTIONAL),
)
SERVER_ADMINISTRATION = (
    Route("GET", f"{V3}/admin/whois/{{userId}}", server_administration.who_is, Auth.USER),
    Route("GET", f"{V1}/admin/suspend/{{userId}}", server_administration.is_suspended, Auth.ADMIN),
    Route("PUT", f"{V1}/admin/suspend/{{userId}}", server_administration.suspend, Auth.ADMIN),
    Route("GET", f"{V1}/admin/lock/{{userId}}", server_administration.is_locked, Auth.ADMIN),
    Route("PUT", f"{V1}/admin/lock/{{userId}}", server_administration.lock, Auth.ADMIN),
)
CAPABILITIES = (Route("GET", f"{V3}/capabilities", account.capabilities, Auth.USER, for_guests=True),)
