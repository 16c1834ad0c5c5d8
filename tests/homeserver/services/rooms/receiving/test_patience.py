"""How long rooms wait for other servers, and for how many questions at a time."""

import pytest

from homeserver.protocol.ids import RoomId, ServerName
from homeserver.runtime.concurrency import Gate
from homeserver.runtime.tasks import Tasks
from homeserver.services.rooms.receiving import CannotJudge
from homeserver.services.rooms.receiving.patience import MOST_OF_ONE, MOST_UNDER_WAY, Patience, Question
from tests.support.clock import FakeClock
from tests.support.running import Running


def test_one_server_that_never_answers_does_not_keep_others_from_being_asked(time: FakeClock) -> None:
    patience, never, asked = Patience(time, Tasks(time)), Gate(), []

    async def hang() -> int:
        asked.append(time.monotonic())
        await never.wait()
        return 0

    async def answer() -> int:
        return 7

    def ask(room: str, server: str, work: object) -> Running:
        question = Question((RoomId(room), ServerName(server)), "state")
        running = Running(patience.answer(question, work, patience.begin(question.lane)))
        time.advance(11)
        return running

    for number in range(MOST_OF_ONE + 5):
        with pytest.raises(CannotJudge):
            ask(f"!{number}", "evil", hang).result()

    assert len(asked) == MOST_OF_ONE < MOST_UNDER_WAY
    assert ask("!room", "good", answer).result() == 7
