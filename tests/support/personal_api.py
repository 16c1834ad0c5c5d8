"""Requests to the routes of a person's own things, answered by a `House`."""

from typing import Any

from homeserver.api.client.routes import events, personal
from homeserver.http.request import Request
from homeserver.http.routing import Route, Router
from homeserver.protocol.errors import MissingToken
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.requester import Requester
from tests.support.http import Answer, Body, dispatch, with_query
from tests.support.personal import House

V3 = "/_matrix/client/v3"
PERSONAL_ROUTES = (
    *events.FILTERS,
    *personal.TYPING_NOTIFICATIONS,
    *personal.RECEIPTS,
    *personal.PRESENCE,
    *personal.ACCOUNT_DATA,
    *personal.PUSH,
)


class Person:
    """Somebody signed in: the token is the user ID."""

    def __init__(self, house: House, user_id: UserId) -> None:
        self.user_id = user_id
        self._router = Router(house, PERSONAL_ROUTES, authenticate=_authenticate)

    def request(self, method: str, path: str, body: Body = None, **query: Any) -> Answer:
        """`path` is below /_matrix/client/v3."""
        headers = {"Authorization": f"Bearer {self.user_id}"}
        return dispatch(self._router, method, with_query(V3 + path, query), headers, body)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET, which must succeed."""
        return self._done(self.request("GET", path, **query))

    def put(self, path: str, body: Body = None, **query: Any) -> Any:
        """The JSON of a PUT, which must succeed; an empty object without a body."""
        return self._done(self.request("PUT", path, {} if body is None else body, **query))

    def post(self, path: str, body: Body = None) -> Any:
        return self._done(self.request("POST", path, {} if body is None else body))

    def delete(self, path: str) -> Any:
        return self._done(self.request("DELETE", path))

    def refused(self, method: str, path: str, body: Body = None, **query: Any) -> tuple[int, str | None]:
        """Status and errcode of a request."""
        answer = self.request(method, path, body, **query)
        return answer.status, answer.errcode

    def _done(self, answer: Answer) -> Any:
        assert answer.status == 200, answer.json
        return answer.json


def _authenticate(request: Request, route: Route) -> Requester:
    token = request.access_token()
    if token is None:
        raise MissingToken
    return Requester(UserId(token), DeviceId("DEVICE"))
