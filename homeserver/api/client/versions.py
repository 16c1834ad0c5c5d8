"""Which versions of the specification are served, and where the server is.

https://spec.matrix.org/latest/client-server-api/#server-discovery
"""

from typing import Protocol

from homeserver.http.request import Request
from homeserver.protocol.json_values import JsonObject
from homeserver.services.discovery import Discovery

SPEC_VERSIONS = tuple(f"v1.{minor}" for minor in range(1, 13))
"""A version stands here once everything in it is served that a client may rely on."""

UNSTABLE_FEATURES: dict[str, bool] = {}


class _KnowsWhereItIs(Protocol):
    @property
    def discovery(self) -> Discovery: ...


async def supported_versions(services: object, request: Request) -> JsonObject:
    """GET /_matrix/client/versions"""
    return {"versions": SPEC_VERSIONS, "unstable_features": UNSTABLE_FEATURES}


async def well_known_client(services: _KnowsWhereItIs, request: Request) -> JsonObject:
    """GET /.well-known/matrix/client"""
    return services.discovery.for_clients()


async def well_known_server(services: _KnowsWhereItIs, request: Request) -> JsonObject:
    """GET /.well-known/matrix/server"""
    return services.discovery.for_servers()


async def well_known_support(services: _KnowsWhereItIs, request: Request) -> JsonObject:
    """GET /.well-known/matrix/support"""
    return services.discovery.for_people()
