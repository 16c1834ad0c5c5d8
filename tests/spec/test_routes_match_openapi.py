"""Our table of routes, held against every operation of the specification.

`operations.txt` is what the specification has (scripts/spec_operations.py); `not_served.txt` is what of it we
do not answer yet, and may only shrink.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from homeserver.api.client.routes import ROUTES as CLIENT_ROUTES
from homeserver.api.federation.routes import ROUTES as FEDERATION_ROUTES
from homeserver.config.rate_limits import RateLimits
from homeserver.http.routing import Auth, Route

HERE = Path(__file__).parent
NOT_SERVED = HERE / "not_served.txt"
ROUTES = (*CLIENT_ROUTES, *FEDERATION_ROUTES)

EXTRAS: set[tuple[str, str]] = set()
"""Routes of ours that are not in the specification: (method, path)."""

NOT_LIMITED = {
    ("GET", "/_matrix/client/v3/account/whoami"),
    ("GET", "/_matrix/client/v3/capabilities"),
    ("GET", "/_matrix/client/v3/login"),
    ("GET", "/_matrix/client/v3/rooms/{roomId}/aliases"),
    ("GET", "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event"),
    ("GET", "/_matrix/client/v1/media/config"),
    ("GET", "/_matrix/media/v3/config"),
    ("POST", "/_matrix/client/v3/refresh"),
}
"""The specification foresees a rate limit; we have none, since they cost next to nothing."""

LIMITED_BESIDES = {
    ("PUT", "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"),
    ("POST", "/_matrix/client/v3/createRoom"),
    ("POST", "/_matrix/client/v3/rooms/{roomId}/ban"),
    ("POST", "/_matrix/client/v3/rooms/{roomId}/kick"),
    ("POST", "/_matrix/client/v3/rooms/{roomId}/unban"),
    ("PUT", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"),
    ("PUT", "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}"),
    ("PUT", "/_matrix/client/v3/directory/room/{roomAlias}"),
    ("DELETE", "/_matrix/client/v3/directory/room/{roomAlias}"),
    ("PUT", "/_matrix/client/v3/directory/list/room/{roomId}"),
    ("POST", "/_matrix/client/v3/user/{userId}/filter"),
    ("PUT", "/_matrix/client/v3/user/{userId}/account_data/{type}"),
    ("PUT", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}"),
    ("PUT", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}"),
    ("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled"),
    ("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions"),
    ("PUT", "/_matrix/client/v3/devices/{deviceId}"),
    ("DELETE", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}"),
    ("DELETE", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}"),
    ("GET", "/_matrix/client/v1/room_summary/{roomIdOrAlias}"),
    ("POST", "/_matrix/client/v3/rooms/{roomId}/report/{eventId}"),
    ("POST", "/_matrix/key/v2/query"),
    ("GET", "/_matrix/key/v2/query/{serverName}"),
    ("PUT", "/_matrix/federation/v1/3pid/onbind"),
}
"""We have a rate limit; the specification foresees none."""

WHOSE = {
    Auth.NONE: "none",
    Auth.OPTIONAL: "optional",
    Auth.USER: "user",
    Auth.ADMIN: "user",
    Auth.APPSERVICE: "appservice",
    Auth.FEDERATION: "federation",
}

MISTAKEN = {("GET", "/_matrix/client/v1/room_summary/{roomIdOrAlias}"): "optional"}
"""Where the specification's text says another thing than its operation: that one asks for a signature."""


class Operation(NamedTuple):
    """A line of operations.txt."""

    method: str
    whose: str
    limit: str
    path: str


OPERATIONS = [Operation(*line.split()) for line in (HERE / "operations.txt").read_text().splitlines()]
BY_NAME = {(operation.method, operation.path): operation for operation in OPERATIONS}


def name_of(route: Route) -> tuple[str, str]:
    return (route.method, route.path)


SPECIFIED = [route for route in ROUTES if name_of(route) not in EXTRAS]


@pytest.fixture(params=SPECIFIED, ids=lambda route: f"{route.method} {route.path}")
def route(request: pytest.FixtureRequest) -> Route:
    found: Route = request.param
    return found


def test_the_route_is_in_the_specification(route: Route) -> None:
    assert name_of(route) in BY_NAME


def test_the_route_asks_for_the_authentication_that_the_specification_asks_for(route: Route) -> None:
    name = name_of(route)
    assert WHOSE[route.auth] == MISTAKEN.get(name, BY_NAME[name].whose)


def test_the_route_is_limited_where_the_specification_foresees_it(route: Route) -> None:
    name = name_of(route)
    foreseen = BY_NAME[name].limit == "limited"
    if name in NOT_LIMITED:
        assert foreseen
        assert route.limited is None
    elif name in LIMITED_BESIDES:
        assert not foreseen
        assert route.limited is not None
    else:
        assert (route.limited is not None) == foreseen


def test_the_limit_is_one_that_can_be_configured(route: Route) -> None:
    assert route.limited is None or route.limited in RateLimits().by_name()


def test_exceptions_are_made_for_routes_that_there_are() -> None:
    served = {name_of(route) for route in ROUTES}
    assert EXTRAS - served == set()
    assert (NOT_LIMITED | LIMITED_BESIDES) - served == set()


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    served = {name_of(route) for route in ROUTES}
    missing = [f"{method} {path}" for method, path in BY_NAME if (method, path) not in served]
    expected = NOT_SERVED.read_text().splitlines()
    with capsys.disabled():
        print(f" [{len(BY_NAME) - len(missing)} of {len(BY_NAME)} operations served] ", end="")
    assert sorted(set(missing) - set(expected)) == [], "these were served before"
    assert sorted(set(expected) - set(missing)) == [], (
        f"these are served now: take them out of {NOT_SERVED.name}"
    )
