"""From an access token to who is asking, and whether they may use the route at all.

https://spec.matrix.org/latest/client-server-api/#client-authentication
"""

from collections.abc import Callable, Coroutine
from typing import TypeAlias

from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.protocol.errors import Forbidden, GuestAccessForbidden, MissingToken
from homeserver.protocol.requester import Requester

FindRequester: TypeAlias = Callable[[str], Requester | Coroutine[object, None, Requester]]
"""The owner of an access token: at once where it is remembered, else a coroutine. Raises UnknownToken,
UserLocked or whatever else keeps the token from being used."""


class Access:
    """The Router's `authenticate` for routes that people and application services use."""

    def __init__(self, find_requester: FindRequester) -> None:
        self._find_requester = find_requester

    def __call__(
        self, request: Request, route: Route
    ) -> Requester | Coroutine[object, None, Requester | None] | None:
        """Raises MissingToken, Forbidden, GuestAccessForbidden and what `find_requester` raises."""
        token = request.access_token()
        if token is None:
            if route.auth is Auth.OPTIONAL:
                return None
            raise MissingToken
        found = self._find_requester(token)
        return allowed(found, route) if isinstance(found, Requester) else _allowed_later(found, route)


def allowed(requester: Requester, route: Route) -> Requester:
    """The requester, if the route is for somebody like them."""
    if route.auth is Auth.ADMIN and not requester.is_admin:
        raise Forbidden("Only administrators of this server may do this")
    if requester.is_guest and not route.for_guests:
        raise GuestAccessForbidden
    return requester


async def _allowed_later(finding: Coroutine[object, None, Requester], route: Route) -> Requester:
    return allowed(await finding, route)
