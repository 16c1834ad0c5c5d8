"""Is the server there? For load balancers, service managers and impatient people."""

from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.protocol.json_values import JsonObject


async def health(services: object, request: Request) -> JsonObject:
    """GET /health: answers while the process answers at all; asks neither database nor anybody else."""
    return {"status": "ok"}


ROUTES = (Route("GET", "/health", health, Auth.NONE),)
