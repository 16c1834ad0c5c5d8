"""A unit of work on its way through the database, and what became of it."""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from homeserver.runtime import log_context
from homeserver.runtime.concurrency import failure_of
from homeserver.runtime.database.transaction import Effect


class Outcome(Deferred[Any]):
    """The answer to a write. It cannot be cancelled: a write asked for happens and is answered."""

    def cancel(self) -> None:
        """Nothing: the coroutine goes on until the write is answered."""


class Work:
    """A write that waits its turn, then its answer."""

    __slots__ = (
        "args",
        "asked_at",
        "context",
        "effects",
        "failure",
        "function",
        "kwargs",
        "outcome",
        "result",
    )

    def __init__(
        self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.outcome = Outcome()
        self.context = log_context.current()
        self.asked_at = time.monotonic()
        self.result: object = None
        self.failure: BaseException | None = None
        self.effects: list[Effect] = []

    def fail(self, error: BaseException) -> None:
        """It did not happen."""
        self.failure = error
        self.effects = []

    def answer(self) -> None:
        """Tell the caller; on the reactor thread."""
        if self.outcome.called:
            return
        if self.failure is not None:
            self.outcome.errback(failure_of(self.failure))
        else:
            self.outcome.callback(self.result)
