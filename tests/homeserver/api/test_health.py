"""The server says that it is there."""

from homeserver.api.health import ROUTES
from homeserver.http.routing import Router
from tests.support.http import dispatch


def test_a_server_that_answers_is_well() -> None:
    router = Router(None, ROUTES, authenticate=lambda request, route: None)
    assert dispatch(router, "GET", "/health").json == {"status": "ok"}
