"""How many connections one address may have, so that nobody takes all that the system lets us open."""

import logging
from collections import Counter
from ipaddress import ip_address

from homeserver.runtime.addresses import network_of
from homeserver.runtime.clock import Clock

logger = logging.getLogger(__name__)

SAY_EVERY_S = 60


class Crowds:
    """Connections by network: an IPv4 address, or what one customer has of IPv6. 0: as many as they like."""

    def __init__(self, clock: Clock, most: int = 0) -> None:
        self._clock = clock
        self._most = most
        self._open: Counter[str] = Counter()
        self._said_at = -float(SAY_EVERY_S)
        self._unsaid = 0

    def enter(self, address: str) -> bool:
        """One more from there; it must `leave`. Is it welcome?

        Always, where it comes from this machine or a private network: there stand proxies, with many behind.
        """
        if not self._most or _is_near(address):
            return True
        network = network_of(address)
        self._open[network] += 1
        if self._open[network] <= self._most:
            return True
        self._say(network)
        return False

    def leave(self, address: str) -> None:
        """One less, welcome or not."""
        if self._most and not _is_near(address):
            network = network_of(address)
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]

    def _say(self, network: str) -> None:
        self._unsaid += 1
        now = self._clock.monotonic()
        if now - self._said_at >= SAY_EVERY_S:
            logger.warning(
                "Closed %d connections above max_connections_per_address (%d), the last from %s",
                self._unsaid, self._most, network,
            )  # fmt: skip
            self._said_at, self._unsaid = now, 0


def _is_near(address: str) -> bool:
    try:
        return ip_address(address).is_private  # also loopback
    except ValueError:
        return True  # a Unix socket
