"""Signatures verified on other cores, in processes that live while there is much to verify.

A thread gets little of a second core: before and after each signature it wants the interpreter's lock.
"""

import fcntl
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from homeserver.protocol.signatures import Proof
from homeserver.runtime import verifier_process
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.concurrency import TimedOut, timeout
from homeserver.runtime.verifier_process import LENGTH

logger = logging.getLogger(__name__)

IDLE_S = 30.0
"""After so long without work a process is ended: it holds some 12 MiB."""
ANSWER_S = 60.0
"""Something must be wrong with a process that is silent for so long."""
PIPE_BYTES = 1024 * 1024
"""As much as Linux gives to anybody."""
PROGRAM = str(Path(verifier_process.__file__))


class ProcessReactor(Protocol):
    """The reactor as processes see it."""

    def spawnProcess(  # noqa: N802 - Twisted's spelling
        self, processProtocol: Any, executable: str, args: Sequence[str], env: None  # noqa: N803
    ) -> Any: ...  # fmt: skip


class Verifiers:
    """At most `size` processes, begun when first needed. All methods are for the reactor thread."""

    def __init__(self, reactor: ProcessReactor, clock: Clock, size: int) -> None:
        self._reactor = reactor
        self._clock = clock
        self._size = size
        self._running: list[_Process] = []
        self._is_stopped = False
        """Or it was seen that they do not work here."""

    async def are_good(self, proofs: Sequence[Proof]) -> bool:
        """Have all been found to be good? False may also mean that no process could be asked, or one died."""
        if not proofs:
            return True
        process = self._least_busy()
        if process is None:
            return False
        try:
            return await timeout(self._clock, ANSWER_S, process.ask(proofs))
        except TimedOut:
            logger.warning("A process that verifies signatures does not answer, and is ended")
            process.end()
            return False

    def prepare(self) -> None:
        """There will be much to verify in a moment: start a process, if there is none."""
        if not self._running:
            self._start()

    def stop(self) -> None:
        """End them; who still waits is told that nobody could be asked."""
        self._is_stopped = True
        for process in list(self._running):
            process.end()

    def _least_busy(self) -> "_Process | None":
        process = min(self._running, key=lambda one: one.unanswered, default=None)
        if process is not None and (process.unanswered == 0 or len(self._running) >= self._size):
            return process
        return self._start() or process

    def _start(self) -> "_Process | None":
        if self._is_stopped:
            return None
        process = _Process(self._clock, self._ended)
        try:
            # -I: neither the working folder nor the environment says what it imports.
            self._reactor.spawnProcess(process, sys.executable, [sys.executable, "-I", PROGRAM], None)
        except OSError as error:
            logger.warning("No process for verifying signatures can be started, threads do it: %s", error)
            return None
        self._running.append(process)
        return process

    def _ended(self, process: "_Process", why: str) -> None:
        if process not in self._running:
            return
        self._running.remove(process)
        if why:
            logger.warning("A process that verifies signatures ended, threads do its work: %s", why)
            self._is_stopped = self._is_stopped or not process.has_answered


class _Process(ProcessProtocol):
    """One of them. `ended` is told when it is no more, and why, unless it was let go."""

    transport: Any

    def __init__(self, clock: Clock, ended: "Callable[[_Process, str], None]") -> None:
        self._clock = clock
        self._ended = ended
        self.has_answered = False
        self._asked: deque[tuple[int, Deferred[bool]]] = deque()
        self._told = bytearray()
        self._ending: DelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's spelling
        """Room for what is to be verified while the reactor does something else for a moment."""
        with suppress(OSError):
            fcntl.fcntl(self.transport.pipes[0].fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._end_when_idle()

    @property
    def unanswered(self) -> int:
        """Frames it has not answered yet."""
        return len(self._asked)

    async def ask(self, proofs: Sequence[Proof]) -> bool:
        """Are all of them good?"""
        self._cancel_ending()
        answered: Deferred[bool] = Deferred()
        self._asked.append((len(proofs), answered))
        self.transport.write(_frame(proofs))
        return await answered

    def end(self) -> None:
        """Let it go, at once."""
        self._ended(self, "")
        self._cancel_ending()
        self.transport.signalProcess("KILL")

    def _end_when_idle(self) -> None:
        if not self._asked and self._ending is None:
            self._ending = self._clock.call_later(IDLE_S, self.end)

    def _cancel_ending(self) -> None:
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        self._ending = None

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's spelling
        self._told += data
        while self._asked and len(self._told) >= self._asked[0][0]:
            self.has_answered = True
            count, answered = self._asked.popleft()
            are_good = all(self._told[:count])
            del self._told[:count]
            _fire(answered, are_good)
        self._end_when_idle()

    def errReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's spelling
        logger.warning("A process that verifies signatures says: %s", data[:1000].decode(errors="replace"))

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's spelling
        self._cancel_ending()
        self._ended(self, reason.getErrorMessage())
        while self._asked:
            _fire(self._asked.popleft()[1], False)


def _fire(answered: "Deferred[bool]", are_good: bool) -> None:
    if not answered.called:  # whoever asked may have been cancelled meanwhile
        answered.callback(are_good)


def _frame(proofs: Sequence[Proof]) -> bytes:
    parts = [b""]
    for message, signature, key in proofs:
        parts += (LENGTH.pack(len(message)), signature, key, message)
    parts[0] = LENGTH.pack(sum(map(len, parts)))
    return b"".join(parts)
