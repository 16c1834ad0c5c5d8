"""What answers of other servers may hold in memory while they come, all connections together.

Each has a bound of its own, but they add up: whoever makes us ask many servers at once, and lets them answer
slowly, would otherwise hold the sum of all bounds.
"""

from typing import Protocol

from homeserver.runtime.clock import Clock

SMALL_ANSWER_BYTES = 128 * 1024
"""An answer up to here is not counted, and never refused for want of room."""
MOST_HELD_BYTES = 640 * 1024 * 1024
"""More than the largest answer anybody asks for: the state of an enormous room, while it is joined."""


class Incoming(Protocol):
    """An answer that is being read."""

    def make_room(self) -> None:
        """It has to go: the request fails."""


class AnswerBudget:
    """Answers, from the time they turn out not to be small until all of them is here.

    When they are too many, the one that comes most slowly makes room: who is quick gives its room back soon,
    and memory can only be held for long by sending little. Nobody waits for room, so nothing can lock up.
    """

    def __init__(self, clock: Clock, most_bytes: int = MOST_HELD_BYTES) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._answers: dict[Incoming, tuple[int, float]] = {}  # bytes, and since when it is counted
        self.held = 0
        """Bytes, in all."""

    def hold(self, answer: Incoming, size: int) -> None:
        """The answer has grown to so many bytes. It, or others, may have to make room."""
        before, since = self._answers.get(answer) or (0, self._clock.monotonic())
        self._answers[answer] = (size, since)
        self.held += size - before
        while self.held > self._most_bytes:
            chosen = self._slowest()
            self.release(chosen)
            chosen.make_room()

    def release(self, answer: Incoming) -> None:
        """The answer is here, or given up. Nothing happens to one that is not counted."""
        self.held -= self._answers.pop(answer, (0, 0.0))[0]

    def _slowest(self) -> Incoming:
        now = self._clock.monotonic()

        def seconds_for_each_byte(answer: Incoming) -> float:
            size, since = self._answers[answer]
            return (now - since) / size

        return max(self._answers, key=seconds_for_each_byte)
