"""Routes are data: a path in the specification's spelling, who may call it, what answers.

`Router` finds the route of a path without scanning patterns, and turns a request into an answer:
authentication, rate limit, endpoint, and whatever goes wrong into the standard error response.
"""

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from time import perf_counter
from typing import Literal, TypeAlias

from twisted.internet.defer import CancelledError

from homeserver.http import access_log, reply
from homeserver.http.reply import Answer, Reply
from homeserver.http.request import Request, percent_decoded
from homeserver.protocol.errors import MatrixError, MethodNotAllowed, Unrecognized
from homeserver.protocol.ids import (
    parse_device_id,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_room_id_or_alias,
    parse_server_name,
    parse_user_id,
)
from homeserver.protocol.requester import Requester

logger = logging.getLogger(__name__)

Endpoint: TypeAlias = Callable[..., Coroutine[object, None, Answer]]
"""`async def endpoint(services, request, *path_parameters)`, the parameters in path order."""

PARSERS: dict[str, Callable[[str], str]] = {
    "deviceId": parse_device_id,
    "eventId": parse_event_id,
    "roomAlias": parse_room_alias,
    "roomId": parse_room_id,
    "roomIdOrAlias": parse_room_id_or_alias,
    "serverName": parse_server_name,
    "userId": parse_user_id,
}
PREFLIGHT = Reply(204, headers={"Access-Control-Max-Age": "86400"})
"""The answer to OPTIONS, wherever asked; the CORS headers proper are on every answer."""

DEFAULT_MAX_BODY = 2 * 65_536


class Auth(Enum):
    """Whose word a route needs."""

    NONE = auto()
    USER = auto()
    OPTIONAL = auto()  # a token is used if there is one, and must then be valid
    ADMIN = auto()
    APPSERVICE = auto()
    FEDERATION = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One endpoint.

    `limited` names the rate limit. `r0`: a v3 path also answers under /r0/. `optional_last`: the last
    parameter may be missing, with or without its slash, and is then "" (an empty state key).
    `body="stream"`: the endpoint starts when the head has arrived and reads `request.stream`.
    `long_poll`: the endpoint is cancelled when its client goes away, and its request's headers are
    forgotten once it waits. The `for_` flags say whose account may call it besides an ordinary one.
    """

    method: str
    path: str
    endpoint: Endpoint
    auth: Auth
    limited: str | None = None
    max_body: int = DEFAULT_MAX_BODY
    body: Literal["bytes", "stream"] = "bytes"
    r0: bool = True
    optional_last: bool = False
    long_poll: bool = False
    for_guests: bool = False
    for_suspended: bool = True
    for_locked: bool = False

    def spellings(self) -> list[str]:
        """All paths this route answers."""
        spellings = [self.path]
        if self.r0 and "/v3/" in self.path:
            spellings.append(self.path.replace("/v3/", "/r0/", 1))
        if self.optional_last:
            spellings += [spelling.rpartition("/")[0] for spelling in spellings]
        return spellings


class Found:
    """A route that answers a path, and the path's parameters."""

    __slots__ = ("parameters", "route")

    def __init__(self, route: Route, parameters: list[str]) -> None:
        self.route = route
        self.parameters = parameters


class _End:
    """Where a path ends: a route, the parsers of its parameters, and "" for a parameter left out."""

    __slots__ = ("left_out", "parsers", "route")

    def __init__(self, route: Route, spelling: str) -> None:
        names = [part[1:-1] for part in spelling.split("/") if part.startswith("{")]
        self.route = route
        self.left_out = [""] if route.path.count("{") > len(names) else []
        self.parsers = [(index, PARSERS[name]) for index, name in enumerate(names) if name in PARSERS]


class _Node:
    """One segment of the tree of paths."""

    __slots__ = ("ends", "may_be_empty", "parameter", "statics")

    def __init__(self) -> None:
        self.statics: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.may_be_empty = False
        self.ends: dict[str, _End] = {}


