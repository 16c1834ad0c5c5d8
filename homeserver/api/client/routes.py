"""Every endpoint of the client-server API, in the specification's order, one tuple per module.

`tests/spec` holds this table against the specification: method, spelling, authentication, rate limit.
Parameters are passed to the endpoint by position, in path order.
"""

from homeserver.api.client import media, versions
from homeserver.http.routing import Auth, Route

V1 = "/_matrix/client/v1"
V3 = "/_matrix/client/v3"
MEDIA_V1 = "/_matrix/media/v1"
MEDIA_V3 = "/_matrix/media/v3"

SERVER_DISCOVERY = (
    Route("GET", "/.well-known/matrix/client", versions.well_known_client, Auth.NONE),
    Route("GET", "/.well-known/matrix/server", versions.well_known_server, Auth.NONE),
    Route("GET", "/.well-known/matrix/support", versions.well_known_support, Auth.NONE),
    Route("GET", "/_matrix/client/versions", versions.supported_versions, Auth.OPTIONAL),
)
ACCOUNT: tuple[Route, ...] = ()
LOGIN: tuple[Route, ...] = ()
CAPABILITIES: tuple[Route, ...] = ()
FILTERS: tuple[Route, ...] = ()
SYNC: tuple[Route, ...] = ()
ROOM_EVENTS: tuple[Route, ...] = ()
ROOMS: tuple[Route, ...] = ()
MEMBERSHIP: tuple[Route, ...] = ()
DIRECTORY: tuple[Route, ...] = ()
PROFILES: tuple[Route, ...] = ()
DEVICES: tuple[Route, ...] = ()
TYPING_NOTIFICATIONS: tuple[Route, ...] = ()
RECEIPTS: tuple[Route, ...] = ()
PRESENCE: tuple[Route, ...] = ()
ACCOUNT_DATA: tuple[Route, ...] = ()
PUSH: tuple[Route, ...] = ()
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
    *CAPABILITIES,
    *FILTERS,
    *SYNC,
    *ROOM_EVENTS,
    *ROOMS,
    *MEMBERSHIP,
    *DIRECTORY,
    *PROFILES,
    *DEVICES,
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
