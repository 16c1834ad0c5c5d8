"""How long a room waits for another server, while the events of others stand in line.

A question that takes longer goes on beside the room. The event it was for is tried again later, and finds the
answer there: so a server that is slow and honest gets its events in, and one that is slow on purpose holds up
nobody but itself.
"""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, NamedTuple

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import RoomId, ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import Gate, TimedOut, timeout
from homeserver.runtime.memory import Memory
from homeserver.runtime.tasks import Tasks
from homeserver.services.rooms.receiving.ports import CannotJudge

TURN_S, SLOW_TURN_S = 10.0, 5.0
"""For one turn of a server's events in a room; less for a server that used it up before."""
FILLING_S = 60.0
"""And for gaps, as long as something comes: the room takes nothing else in meanwhile."""
SLOW_FOR_S = 600.0
MOST_SLOW = 10_000
LONGEST_S = 600.0
MOST_UNDER_WAY, MOST_OF_ONE = 200, 20
"""Questions in all, and of one server; one of each about a room."""
KEPT_S = 3600.0
MOST_KEPT = 10_000

Lane = tuple[RoomId, ServerName]


class Turn:
    """The time that one turn in a room may take with waiting, by the monotonic clock, and with gaps."""

    __slots__ = ("filling_s", "until")

    def __init__(self, until: float = float("inf")) -> None:
        self.until = until
        self.filling_s = FILLING_S


class Question(NamedTuple):
    """What a server is asked: `lane` says by which room, `about` tells it from others."""

    lane: Lane
    about: Hashable


class _UnderWay:
    def __init__(self, question: Question) -> None:
        self.question = question
        self.ended = Gate()
        self.answer: int | None = None
        self.error: MatrixError | None = None
        self.is_given_up = False  # by the turn that asked: another will come for the answer


class Patience:
    """Asks, and waits as long as the turn lasts."""

    def __init__(self, clock: Clock, tasks: Tasks) -> None:
        self._clock = clock
        self._tasks = tasks
        self._under_way: dict[Lane, _UnderWay] = {}
        self._answers: Memory[Question, int] = Memory(clock, MOST_KEPT)
        self._slow: Memory[Lane, bool] = Memory(clock, MOST_SLOW)

    def begin(self, lane: Lane) -> Turn:
        """A turn that begins now."""
        is_slow = self._slow.get(lane) is not None
        return Turn(self._clock.monotonic() + (SLOW_TURN_S if is_slow else TURN_S))

    def left_s(self, turn: Turn) -> float:
        """How long the turn may still wait."""
        return min(LONGEST_S, max(0.0, turn.until - self._clock.monotonic()))

    def note_slow(self, lane: Lane) -> None:
        """The server used its time up."""
        self._slow.keep(lane, value=True, seconds=SLOW_FOR_S)

    async def answer(
        self, question: Question, work: Callable[[], Coroutine[Any, Any, int]], turn: Turn
    ) -> int:
        """What `work` returns, within the turn. Raises CannotJudge: not yet; else what `work` raises."""
        kept = self._answers.get(question)
        if kept is not None:
            self._answers.forget(question)
            return kept
        asked = self._under_way.get(question.lane) or self._begin(question, work)
        wait_s = 0.0 if asked.is_given_up else self.left_s(turn)
        is_there = asked.ended.is_open or await asked.ended.wait_for(self._clock, wait_s)
        if not is_there:
            asked.is_given_up = True
            self.note_slow(question.lane)
        if not is_there or asked.question != question:
            raise CannotJudge(f"{question.lane[1]} takes long to answer")
        if asked.error is not None:
            raise asked.error
        if asked.answer is None:
            raise CannotJudge(f"{question.lane[1]} gave no answer")
        return asked.answer

    def _begin(self, question: Question, work: Callable[[], Coroutine[Any, Any, int]]) -> _UnderWay:
        server = question.lane[1]
        if len(self._under_way) >= MOST_UNDER_WAY:
            raise CannotJudge("Too many servers take long to answer")
        if sum(lane[1] == server for lane in self._under_way) >= MOST_OF_ONE:
            raise CannotJudge(f"{server} takes long to answer about other rooms")
        asked = self._under_way[question.lane] = _UnderWay(question)
        self._tasks.start(f"ask {server} about {question.lane[0]}", self._ask(asked, work))
        return asked

    async def _ask(self, asked: _UnderWay, work: Callable[[], Coroutine[Any, Any, int]]) -> None:
        question = asked.question
        try:
            asked.answer = await timeout(self._clock, LONGEST_S, work())
            if asked.is_given_up and not asked.ended.waiting:
                self._answers.keep(question, asked.answer, KEPT_S)
        except MatrixError as error:
            asked.error = error
        except TimedOut:
            asked.error = CannotJudge(f"{question.lane[1]} did not answer")
        finally:
            del self._under_way[question.lane]
            asked.ended.open()
