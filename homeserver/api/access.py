"""From an access token to who is asking, and whether they may use the route at all.

https://spec.matrix.org/latest/client-server-api/#client-authentication
"""

from collections.abc import Callable, Coroutine
from typing import TypeAlias

from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.protocol.errors import (
    Forbidden,
    GuestAccessForbidden,
    MissingToken,
    UserLocked,
    UserSuspended,
)
from homeserver.protocol.requester import Requester

FindRequester: TypeAlias = Callable[[str], Requester | Coroutine[object, None, Requester]]
"""The owner of an access token: at once where it is remembered, else a coroutine. Raises UnknownToken,
UserLocked or whatever else keeps the token from being used."""

NoteUse: TypeAlias = Callable[[Requester, str, bytes | None], object]
"""Told about every request of somebody known: who, from which address, with which User-Agent."""


class Access:
    """The Router's `authenticate` for routes that people and application services use."""

    def __init__(self, find_requester: FindRequester, note_use: NoteUse | None = None) -> None:
        self._find_requester = find_requester
        self._note_use = note_use

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
        if isinstance(found, Requester):
            return self._admit(found, request, route)
        return self._admit_later(found, request, route)

    def _admit(self, requester: Requester, request: Request, route: Route) -> Requester:
        allowed(requester, route)
        if self._note_use is not None:
            self._note_use(requester, request.client_ip, request.headers.get(b"user-agent"))
        return requester

    async def _admit_later(
        self, finding: Coroutine[object, None, Requester], request: Request, route: Route
    ) -> Requester:
        return self._admit(await finding, request, route)


def allowed(requester: Requester, route: Route) -> Requester:
    """The requester, if the route is for somebody like them."""
    if requester.is_locked and not route.for_locked:
        raise UserLocked
    if route.auth is Auth.ADMIN and not requester.is_admin:
        raise Forbidden("Only administrators of this server may do this")
    if requester.is_suspended and not route.for_suspended:
        raise UserSuspended
    if requester.is_guest and not route.for_guests:
        raise GuestAccessForbidden
    return requester
