"""Endpoints for administrators: our own, and those of Synapse that its tools need."""

from homeserver.api.admin import shared_secret
from homeserver.http.routing import Auth, Route

SYNAPSE = "/_synapse/admin"

ROUTES: tuple[Route, ...] = (
    Route("GET", f"{SYNAPSE}/v1/register", shared_secret.nonce, Auth.NONE),
    Route(
        "POST", f"{SYNAPSE}/v1/register", shared_secret.register, Auth.NONE, limited="registration_requests"
    ),
)
