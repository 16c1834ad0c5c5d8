"""From an X-Matrix signature to the server that asks.

https://spec.matrix.org/latest/server-server-api/#request-authentication
"""

from collections.abc import Callable, Coroutine, Iterable, Iterator

import orjson

from homeserver.http.request import Request
from homeserver.http.routing import Route
from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.damaged_json import check_whole, signed_forms
from homeserver.protocol.errors import Forbidden, NotJson, Unauthorized
from homeserver.protocol.ids import ServerName, is_server_name
from homeserver.protocol.request_signatures import (
    RequestSignature,
    parse_authorization,
    request_bytes,
)
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import BadSignature, VerifyKey
from homeserver.runtime.addresses import network_of
from homeserver.runtime.clock import Clock
from homeserver.services.key_ring import KeyRing
from homeserver.services.rate_limits import RateLimits

MAX_KEY_ID_CHARACTERS = 200
BYTES_FOR_A_DROP = 256 * 1024
"""Of a body whose canonical form is looked for, or that is kept while a key is."""
DROPS = {
    "state": 20, "send_join": 20, "event_auth": 10, "hierarchy": 10, "state_ids": 10, "backfill": 5,
    "get_missing_events": 5, "publicRooms": 5,
}  # fmt: skip
"""Questions whose answers are large, or for which many rooms are looked at, count as so many."""


class _Body:
    """A request's body, which is read as little as possible before it is known who sent it."""

    def __init__(self, request: Request) -> None:
        self.raw = request.body or None
        self.drops = 1 + len(request.body) / BYTES_FOR_A_DROP

    def check(self) -> None:
        """Raise NotJson unless it is one value: only then did its sender sign what is put around it.

        Of an object some entries may still be at fault.
        """
        if self.raw is not None and not self._is_json(self.raw):
            check_whole(self.raw)

    def other_forms(self) -> Iterator[bytes]:
        """What may have been signed instead of the body as it came. Raises NotJson."""
        if self.raw is None:
            yield b"{}"  # some sign an empty object where they send nothing
        elif self._is_json(self.raw):
            yield from _canonical_forms(self.raw)
        else:
            yield from signed_forms(self.raw)

    def _is_json(self, raw: bytes) -> bool:
        try:
            orjson.loads(raw)
        except ValueError as error:
            if not raw.strip().startswith(b"{"):
                raise NotJson(f"The body is not JSON: {error}") from None
            return False
        return True


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
        body = _Body(request)
        key = self._key_ring.known_key(origin, claim.key_id, self._clock.now_ms())
        if key is not None:
            self._admit(request, claim, key, body, drops=_drops_of(route))
            return None
        self._limits.spend("unknown_servers", network_of(request.client_ip), body.drops)
        return self._admit_later(request, claim, body, drops=_drops_of(route))

    async def _admit_later(
        self, request: Request, claim: RequestSignature, body: _Body, *, drops: int
    ) -> None:
        origin = ServerName(claim.origin)
        key = await self._key_ring.verify_key(origin, claim.key_id, self._clock.now_ms())
        self._admit(request, claim, key, body, drops=drops)

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

    def _admit(
        self, request: Request, claim: RequestSignature, key: VerifyKey, body: _Body, *, drops: int
    ) -> None:
        origin = ServerName(claim.origin)
        self._verify(request, claim, key, body)
        self._limits.spend("federation_requests", origin, drops)
        request.origin = origin
        if self._note_origin is not None:
            self._note_origin(origin)

    def _verify(self, request: Request, claim: RequestSignature, key: VerifyKey, body: _Body) -> None:
        """Nearly every server signs the body as it sends it. To look for other forms costs more, and who is
        wrong with that, too, pays for it: anybody may claim to be a server whose key is known.
        """
        if not self._is_signed(request, claim, key, [body.raw]):
            network = network_of(request.client_ip)
            self._limits.spend("unknown_servers", network, body.drops)
            if not self._is_signed(request, claim, key, body.other_forms()):
                raise Unauthorized(f"The signature of {claim.origin} on the request is not valid")
            self._limits.give_back("unknown_servers", network, body.drops)
        body.check()

    def _is_signed(
        self, request: Request, claim: RequestSignature, key: VerifyKey, contents: Iterable[bytes | None]
    ) -> bool:
        for content in contents:
            for target in _targets_of(request):
                message = request_bytes(request.method, target, claim.origin, self._server_name, content)
                try:
                    key.verify(message, claim.signature)
                except BadSignature:
                    continue
                return True
        return False


def _drops_of(route: Route) -> int:
    """What a request counts as: /_matrix/federation/v1/NAME/..."""
    segments = route.path.split("/", 5)
    return DROPS.get(segments[4], 1) if len(segments) > 4 else 1


def _targets_of(request: Request) -> Iterator[str]:
    """The path and query as sent. Of an empty query the question mark is not kept."""
    if request.query_string:
        yield f"{request.path}?{request.query_string}"
    else:
        yield request.path
        yield f"{request.path}?"


def _canonical_forms(raw: bytes) -> Iterator[bytes]:
    try:
        value = canonical_json.decode(raw)
        canonical = canonical_json.encode(value)
    except NotCanonical:
        canonical = canonical_json.encode_lenient(value)
    except NotJson:  # a key that stands twice, or deep nesting
        yield from signed_forms(raw)
        return
    if canonical != raw:
        yield canonical
