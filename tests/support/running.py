"""Run coroutines in tests: `result` where nothing really waits, a `ThreadLoop` where threads do."""

import time
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.runtime.concurrency import run

T = TypeVar("T")


def result(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns or raises. It must not wait: with a fake clock, use `Running`."""
    running = Running(coroutine)
    assert running.is_done, "The coroutine waits for something"
    return running.result()


class Running:
    """A coroutine that was started and may still be waiting."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._outcome: list[Any] = []
        self._deferred: Deferred[Any] = run(coroutine)
        self._deferred.addBoth(self._outcome.append)

    @property
    def is_done(self) -> bool:
        return bool(self._outcome)

    def cancel(self) -> None:
        self._deferred.cancel()

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        assert self._outcome, "The coroutine still waits"
        outcome = self._outcome[0]
        if isinstance(outcome, Failure):
            raise outcome.value
        return outcome


class ThreadLoop:
    """As much of a reactor as threads need: calls from threads happen while `finish` waits."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., Any], Any, Any]] = SimpleQueue()

    def callFromThread(self, f: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self._calls.put((f, args, kwargs))

    def finish(self, *coroutines: Coroutine[Any, Any, Any], within: float = 20.0) -> list[Any]:
        """Run them side by side until all are done; what they returned, raising what the first raised."""
        running = [Running(coroutine) for coroutine in coroutines]
        self.until(lambda: all(one.is_done for one in running), within=within)
        return [one.result() for one in running]

    def result(self, coroutine: Coroutine[Any, Any, T], *, within: float = 20.0) -> T:
        """What one coroutine returns or raises."""
        value: T = self.finish(coroutine, within=within)[0]
        return value

    def until(self, condition: Callable[[], bool], *, within: float = 20.0) -> None:
        """Make calls until the condition holds."""
        deadline = time.monotonic() + within
        while not condition():
            try:
                function, args, kwargs = self._calls.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"Still waiting after {within} s") from None
            function(*args, **kwargs)
