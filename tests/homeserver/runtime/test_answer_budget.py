"""Large answers of other servers share what they may hold in memory while they come."""

from typing import Any

from twisted.internet.defer import Deferred

from homeserver.runtime.concurrency import run
from homeserver.runtime.http_client import AnswerBudget, NoRoom
from homeserver.runtime.http_client.answer_budget import SMALL_ANSWER_BYTES
from homeserver.runtime.http_client.connection import Exchange
from tests.support.clock import FakeClock

LARGE = SMALL_ANSWER_BYTES + 1
PIECE = b"x" * LARGE


class Line:
    """The connection under an answer."""

    is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Answer:
    """An answer that somebody reads."""

    def __init__(self, budget: AnswerBudget) -> None:
        self.line = Line()
        self.exchange = Exchange(self.line)  # type: ignore[arg-type] # what is used of a connection
        self.outcome: list[Any] = []
        reading: Deferred[bytes] = run(self.exchange.read(100 * LARGE, budget))
        reading.addBoth(self.outcome.append)

    def comes(self, piece: bytes = PIECE) -> None:
        self.exchange.add(piece)
        self.exchange.wake()

    def ends(self) -> None:
        self.exchange.is_complete = True
        self.exchange.wake()

    @property
    def is_refused(self) -> bool:
        return bool(self.outcome) and isinstance(getattr(self.outcome[0], "value", None), NoRoom)


def budget_of(answers: int) -> tuple[AnswerBudget, FakeClock]:
    time = FakeClock()
    return AnswerBudget(time, answers * LARGE), time


def test_beyond_the_budget_the_slowest_answer_makes_room() -> None:
    budget, time = budget_of(3)
    trickling, quick = Answer(budget), Answer(budget)
    trickling.comes()
    time.advance(30)
    quick.comes()
    time.advance(1)
    quick.comes()
    assert not trickling.is_refused
    quick.comes()
    assert trickling.is_refused
    assert trickling.line.is_dropped
    quick.ends()
    assert quick.outcome == [3 * PIECE]
    assert budget.held == 0


def test_an_answer_that_is_the_slowest_itself_fails() -> None:
    budget, time = budget_of(2)
    trickling, quick = Answer(budget), Answer(budget)
    trickling.comes()
    time.advance(30)
    quick.comes()
    trickling.comes(b"x")
    assert trickling.is_refused
    quick.ends()
    assert quick.outcome == [PIECE]


def test_small_answers_are_not_counted() -> None:
    budget, _ = budget_of(0)
    answer = Answer(budget)
    answer.comes(b"x" * SMALL_ANSWER_BYTES)
    assert budget.held == 0
    answer.ends()
    assert len(answer.outcome[0]) == SMALL_ANSWER_BYTES


def test_what_is_given_up_gives_its_room_back() -> None:
    budget, _ = budget_of(3)
    answer = Answer(budget)
    answer.comes()
    assert budget.held == LARGE
    answer.exchange.lost()
    answer.exchange.wake()
    assert budget.held == 0
