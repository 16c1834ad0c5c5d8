"""Who may make this server ask another one, on routes that need no access token.

Users may. For others, what another server must be asked for is counted by address, so that nobody uses this
server to knock at every door there is.
"""

from typing import Protocol

from homeserver.http.request import Request
from homeserver.protocol.errors import MissingToken
from homeserver.protocol.requester import Requester
from homeserver.runtime.addresses import network_of
from homeserver.services.accounts import AccountServices
from homeserver.services.rate_limits import RateLimits


class KnowsPeople(Protocol):
    @property
    def accounts(self) -> AccountServices: ...

    @property
    def rate_limits(self) -> RateLimits: ...


async def require_user(services: KnowsPeople, request: Request) -> None:
    """Raises MissingToken, UnknownToken and what else keeps a token from being used."""
    if request.known_requester is not None:
        return
    token = request.access_token()
    if token is None:
        raise MissingToken
    found = services.accounts.sessions.find(token)
    if not isinstance(found, Requester):
        await found


async def count_strangers(services: KnowsPeople, request: Request) -> None:
    """Raises LimitExceeded for those who do not say who they are and ask too much."""
    if request.access_token() is not None:
        await require_user(services, request)
    else:
        services.rate_limits.spend("remote_lookups", network_of(request.client_ip))
