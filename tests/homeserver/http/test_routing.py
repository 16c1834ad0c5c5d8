"""Paths find their routes; whatever an endpoint does becomes an answer."""

import logging
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from homeserver.http.reply import Answer, RawJson, Reply, Stream
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Found, Route, Router, RouteTree
from homeserver.protocol.errors import (
    Forbidden,
    InvalidParam,
    LimitExceeded,
    MethodNotAllowed,
    MissingToken,
    Unrecognized,
)
from homeserver.protocol.ids import UserId
from homeserver.protocol.requester import Requester
from tests.support.http import dispatch, start

V3 = "/_matrix/client/v3"
ALICE = Requester(UserId("@alice:example.org"))


async def echo(services: object, request: Request, *parameters: str) -> Answer:
    return {"services": services, "parameters": list(parameters), "query": request.query}


def route(
    method: str, path: str, endpoint: Callable[..., object] = echo, auth: Auth = Auth.NONE, **flags: object
) -> Route:
    return Route(method, path, endpoint, auth, **flags)  # type: ignore[arg-type]


def router(*routes: Route, **doors: object) -> Router:
    return Router("services", routes, **{"authenticate": lambda request, route: ALICE, **doors})  # type: ignore[arg-type]


SEND = route("PUT", f"{V3}/rooms/{{roomId}}/send/{{eventType}}/{{txnId}}")
STATE = route("GET", f"{V3}/rooms/{{roomId}}/state/{{eventType}}/{{stateKey}}", optional_last=True)
ALL_STATE = route("GET", f"{V3}/rooms/{{roomId}}/state")
DISPLAY_NAME = route("GET", f"{V3}/profile/{{userId}}/displayname")
FIELD = route("GET", f"{V3}/profile/{{userId}}/{{keyName}}")
SET_FIELD = route("PUT", f"{V3}/profile/{{userId}}/{{keyName}}")
RULES = route("GET", f"{V3}/pushrules/")
JOIN = route("POST", f"{V3}/join/{{roomIdOrAlias}}")
DOWNLOAD = route("GET", "/_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}")
TREE = RouteTree([SEND, STATE, ALL_STATE, DISPLAY_NAME, FIELD, SET_FIELD, RULES, JOIN, DOWNLOAD])


