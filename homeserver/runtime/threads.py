"""Blocking work in a few threads, started when first needed, with the log context carried along."""

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.runtime import log_context
from homeserver.runtime.concurrency import failure_of

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class ThreadReactor(Protocol):
    """The reactor as threads see it."""

    def callFromThread(self, f: Callable[..., Any], *args: object, **kwargs: object) -> None:  # noqa: N802
        """Call `f` on the reactor thread, soon."""


class Postbox:
    """Hands calls from any thread to the reactor thread, in order, waking it once for many."""

    def __init__(self, reactor: ThreadReactor) -> None:
        self._reactor = reactor
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = SimpleQueue()
        self._is_called = False

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call `function(*args)` on the reactor thread."""
        self._calls.put((function, args))
        if not self._is_called:
            self._is_called = True
            self._reactor.callFromThread(self._deliver)

    def _deliver(self) -> None:
        self._is_called = False  # before looking: a call posted from now on wakes the reactor again
        for _ in range(self._calls.qsize()):
            function, args = self._calls.get_nowait()
            try:
                function(*args)
            except Exception:
                logger.exception("A call handed over by a thread failed")


class _Job:
    __slots__ = ("args", "context", "function", "kwargs", "waiter")

    def __init__(
        self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.waiter: Deferred[Any] = Deferred()
        self.context = log_context.current()


class Threads:
    """At most `size` threads; a job waits for a free one. All methods are for the reactor thread."""

    def __init__(self, reactor: ThreadReactor, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._postbox = Postbox(reactor)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._ended = 0
        self._all_ended: Deferred[None] = Deferred()
        self._is_stopped = False
        self.unanswered = 0
        """Jobs that wait or run."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, from a thread. Cancelled before it began, it never begins."""
        if self._is_stopped:
            raise RuntimeError(f"The {self._name} threads have stopped")
        job = _Job(function, args, kwargs)
        self.unanswered += 1
        if len(self._threads) < min(self.unanswered, self._size):
            self._start_thread()
        self._jobs.put(job)
        result: T = await job.waiter
        return result

    async def stop(self) -> None:
        """Finish what was asked for, then end the threads."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._threads:
            for _ in self._threads:
                self._jobs.put(None)
            await self._all_ended
            for thread in self._threads:
                thread.join()

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result: object = None
            if not job.waiter.called:
                log_context.enter(job.context)
                try:
                    result = job.function(*job.args, **job.kwargs)
                except BaseException as error:  # whatever it is, its caller must hear of it
                    result = failure_of(error)
            self._postbox.post(self._answer, job.waiter, result)
            del job, result  # nothing is kept alive by an idle thread
        self._postbox.post(self._end)

    def _answer(self, waiter: "Deferred[Any]", result: object) -> None:
        self.unanswered -= 1
        if isinstance(result, Failure):
            waiter.errback(result)
        else:
            waiter.callback(result)

    def _end(self) -> None:
        self._ended += 1
        if self._ended == len(self._threads):
            self._all_ended.callback(None)
