"""Counts requests against the rate limit that their route names."""

from homeserver.http.request import Request
from homeserver.services.rate_limits import RateLimits, network_of


class RequestLimits:
    """The Router's `limiter`: per user where somebody is signed in, otherwise per address."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits

    def __call__(self, request: Request, name: str) -> None:
        """Raises LimitExceeded."""
        if self._limits.is_on(name):
            requester = request.known_requester
            key = network_of(request.client_ip) if requester is None else requester.user_id
            self._limits.spend(name, key)
