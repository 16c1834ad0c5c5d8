"""Running a coroutine by hand: no Deferred unless it really waits, and then only the one it waits for.

This is the fast and the small way to run what a request needs; `runtime.concurrency.run` is for all else.
"""

from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Driven:
    """What runs one coroutine at a time. Subclasses say what becomes of its outcome."""

    __slots__ = ("_context", "_coroutine", "_waiting")

    def __init__(self) -> None:
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._context: Context
        self._waiting: Deferred[Any] | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> None:
        """Run it until it waits or ends. `returned` or `raised` follows, maybe before this returns."""
        self._coroutine = coroutine
        self._context = context
        self._step(None)

    def cancel(self) -> None:
        """Raise CancelledError where the coroutine waits; nothing if it does not wait."""
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    @property
    def waits(self) -> bool:
        """Has the coroutine begun and not ended?"""
        return self._waiting is not None

    def returned(self, value: Any) -> None:
        """The coroutine ended with this result."""
        raise NotImplementedError

    def raised(self, error: Exception) -> None:
        """The coroutine failed."""
        raise NotImplementedError

    def _step(self, result: object) -> None:
        self._waiting = None
        coroutine = self._coroutine
        assert coroutine is not None
        try:
            if isinstance(result, Failure):
                waiting = self._context.run(result.throwExceptionIntoGenerator, coroutine)
            else:
                waiting = self._context.run(coroutine.send, None)  # `await` asks the Deferred itself
        except StopIteration as stop:
            value = stop.value
        except Exception as error:
            self._forget()
            self.raised(error)
            return
        else:
            self._waiting = waiting
            waiting.addBoth(self._step)
            return
        self._forget()
        self.returned(value)

    def _forget(self) -> None:
        self._coroutine = None
        del self._context
