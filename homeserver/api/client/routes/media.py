"""Pictures and other files."""

from homeserver.api.client import media
from homeserver.api.client.routes.prefixes import MEDIA_V1, MEDIA_V3, V1
from homeserver.http.routing import Auth, Route

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
