"""Counts requests against the rate limit that their route names."""

from homeserver.http.request import Request
from homeserver.runtime.addresses import network_of
from homeserver.services.rate_limits import RateLimits


class RequestLimits:
    """The Router's `limiter`: per user or server where one has signed in or signed, otherwise per address."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits

    def __call__(self, request: Request, name: str) -> None:
        """Raises LimitExceeded."""
        if self._limits.is_on(name):
            requester = request.known_requester
            if requester is not None:
                key: str = requester.user_id
            else:
                key = request.origin or network_of(request.client_ip)
            self._limits.spend(name, key)
