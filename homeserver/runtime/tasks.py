"""Background work: named, logged, stopped at shutdown."""

import logging
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime import log_context
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import Gate, run
from homeserver.runtime.database.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 0.05
LONGEST_STOP_S = 3.0


class Task:
    """A coroutine at work in the background."""

    __slots__ = ("_ended", "_running", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._ended = Gate()
        self._running: Deferred[None] | None = None

    @property
    def is_done(self) -> bool:
        """Has it stopped, however it ended?"""
        return self._ended.is_open

    def cancel(self) -> None:
        """Ask it to stop: CancelledError is raised where it waits, unless it waits for a database write."""
        if self._running is not None and not self.is_done:
            self._running.cancel()

    async def done(self) -> None:
        """Wait until it has stopped."""
        await self._ended.wait()


class Tasks:
    """All background work of the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[Task, None] = {}
        self._is_stopping = False

    def start(self, name: str, coroutine: Coroutine[Any, Any, object]) -> Task:
        """Run the coroutine until it ends. A failure is logged under its name and goes no further.

        After `stop_all` nothing starts: the coroutine is closed unrun.
        """
        task = Task(name)
        if self._is_stopping:
            coroutine.close()
            task._ended.open()
            return task
        self._running[task] = None
        running = run(self._carry(task, coroutine))
        if not task.is_done:
            task._running = running
        return task

    def names(self) -> list[str]:
        """What is running, oldest first."""
        return [task.name for task in self._running]

    async def stop_all(self) -> None:
        """Cancel everything, newest first, and wait until all have stopped, or for three seconds."""
        self._is_stopping = True
        deadline = self._clock.monotonic() + LONGEST_STOP_S
        while self._running and self._clock.monotonic() < deadline:
            for task in reversed(list(self._running)):
                task.cancel()  # again: a task that was waiting for a write has not heard of it
            if self._running:
                await self._clock.sleep(ASK_AGAIN_S)
        if self._running:
            logger.error("Background work that does not stop: %s", ", ".join(self.names()))

    async def _carry(self, task: Task, coroutine: Coroutine[Any, Any, object]) -> None:
        log_context.enter(task.name)
        try:
            await coroutine
        except CancelledError:
            if not self._is_stopping:
                logger.info("Background work %r was cancelled", task.name)
        except (
            DatabaseUnavailable
        ) as error:  # no mistake of the work's: a traceback would tell nobody anything
            logger.error("Background work %r failed: %s", task.name, error)
        except Exception:
            logger.exception("Background work %r failed", task.name)
        finally:
            self._running.pop(task, None)
            task._ended.open()
