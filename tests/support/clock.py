"""A clock that stands still until a test moves it."""

from twisted.internet import task

from homeserver.runtime.clock import Clock

START_S = 1_700_000_000.0


class FakeClock(Clock):
    """Begins in November 2023; `advance` moves it and makes what was due happen, in order."""

    def __init__(self) -> None:
        self.reactor = task.Clock()
        seconds = self.reactor.seconds
        super().__init__(self.reactor, wall=lambda: START_S + seconds(), monotonic=seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass. What becomes due on the way happens at its own time."""
        end = self.reactor.seconds() + seconds
        while calls := [call for call in self.reactor.getDelayedCalls() if call.getTime() <= end]:
            due = min(call.getTime() for call in calls)
            self.reactor.advance(max(0.0, due - self.reactor.seconds()))
        self.reactor.advance(end - self.reactor.seconds())

    @property
    def timers(self) -> int:
        """How many calls are still to come."""
        return len(self.reactor.getDelayedCalls())