@pytest.mark.parametrize(
    ("method", "path", "expected", "parameters"),
    [
        ("PUT", f"{V3}/rooms/!a:b.c/send/m.room.message/1", SEND, ["!a:b.c", "m.room.message", "1"]),
        ("PUT", f"{V3}/rooms/%21a%3Ab.c/send/m.room.message/1", SEND, ["!a:b.c", "m.room.message", "1"]),
        ("PUT", f"{V3}/rooms/!a:b.c/send/a%2Fb/%2F", SEND, ["!a:b.c", "a/b", "/"]),
        ("PUT", f"{V3}/rooms/!a:b.c/send/a%252Fb/1", SEND, ["!a:b.c", "a%2Fb", "1"]),
        ("PUT", f"{V3}/rooms/!a:b.c/send/+/%E2%9C%93", SEND, ["!a:b.c", "+", "✓"]),
        ("PUT", "/_matrix/client/r0/rooms/!a:b.c/send/t/1", SEND, ["!a:b.c", "t", "1"]),
        ("GET", f"{V3}/rooms/!a:b.c/state/m.room.name/key", STATE, ["!a:b.c", "m.room.name", "key"]),
        ("GET", f"{V3}/rooms/!a:b.c/state/m.room.name/", STATE, ["!a:b.c", "m.room.name", ""]),
        ("GET", f"{V3}/rooms/!a:b.c/state/m.room.name", STATE, ["!a:b.c", "m.room.name", ""]),
        ("GET", "/_matrix/client/r0/rooms/!a:b.c/state/m.room.name", STATE, ["!a:b.c", "m.room.name", ""]),
        ("GET", f"{V3}/rooms/!a:b.c/state", ALL_STATE, ["!a:b.c"]),
        ("GET", f"{V3}/profile/@a:b.c/displayname", DISPLAY_NAME, ["@a:b.c"]),
        ("PUT", f"{V3}/profile/@a:b.c/displayname", SET_FIELD, ["@a:b.c", "displayname"]),
        ("GET", f"{V3}/profile/@a:b.c/m.tz", FIELD, ["@a:b.c", "m.tz"]),
        ("HEAD", f"{V3}/profile/@a:b.c/m.tz", FIELD, ["@a:b.c", "m.tz"]),
        ("GET", f"{V3}/pushrules/", RULES, []),
        ("POST", f"{V3}/join/%23room:b.c", JOIN, ["#room:b.c"]),
        ("POST", f"{V3}/join/!{'a' * 43}", JOIN, ["!" + "a" * 43]),
        (
            "GET",
            "/_matrix/client/v1/media/download/b.c/id/..%2F..%2Fpasswd",
            DOWNLOAD,
            ["b.c", "id", "../../passwd"],
        ),
    ],
)
def test_a_path_finds_its_route_and_parameters(
    method: str, path: str, expected: Route, parameters: list[str]
) -> None:
    found = TREE.find(method, path)
    assert (found.route, found.parameters) == (expected, parameters)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/", Unrecognized),
        ("GET", "", Unrecognized),
        ("GET", f"{V3}/nothing", Unrecognized),
        ("GET", f"{V3}/pushrules", Unrecognized),
        ("GET", f"{V3}//pushrules/", Unrecognized),
        ("PUT", f"{V3}/rooms/!a:b.c/send/t/", Unrecognized),
        ("PUT", f"{V3}/rooms//send/t/1", Unrecognized),
        ("GET", f"{V3}/rooms/!a:b.c/state/t/k/more", Unrecognized),
        ("DELETE", f"{V3}/pushrules/", MethodNotAllowed),
        ("GET", f"{V3}/join/!a:b.c", MethodNotAllowed),
        ("PUT", f"{V3}/rooms/a:b.c/send/t/1", InvalidParam),
        ("PUT", f"{V3}/rooms/!a:b.c/send/%ff/1", InvalidParam),
        ("PUT", f"{V3}/rooms/!a:b.c/send/%00/1", InvalidParam),
        ("GET", f"{V3}/profile/alice/m.tz", InvalidParam),
        ("GET", f"{V3}/profile/%40alice/m.tz", InvalidParam),
        ("GET", f"{V3}/rooms/!a:b.c%00/state", InvalidParam),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(method: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        TREE.find(method, path)
    assert type(caught.value) is error


def test_two_routes_cannot_answer_the_same() -> None:
    with pytest.raises(ValueError, match="Two routes answer GET"):
        RouteTree([route("GET", "/a/{userId}"), route("GET", "/a/{roomId}")])


def test_an_endpoint_gets_services_request_and_parameters() -> None:
    answer = dispatch(router(SEND), "PUT", f"{V3}/rooms/!a:b.c/send/m.text/7?x=1&y=%20&x=2", body={})
    assert answer.status == 200
    assert answer.json == {
        "services": "services",
        "parameters": ["!a:b.c", "m.text", "7"],
        "query": {"x": ["1", "2"], "y": [" "]},
    }


@pytest.mark.parametrize(
    ("returned", "status", "body"),
    [
        ({"a": 1}, 200, b'{"a":1}'),
        ([1], 200, b"[1]"),
        (RawJson(b'{"a": 1}'), 200, b'{"a": 1}'),
        (RawJson([b'{"a":', b"1}"]), 200, b'{"a":1}'),
        (Reply(201, {"b": "é"}), 201, '{"b":"é"}'.encode()),
        (Reply(200, b"bytes"), 200, b"bytes"),
        (Reply(200, "tëxt"), 200, "tëxt".encode()),
        (Stream([b"a", b"b"]), 200, b"ab"),
    ],
)
def test_what_an_endpoint_returns_is_the_answer(returned: Answer, status: int, body: bytes) -> None:
    async def endpoint(services: object, request: Request) -> Answer:
        return returned

    answer = dispatch(router(route("GET", "/x", endpoint)), "GET", "/x")
    assert (answer.status, answer.body) == (status, body)


def test_a_refusal_becomes_the_standard_error_response() -> None:
    async def endpoint(services: object, request: Request) -> Answer:
        raise Forbidden("Not here", room="!a:b.c")

    answer = dispatch(router(route("GET", "/x", endpoint)), "GET", "/x")
    assert answer.status == 403
    assert answer.json == {"errcode": "M_FORBIDDEN", "error": "Not here", "room": "!a:b.c"}


def test_a_mistake_of_ours_is_logged_once_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(services: object, request: Request) -> Answer:
        request.id = "GET-1"
        raise RuntimeError("secret detail")

    with caplog.at_level(logging.ERROR):
        answer = dispatch(router(route("GET", "/x", endpoint)), "GET", "/x")
    assert answer.status == 500
    assert answer.json == {"errcode": "M_UNKNOWN", "error": "Internal server error", "request_id": "GET-1"}
    assert [bool(record.exc_info) for record in caplog.records] == [True]


def test_who_asks_is_known_to_the_endpoint() -> None:
    async def endpoint(services: object, request: Request) -> Answer:
        return {"user_id": request.requester.user_id}

    assert dispatch(router(route("GET", "/x", endpoint, Auth.USER)), "GET", "/x").json == {
        "user_id": ALICE.user_id
    }


def test_authentication_may_wait() -> None:
    found: Deferred[Requester] = Deferred()

    async def authenticate(request: Request, route: Route) -> Requester:
        return await found

    async def endpoint(services: object, request: Request) -> Answer:
        return {"user_id": request.requester.user_id}

    pending = start(router(route("GET", "/x", endpoint, Auth.USER), authenticate=authenticate), "GET", "/x")
    assert not pending.is_done
    found.callback(ALICE)
    assert pending.answer.json == {"user_id": ALICE.user_id}


def test_a_refused_token_keeps_the_endpoint_from_running() -> None:
    def authenticate(request: Request, route: Route) -> Requester:
        raise MissingToken

    answer = dispatch(router(route("GET", "/x", auth=Auth.USER), authenticate=authenticate), "GET", "/x")
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")


def test_a_route_without_authentication_asks_nobody() -> None:
    def authenticate(request: Request, route: Route) -> Requester:
        raise AssertionError

    assert dispatch(router(route("GET", "/x"), authenticate=authenticate), "GET", "/x").status == 200


def test_a_rate_limit_says_when_to_come_back() -> None:
    asked = []

    def limiter(request: Request, name: str) -> None:
        asked.append(name)
        raise LimitExceeded(retry_after_ms=1500)

    answer = dispatch(router(route("GET", "/x", limited="login"), limiter=limiter), "GET", "/x")
    assert (answer.status, answer.errcode, answer.json["retry_after_ms"]) == (429, "M_LIMIT_EXCEEDED", 1500)
    assert answer.headers["Retry-After"] == "2"
    assert asked == ["login"]


def test_every_answer_is_observed() -> None:
    seen: list[tuple[str | None, int]] = []

    def observer(request: Request, route: Route | None, status: int, seconds: float) -> None:
        seen.append((route.path if route else None, status))

    watched = router(RULES, observer=observer)
    dispatch(watched, "GET", f"{V3}/pushrules/")
    dispatch(watched, "GET", "/elsewhere")
    assert seen == [(f"{V3}/pushrules/", 200), (None, 404)]


def test_each_request_is_logged_for_those_who_want_it(caplog: pytest.LogCaptureFixture) -> None:
    watched = router(route("GET", "/x", auth=Auth.USER))
    dispatch(watched, "GET", "/x?access_token=secret")
    assert caplog.records == []
    with caplog.at_level(logging.INFO, "homeserver.http.access"):
        dispatch(watched, "GET", "/x?access_token=secret", client_ip="192.0.2.1")
    (line,) = caplog.messages
    assert line.startswith("192.0.2.1 GET /x 200 ")
    assert line.endswith(" @alice:example.org")
    assert "secret" not in line


def test_a_body_may_be_read_while_it_arrives() -> None:
    async def endpoint(services: object, request: Request) -> Answer:
        assert request.stream is not None
        return {"size": sum([len(piece) async for piece in request.stream])}

    assert dispatch(
        router(route("POST", "/x", endpoint, body="stream")), "POST", "/x", body=b"12345"
    ).json == {"size": 5}


def test_a_long_poll_is_cancelled_when_its_client_goes_away() -> None:
    ended = []

    async def endpoint(services: object, request: Request) -> Answer:
        try:
            await Deferred()
        finally:
            ended.append(request.disconnected)
        return {}

    pending = start(router(route("GET", "/x", endpoint, long_poll=True)), "GET", "/x")
    pending.disconnect()
    assert ended == [True]


def test_the_same_tree_answers_a_second_time() -> None:
    first, second = (TREE.find("GET", f"{V3}/rooms/!a:b.c/state/t") for _ in range(2))
    assert isinstance(first, Found)
    assert first.parameters == second.parameters == ["!a:b.c", "t", ""]
