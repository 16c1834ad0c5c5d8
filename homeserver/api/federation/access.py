"""From an X-Matrix signature to the server that asks.

https://spec.matrix.org/latest/server-server-api/#request-authentication
"""

from collections.abc import Callable, Coroutine, Iterator

import orjson

from homeserver.http.request import Request
from homeserver.http.routing import Route
from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.errors import Forbidden, NotJson, Unauthorized
from homeserver.protocol.ids import ServerName, is_server_name
from homeserver.protocol.request_signatures import (
    RequestSignature,
    parse_authorization,
    request_bytes,
)
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import BadSignature, VerifyKey
from homeserver.runtime.clock import Clock
from homeserver.services.key_ring import KeyRing
from homeserver.services.rate_limits import RateLimits, network_of

MAX_KEY_ID_CHARACTERS = 200


class FederationAccess:
    """The Router's `authenticate` for routes that other servers use: sets `request.origin`."""

    def __init__(
        self,
        server_name: ServerName,
        policy: ServerAcl,
        key_ring: KeyRing,
        clock: Clock,
        *,
        limits: RateLimits,
        note_origin: Callable[[ServerName], object] | None = None,
    ) -> None:
        self._server_name = server_name
        self._policy = policy
        self._key_ring = key_ring
        self._clock = clock
        self._limits = limits
        self._note_origin = note_origin

    def __call__(self, request: Request, route: Route) -> Coroutine[object, None, None] | None:
        """Raises Unauthorized, Forbidden, NotJson and LimitExceeded. At once where the key is in memory."""
        claim = parse_authorization(request.header("authorization"))
        origin = self._check_claim(claim)
        body = _body_of(request)
        key = self._key_ring.known_key(origin, claim.key_id, self._clock.now_ms())
        if key is not None:
            self._admit(request, claim, key, body)
            return None
        self._limits.spend("unknown_servers", network_of(request.client_ip))
        return self._admit_later(request, claim, body)

    async def _admit_later(self, request: Request, claim: RequestSignature, body: bytes | None) -> None:
        origin = ServerName(claim.origin)
        key = await self._key_ring.verify_key(origin, claim.key_id, self._clock.now_ms())
        self._admit(request, claim, key, body)

    def _check_claim(self, claim: RequestSignature) -> ServerName:
        """Who claims to ask, if they may at all."""
        if claim.destination is not None and claim.destination != self._server_name:
            raise Unauthorized(f"The request is for {claim.destination[:300]}, not {self._server_name}")
        if not is_server_name(claim.origin) or len(claim.key_id) > MAX_KEY_ID_CHARACTERS:
            raise Unauthorized(f"{claim.origin[:300]!r} is not a server name, or its key's name is too long")
        if claim.origin == self._server_name:
            raise Unauthorized("This server does not send requests to itself")
        if not self._policy.allows(claim.origin):
            raise Forbidden(f"This server does not speak with {claim.origin}")
        return ServerName(claim.origin)

    def _admit(self, request: Request, claim: RequestSignature, key: VerifyKey, body: bytes | None) -> None:
        origin = ServerName(claim.origin)
        self._verify(request, claim, key, body)
        self._limits.spend("federation_requests", origin)
        request.origin = origin
        if self._note_origin is not None:
            self._note_origin(origin)

    def _verify(self, request: Request, claim: RequestSignature, key: VerifyKey, body: bytes | None) -> None:
        for target in _targets_of(request):
            for content in _forms_of(body):
                message = request_bytes(request.method, target, claim.origin, self._server_name, content)
                try:
                    key.verify(message, claim.signature)
                except BadSignature:
                    continue
                return
        raise Unauthorized(f"The signature of {claim.origin} on the request is not valid")


def _body_of(request: Request) -> bytes | None:
    """The body, which must be JSON: only then is what is put around it below what its sender has signed."""
    if not request.body:
        return None
    try:
        orjson.loads(request.body)
    except ValueError as error:
        raise NotJson(f"The body is not JSON: {error}") from None
    return request.body


def _targets_of(request: Request) -> Iterator[str]:
    """The path and query as sent. Of an empty query the question mark is not kept."""
    if request.query_string:
        yield f"{request.path}?{request.query_string}"
    else:
        yield request.path
        yield f"{request.path}?"


def _forms_of(body: bytes | None) -> Iterator[bytes | None]:
    """What may have been signed: the body as it came, which costs nothing, or its canonical form."""
    yield body
    if body is None:
        yield b"{}"  # some sign an empty object where they send nothing
        return
    value = canonical_json.decode(body)
    try:
        canonical = canonical_json.encode(value)
    except NotCanonical:
        canonical = canonical_json.encode_lenient(value)
    if canonical != body:
        yield canonical
