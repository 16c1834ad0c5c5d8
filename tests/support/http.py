"""Requests straight into a Router: no sockets, nothing encoded that an endpoint would not see encoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.http import reply
from homeserver.http.body_stream import BodyStream
from homeserver.http.reply import Answer as EndpointAnswer
from homeserver.http.reply import Stream
from homeserver.http.request import Request
from homeserver.http.routing import Found, Router
from homeserver.http.sending import close
from homeserver.protocol.errors import MatrixError
from homeserver.runtime.concurrency import run

Body = bytes | str | Mapping[str, Any] | list[Any] | None


@dataclass(frozen=True)
class Answer:
    """What the client would see."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str | None:
        """The Matrix error code; None for a success."""
        return self.json["errcode"] if self.status >= 400 else None


@dataclass
class Pending:
    """A request that may still be waiting, such as a long poll."""

    request: Request
    deferred: Deferred[Answer]
    outcome: list[Answer | Failure] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return bool(self.outcome)

    @property
    def answer(self) -> Answer:
        """The answer; fails the test if there is none yet."""
        assert self.outcome, f"{self.request.method} {self.request.path} is still waiting"
        outcome = self.outcome[0]
        if isinstance(outcome, Failure):
            outcome.raiseException()
        assert isinstance(outcome, Answer)
        return outcome

    async def wait(self) -> None:
        """Until there is an answer."""
        if not self.outcome:
            waiter: Deferred[None] = Deferred()

            def pass_on(outcome: Answer | Failure | None) -> Answer | Failure | None:
                waiter.callback(None)
                return outcome

            self.deferred.addBoth(pass_on)
            await waiter

    def disconnect(self) -> None:
        """The client goes away: a waiting endpoint is cancelled."""
        self.request.disconnect()
        self.deferred.cancel()


def request_of(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: Body = None,
    *,
    client_ip: str = "127.0.0.1",
) -> Request:
    """A Request as the server builds it. `path` may carry a query; a dict or list is sent as JSON."""
    raw = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
    return Request(method, path, raw, body=encoded(body), client_ip=client_ip)


def encoded(body: Body) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


def with_query(path: str, query: Mapping[str, str | int | bool | None]) -> str:
    """The path with a query string; True and False as `true` and `false`, None left out."""
    fields = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(fields)}" if fields else path


def start(
    router: Router,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: Body = None,
    *,
    client_ip: str = "127.0.0.1",
) -> Pending:
    """Begin a request; it may wait."""
    request = request_of(method, path, headers, body, client_ip=client_ip)
    pending = Pending(request, run(_answer(router, request)))
    pending.deferred.addBoth(pending.outcome.append)
    return pending


def dispatch(
    router: Router,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: Body = None,
    *,
    client_ip: str = "127.0.0.1",
) -> Answer:
    """Send a request and return its answer, which must come without waiting."""
    return start(router, method, path, headers, body, client_ip=client_ip).answer


async def _answer(router: Router, request: Request) -> Answer:
    found: Found | MatrixError
    try:
        found = router.find(request.method, request.path)
    except MatrixError as error:
        found = error
    else:
        if found.route.body == "stream":
            request.stream = BodyStream(max_bytes=found.route.max_body, length=len(request.body))
            request.stream.feed(request.body)
            request.stream.finish()
    return await _read(await router.answer(request, found))


async def _read(answer: EndpointAnswer) -> Answer:
    whole = reply.of_answer(answer)
    body = reply.encoded(whole.body)
    headers = {"Content-Type": reply.content_type_of(whole.body), **whole.headers}
    if isinstance(body, Stream):
        pieces = (
            [piece async for piece in body.chunks] if hasattr(body.chunks, "__aiter__") else list(body.chunks)
        )
        await close(body)
        body = b"".join(pieces)
    return Answer(whole.status, body, headers)
