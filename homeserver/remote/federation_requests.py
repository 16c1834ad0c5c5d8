"""Signed requests to homeservers: find the server, sign, send, read the JSON that comes back.

https://spec.matrix.org/latest/server-server-api/#request-authentication
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from typing import Literal, Protocol, TypeAlias
from urllib.parse import quote, urlencode

import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.request_signatures import authorization_header, request_bytes
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.errors import (
    RemoteBackingOff,
    RemoteMisbehaved,
    RemoteNotAllowed,
    RemoteRefused,
    RemoteUnreachable,
)
from homeserver.remote.server_discovery import ServerDiscovery
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import TimedOut, timeout
from homeserver.runtime.http_client import (
    AnswerTooLarge,
    HttpAnswer,
    HttpClient,
    HttpFailure,
    HttpRequest,
    NoRoom,
    OpenAnswer,
)

Method: TypeAlias = Literal["GET", "PUT", "POST"]
Body: TypeAlias = "Json | bytes"
Query: TypeAlias = Mapping[str, str | int | bool | Sequence[str] | None]

USER_AGENT = "Postroom"
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_MAX_BYTES = 10 * 1024 * 1024


class Reachability(Protocol):
    """What is known of destinations: whether to bother them now. Told how each request went."""

    def may_try(self, destination: ServerName) -> bool:
        """False while the destination is left alone after failures."""

    def note_success(self, destination: ServerName) -> object:
        """It answered, if only to refuse."""

    def note_failure(self, destination: ServerName, why: str) -> object:
        """It could not be reached, or answered that it is not well (status 500 and above)."""


class AlwaysTry:
    """Reachability without memory."""

    def may_try(self, destination: ServerName) -> bool:
        return True

    def note_success(self, destination: ServerName) -> None:
        """Nothing is kept."""

    def note_failure(self, destination: ServerName, why: str) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try. `insist`: also while the destination is backed off from."""

    timeout_s: float = DEFAULT_TIMEOUT_S
    max_bytes: int = DEFAULT_MAX_BYTES
    insist: bool = False
    is_repeatable: bool = True
    """Sent again when a connection that was kept open turns out to have been closed."""


NORMAL = Effort()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, and whom we speak with."""

    server_name: ServerName
    key: SigningKey
    policy: ServerAcl


class SignedRequests:
    """Sends requests to homeservers in this server's name."""

    def __init__(
        self,
        identity: Identity,
        http: HttpClient,
        discovery: ServerDiscovery,
        clock: Clock,
        reachability: Reachability | None = None,
    ) -> None:
        self._identity = identity
        self._http = http
        self._discovery = discovery
        self._clock = clock
        self.reachability: Reachability = reachability or AlwaysTry()
        """May be replaced while the server is being built."""

    async def json(
        self,
        destination: ServerName,
        method: Method,
        path: str,
        *,
        query: Query | None = None,
        body: Body = None,
        effort: Effort = NORMAL,
    ) -> JsonObject:
        """The JSON object the destination answers with.

        `path` is percent-encoded (see `path_of`). `body` is JSON, or bytes that are canonical JSON already.
        Raises RemoteUnreachable, RemoteRefused and RemoteMisbehaved.
        """
        raw = await self.raw(destination, method, path, query=query, body=body, effort=effort)
        return _json_object(raw, destination)

    async def raw(
        self,
        destination: ServerName,
        method: Method,
        path: str,
        *,
        query: Query | None = None,
        body: Body = None,
        effort: Effort = NORMAL,
    ) -> bytes:
        """As `json`, the answer's body as it came."""
        request = self._request(destination, method, target_of(path, query), body, effort)
        self.check(destination, insist=effort.insist)
        try:
            answer = await timeout(self._clock, effort.timeout_s, self._ask(destination, request, effort))
        except AnswerTooLarge as failure:
            self.reachability.note_success(destination)
            raise RemoteMisbehaved(f"{destination}: {failure}") from failure
        except NoRoom as failure:  # which says nothing about the destination
            raise RemoteUnreachable(f"{destination}: {failure}") from failure
        except (HttpFailure, TimedOut) as failure:
            self.reachability.note_failure(destination, str(failure))
            raise RemoteUnreachable(f"{destination} cannot be reached: {failure}") from failure
        self._note(destination, answer.status)
        if answer.status != 200:
            raise _refusal(destination, answer)
        return answer.body

    @asynccontextmanager
    async def stream(
        self,
        destination: ServerName,
        path: str,
        *,
        query: Query | None = None,
        effort: Effort = NORMAL,
        is_signed: bool = True,
    ) -> AsyncIterator[OpenAnswer]:
        """GET something large: the answer (status 200) while it comes. The limit of bytes is the caller's."""
        target = target_of(path, query)
        request = (
            self._request(destination, "GET", target, None, effort)
            if is_signed
            else HttpRequest("GET", target, {"User-Agent": USER_AGENT})
        )
        self.check(destination, insist=effort.insist)
        try:
            targets = await self._discovery.targets(destination)
            async with self._http.open(request, targets, timeout_s=effort.timeout_s) as answer:
                self._note(destination, answer.status)
                if answer.status != 200:
                    body = await answer.read(DEFAULT_MAX_BYTES)
                    raise _refusal(destination, HttpAnswer(answer.status, answer.headers, body))
                yield answer
        except AnswerTooLarge as failure:
            raise RemoteMisbehaved(f"{destination}: {failure}") from failure
        except HttpFailure as failure:
            self.reachability.note_failure(destination, str(failure))
            raise RemoteUnreachable(f"{destination} cannot be reached: {failure}") from failure

    async def _ask(self, destination: ServerName, request: HttpRequest, effort: Effort) -> HttpAnswer:
        targets = await self._discovery.targets(destination)
        return await self._http.send(request, targets, timeout_s=effort.timeout_s, max_bytes=effort.max_bytes)

    def check(self, destination: ServerName, *, insist: bool = False) -> None:
        """Raise RemoteNotAllowed or RemoteBackingOff unless a request may go to the destination now."""
        if destination == self._identity.server_name:
            raise RemoteUnreachable(f"{destination} is this server: it does not ask itself")
        if not self._identity.policy.allows(destination):
            raise RemoteNotAllowed(f"This server does not speak with {destination}")
        if not insist and not self.reachability.may_try(destination):
            raise RemoteBackingOff(f"{destination} did not answer lately")

    def _request(
        self, destination: ServerName, method: Method, target: str, body: Body, effort: Effort
    ) -> HttpRequest:
        encoded = body if body is None or isinstance(body, bytes) else _encode(body)
        origin, key = self._identity.server_name, self._identity.key
        signature = key.sign(request_bytes(method, target, origin, destination, encoded))
        headers = {
            "User-Agent": USER_AGENT,
            "Authorization": authorization_header(origin, destination, key.key_id, signature),
        }
        if encoded is not None:
            headers["Content-Type"] = "application/json"
        return HttpRequest(method, target, headers, encoded, effort.is_repeatable)

    def _note(self, destination: ServerName, status: int) -> None:
        if status >= 500:
            self.reachability.note_failure(destination, f"it answers with status {status}")
        else:
            self.reachability.note_success(destination)


