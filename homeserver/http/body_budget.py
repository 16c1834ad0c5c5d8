"""What the bodies of requests may hold in memory, all connections of all listeners together.

A transaction of another server may have 12 MiB, and who sends it is known only when all of it is here: its
signature covers it. So strangers must not be able to make us hold a thousand of them.
"""

from collections import Counter
from typing import Protocol

SMALL_BODY_BYTES = 128 * 1024
"""A body up to here is not counted, if it is the only one of its connection: nobody is ever refused a small
request for want of room."""
MOST_HELD_BYTES = 128 * 1024 * 1024


class Body(Protocol):
    """The body of one request."""

    @property
    def network(self) -> str:
        """Whose it is: one client, as far as addresses tell."""

    @property
    def is_dispensable(self) -> bool:
        """May it be dropped? Not what is being worked on."""

    def make_room(self) -> None:
        """It has to go: its client is told to come back later."""


class BodyBudget:
    """Bodies, from the time they turn out not to be small until their requests are answered.

    When they are too many, those of the network that holds most make room, first what has taken longest.
    So an honest server is served while others flood, or trickle.
    """

    def __init__(self, most_bytes: int = MOST_HELD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bodies: dict[Body, int] = {}  # in the order in which they became large
        self.held = 0
        """Bytes, in all."""

    def hold(self, body: Body, size: int) -> None:
        """The body has grown to so many bytes. It, or others, may have to make room."""
        self.held += size - self._bodies.get(body, 0)
        self._bodies[body] = size
        while self.held > self._most_bytes and (chosen := self._first_to_go()) is not None:
            self.release(chosen)
            chosen.make_room()

    def release(self, body: Body) -> None:
        """The body is not in memory any more. Nothing happens to one that is not counted."""
        self.held -= self._bodies.pop(body, 0)

    def _first_to_go(self) -> Body | None:
        networks: Counter[str] = Counter()
        for body, size in self._bodies.items():
            networks[body.network] += size
        dispensable = (body for body in self._bodies if body.is_dispensable)
        return max(dispensable, key=lambda body: networks[body.network], default=None)