class RouteTree:
    """Finds the route of a method and path; cost is one dict look-up per segment."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            for spelling in route.spellings():
                self._add(route, spelling)

    def find(self, method: str, path: str) -> Found:
        """Raises Unrecognized (404), MethodNotAllowed (405) or InvalidParam (400). `path` is as sent."""
        segments = path.split("/")
        if "%" in path:  # split first: an encoded slash is part of its segment
            segments = [percent_decoded(segment) if "%" in segment else segment for segment in segments]
        methods: set[str] = set()
        for node, parameters in self._walk(segments):
            end = node.ends.get(method)
            if end is None and method == "HEAD":
                end = node.ends.get("GET")
            if end is not None:
                for index, parse in end.parsers:
                    parse(parameters[index])
                return Found(end.route, parameters + end.left_out)
            methods.update(node.ends)
        if methods:
            raise MethodNotAllowed(f"This path answers {', '.join(sorted(methods))}, not {method}")
        raise Unrecognized(f"There is nothing at {path[:300]}")

    def _walk(self, segments: list[str]) -> Iterator[tuple[_Node, list[str]]]:
        """Nodes the whole path leads to: fixed words before parameters."""
        pending: list[tuple[_Node, int, list[str]]] = [(self._root, 0, [])]
        count = len(segments)
        while pending:
            node, index, parameters = pending.pop()
            while index < count:
                segment = segments[index]
                index += 1
                static = node.statics.get(segment)
                parameter = node.parameter
                if static is not None:
                    if parameter is not None:
                        pending.append((parameter, index, [*parameters, segment]))
                    node = static
                elif parameter is not None and (segment or parameter.may_be_empty):
                    parameters.append(segment)
                    node = parameter
                else:
                    break
            else:
                if node.ends:
                    yield node, parameters

    def _add(self, route: Route, spelling: str) -> None:
        node = self._root
        for part in spelling.split("/"):
            if part.startswith("{"):
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
            else:
                node = node.statics.setdefault(part, _Node())
        if route.method in node.ends:
            raise ValueError(f"Two routes answer {route.method} {spelling}")
        node.ends[route.method] = _End(route, spelling)
        if route.optional_last and spelling.endswith("}") and spelling.count("{") == route.path.count("{"):
            node.may_be_empty = True


Authenticate: TypeAlias = Callable[
    [Request, Route], Requester | Coroutine[object, None, Requester | None] | None
]
"""Who asks, or a refusal raised. Called for every route but those with Auth.NONE; no coroutine is fastest."""

Observer: TypeAlias = Callable[[Request, Route | None, int, float], object]
"""Told about every answer: request, route (None: nothing answers that path), status, seconds it took."""

Limiter: TypeAlias = Callable[[Request, str], object]
"""Counts a request against the rate limit of that name; raises LimitExceeded."""


class Router:
    """Answers requests from a table of routes. Endpoints get `services` as their first argument."""

    def __init__(
        self,
        services: object,
        routes: Iterable[Route],
        *,
        authenticate: Authenticate,
        limiter: Limiter | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._services = services
        self._tree = RouteTree(routes)
        self._authenticate = authenticate
        self._limiter = limiter
        self._observer = observer
        self.find = self._tree.find

    async def answer(self, request: Request, found: Found | MatrixError | None = None) -> Answer:
        """The answer, errors included. Raises only CancelledError, when the request was cancelled.

        `found`: what `find` returned or raised, where it was asked before. The observer needs it too.
        """
        started = perf_counter()
        answer: Answer
        try:
            answer = PREFLIGHT if request.method == "OPTIONS" else await self._run(request, found)
        except MatrixError as error:
            answer = reply.of_error(error)
        except CancelledError:
            raise
        except Exception:
            answer = _failed(request)
        status = answer.status if isinstance(answer, Reply) else 200
        seconds = perf_counter() - started
        access_log.note(request, status, seconds)
        if self._observer is not None:
            self._observer(request, found.route if isinstance(found, Found) else None, status, seconds)
        return answer

    async def _run(self, request: Request, found: Found | MatrixError | None) -> Answer:
        if isinstance(found, MatrixError):
            raise found
        if found is None:
            found = self.find(request.method, request.path)
        route = found.route
        if route.auth is not Auth.NONE:
            asks = self._authenticate(request, route)
            if asks is not None and not isinstance(asks, Requester):
                asks = await asks
            request.known_requester = asks
        if route.limited is not None and self._limiter is not None:
            self._limiter(request, route.limited)
        return await route.endpoint(self._services, request, *found.parameters)


def _failed(request: Request) -> Reply:
    """A mistake of ours: logged here, once."""
    logger.exception("%s %s failed", request.method, request.path)
    return reply.of_mistake(request.id)
