"""Which versions of the specification are served, and where the server is.

https://spec.matrix.org/latest/client-server-api/#server-discovery
"""

from typing import Protocol

from homeserver.http.request import Request
from homeserver.protocol.errors import NotFound
from homeserver.protocol.json_values import JsonObject
from homeserver.services.discovery import Discovery

SPEC_VERSIONS = tuple(f"v1.{minor}" for minor in range(1, 20))
"""A version stands here once what it added is served: clients choose between an old and a new way by it.

v1.11 is where media asks who is there; matrix-js-sdk 43 and Element Web begin at v1.1, and look at v1.4
(threads, private receipts) and v1.11. What no client takes from the version, but from the endpoint's answer,
does not hold a version back: end-to-end encryption, previews of links, third-party networks, and the login by
OAuth that came with v1.15, whose metadata a server without it answers with M_UNRECOGNIZED.
"""

UNSTABLE_FEATURES: dict[str, bool] = {
    "uk.tcpip.msc4133.stable": True,  # profile fields of any name, which came with v1.16
}


class _KnowsWhereItIs(Protocol):
    @property
    def discovery(self) -> Discovery: ...


async def supported_versions(services: object, request: Request) -> JsonObject:
    """GET /_matrix/client/versions"""
    return {"versions": SPEC_VERSIONS, "unstable_features": UNSTABLE_FEATURES}


async def well_known_client(services: _KnowsWhereItIs, request: Request) -> JsonObject:
    """GET /.well-known/matrix/client"""
    return services.discovery.for_clients()


async def well_known_policy_server(services: object, request: Request) -> JsonObject:
    """GET /.well-known/matrix/policy_server"""
    raise NotFound("This server is no policy server")


async def well_known_server(services: _KnowsWhereItIs, request: Request) -> JsonObject:
    """GET /.well-known/matrix/server"""
    return services.discovery.for_servers()


async def well_known_support(services: _KnowsWhereItIs, request: Request) -> JsonObject:
    """GET /.well-known/matrix/support"""
    return services.discovery.for_people()
