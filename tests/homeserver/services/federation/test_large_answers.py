"""Answers of megabytes to servers that read slowly."""

from homeserver.protocol.ids import ServerName
from homeserver.services.federation.large_answers import CHUNK_BYTES, LargeAnswers

SLOW, GREEDY, HONEST = ServerName("slow.example"), ServerName("greedy.example"), ServerName("honest.example")
PIECES = [b"x" * 1_000] * 1_000


def test_an_answer_is_read_whole_and_in_chunks() -> None:
    answers = LargeAnswers()
    answer = answers.hold(HONEST, [b"[", *PIECES, b"]"])
    chunks = list(answer)
    assert b"".join(chunks) == b"[" + b"x" * 1_000_000 + b"]"
    assert all(len(chunk) < CHUNK_BYTES + 1_000 for chunk in chunks)
    answer.close()
    assert answers.held == 0


def test_an_answer_that_nobody_begins_to_read_is_let_go_as_well() -> None:
    answers = LargeAnswers()
    answer = answers.hold(HONEST, PIECES)
    assert answers.held == answer.length
    answer.close()
    answer.close()
    assert answers.held == 0


def test_who_is_held_most_for_loses_the_oldest_answer() -> None:
    answers = LargeAnswers(5_000_000)
    slow = answers.hold(SLOW, PIECES)
    greedy = [answers.hold(GREEDY, PIECES) for _ in range(4)]
    honest = answers.hold(HONEST, PIECES)
    assert answers.held == 5_000_000
    assert list(greedy[0]) == []
    assert all(len(b"".join(answer)) == 1_000_000 for answer in (slow, honest, *greedy[1:]))


def test_one_server_alone_cannot_hold_more_than_all_may() -> None:
    answers = LargeAnswers(5_000_000)
    for _ in range(100):
        newest = answers.hold(GREEDY, PIECES)
        assert answers.held <= 5_000_000
    assert len(b"".join(newest)) == 1_000_000


def test_an_answer_larger_than_all_may_be_is_given_all_the_same() -> None:
    answers = LargeAnswers(500_000)
    answers.hold(GREEDY, PIECES)
    assert len(b"".join(answers.hold(HONEST, PIECES))) == 1_000_000
