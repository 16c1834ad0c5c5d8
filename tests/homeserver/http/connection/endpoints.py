"""Endpoints that wait, echo, swallow and refuse; what streams out, and requests as bytes."""

from collections.abc import Iterator

from twisted.internet.defer import Deferred

from homeserver.http.body_stream import ClientGone
from homeserver.http.limits import Limits
from homeserver.http.reply import Answer, Reply
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.runtime import log_context
from homeserver.runtime.concurrency import CancelledError
from tests.support.http_connection import Listener, RawAnswer

LIMITS = Limits()


class Endpoints:
    """Endpoints that wait until a test lets them go on."""

    def __init__(self) -> None:
        self.waiting: dict[str, Deferred[None]] = {}
        self.requests: dict[str, Request] = {}
        self.ended: list[tuple[str, str]] = []
        self.read: list[bytes] = []

    async def wait(self, services: object, request: Request, name: str) -> Answer:
        self.requests[name] = request
        self.waiting[name] = Deferred()
        try:
            await self.waiting[name]
        except CancelledError:
            self.ended.append((name, "cancelled"))
            raise
        self.ended.append((name, "done"))
        return {"name": name}

    async def wait_and_listen(self, services: object, request: Request, name: str) -> Answer:
        request.on_stopping(lambda: self.waiting[name].callback(None))
        return await self.wait(services, request, name)

    async def echo(self, services: object, request: Request, name: str) -> Answer:
        return {
            "name": name,
            "body": request.body.decode(),
            "ip": request.client_ip,
            "context": log_context.current(),
        }

    async def size(self, services: object, request: Request, name: str) -> Answer:
        return {"size": len(request.body)}

    async def swallow(self, services: object, request: Request) -> Answer:
        assert request.stream is not None
        try:
            async for piece in request.stream:
                self.read.append(piece)
        except ClientGone:
            self.ended.append(("swallow", "gone"))
            raise
        return {"size": sum(map(len, self.read))}

    async def slow_swallow(self, services: object, request: Request) -> Answer:
        assert request.stream is not None
        self.waiting["slow"] = Deferred()
        await self.waiting["slow"]
        return await self.swallow(services, request)

    async def refuse(self, services: object, request: Request) -> Answer:
        return Reply(403, {"errcode": "M_FORBIDDEN", "error": "No"})

    def routes(self) -> list[Route]:
        none = Auth.NONE
        return [
            Route("GET", "/poll/{name}", self.wait, none, long_poll=True),
            Route("GET", "/listen/{name}", self.wait_and_listen, none, long_poll=True),
            Route("GET", "/work/{name}", self.wait, none),
            Route("GET", "/echo/{name}", self.echo, none),
            Route("PUT", "/echo/{name}", self.echo, none, max_body=1_000_000),
            Route("PUT", "/large/{name}", self.size, none, max_body=8 * 1024 * 1024),
            Route("PUT", "/largework/{name}", self.wait, none, max_body=8 * 1024 * 1024),
            Route("POST", "/swallow", self.swallow, none, body="stream", max_body=10_000_000),
            Route("POST", "/slow", self.slow_swallow, none, body="stream", max_body=10_000_000),
            Route("POST", "/refuse", self.refuse, none, body="stream"),
        ]


class Source:
    """A file of many pieces that knows how far it was read."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return b"x" * 10_000

    def close(self) -> None:
        self.is_closed = True


def get(path: str, *headers: str, version: str = "1.1") -> str:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: x", *headers, "", ""))


def post(path: str, *headers: str, body: str = "") -> str:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *headers, "", body))


def names(answers: list[RawAnswer]) -> list[str]:
    return [answer.json["name"] for answer in answers]


def answering(answer: Answer) -> Listener:
    async def endpoint(services: object, request: Request) -> Answer:
        return answer

    return Listener(Route("GET", "/", endpoint, Auth.NONE))
