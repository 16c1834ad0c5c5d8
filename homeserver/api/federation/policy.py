"""What others ask of policy servers. This server is none.

https://spec.matrix.org/latest/server-server-api/#policy-servers
"""

from homeserver.http.request import Request
from homeserver.protocol.errors import Unrecognized
from homeserver.protocol.json_values import JsonObject


async def sign(services: object, request: Request) -> JsonObject:
    """POST /_matrix/policy/v1/sign: the specification's answer of a server that is no policy server."""
    request.json_object()
    raise Unrecognized("This server is no policy server")
