"""Endpoints for administrators: our own, and those of Synapse that its tools need."""

from homeserver.api.admin import destinations, reports, shared_secret
from homeserver.http.routing import Auth, Route

SYNAPSE = "/_synapse/admin"
OURS = "/_postroom/admin/v1"
DESTINATIONS = f"{OURS}/federation/destinations"
REPORTS = f"{OURS}/reports"

ROUTES: tuple[Route, ...] = (
    Route("GET", f"{SYNAPSE}/v1/register", shared_secret.nonce, Auth.NONE),
    Route(
        "POST", f"{SYNAPSE}/v1/register", shared_secret.register, Auth.NONE, limited="registration_requests"
    ),
    Route("GET", DESTINATIONS, destinations.listed, Auth.ADMIN),
    Route("GET", f"{DESTINATIONS}/{{serverName}}", destinations.one, Auth.ADMIN),
    Route("POST", f"{DESTINATIONS}/{{serverName}}/reset", destinations.reset, Auth.ADMIN),
    Route("PUT", f"{DESTINATIONS}/{{serverName}}/block", destinations.block, Auth.ADMIN),
    Route("GET", REPORTS, reports.listed, Auth.ADMIN),
    Route("GET", f"{REPORTS}/{{reportId}}", reports.one, Auth.ADMIN),
    Route("DELETE", f"{REPORTS}/{{reportId}}", reports.delete, Auth.ADMIN),
)
