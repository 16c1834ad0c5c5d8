"""One line for each request, for operators who set `homeserver.http.access` to `info` in the configuration.

Queries are left out: they may hold access tokens.
"""

import logging

from homeserver.http.request import Request

logger = logging.getLogger("homeserver.http.access")
logger.setLevel(logging.WARNING)  # off, whatever the level of the rest


def note(request: Request, status: int, seconds: float) -> None:
    """The request was answered; sending has yet to happen. Costs next to nothing while off."""
    if logger.isEnabledFor(logging.INFO):
        requester = request.known_requester
        logger.info(
            "%s %s %s %d %.1f ms %s",
            request.client_ip or "unix",
            request.method or "-",
            request.path,
            status,
            seconds * 1000,
            requester.user_id if requester is not None else "-",
        )