def path_of(template: str, *segments: str) -> str:
    """`/_matrix/.../{}/{}` with percent-encoded segments."""
    return template.format(*(quote(segment, safe="") for segment in segments))


def target_of(path: str, query: Query | None) -> str:
    """The path with its query. None leaves a parameter out, a list repeats it."""
    if not query:
        return path
    fields: list[tuple[str, str]] = []
    for name, value in query.items():
        if isinstance(value, bool):
            fields.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            fields.append((name, str(value)))
        elif value is not None:
            fields += [(name, each) for each in value]
    return f"{path}?{urlencode(fields, quote_via=quote)}" if fields else path


def _encode(body: Json) -> bytes:
    """Canonical where it can be; events of old rooms may hold numbers that are not."""
    try:
        return canonical_json.encode(body)
    except NotCanonical:
        return canonical_json.encode_lenient(body)


def _json_object(body: bytes, destination: ServerName) -> JsonObject:
    try:
        value = orjson.loads(body)
    except ValueError:
        raise RemoteMisbehaved(f"{destination} answered with something that is not JSON") from None
    if not isinstance(value, dict):
        raise RemoteMisbehaved(f"{destination} answered with JSON that is not an object")
    return value


def _refusal(destination: ServerName, answer: HttpAnswer) -> RemoteRefused:
    try:
        value = orjson.loads(answer.body)
    except ValueError:
        value = None
    body: JsonObject = value if isinstance(value, dict) else {}
    errcode, error = body.get("errcode"), body.get("error")
    text = error if isinstance(error, str) else ""
    return RemoteRefused(
        f"{destination} answered {answer.status}: {text[:300]}",
        remote_status=answer.status,
        remote_errcode=errcode if isinstance(errcode, str) else "",
        remote_body=body,
        retry_after_ms=_retry_after_ms(answer, body),
    )


def _retry_after_ms(answer: HttpAnswer, body: JsonObject) -> int | None:
    if answer.status not in (429, 503):
        return None
    header = answer.headers.get("retry-after", "")
    if header.isascii() and header.isdigit() and len(header) < 10:
        return int(header) * 1000
    wait_ms = body.get("retry_after_ms")
    if isinstance(wait_ms, int | float) and 0 <= wait_ms < 1e12:
        return ceil(wait_ms)
    return None
