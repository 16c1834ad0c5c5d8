import io
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from homeserver.protocol.signatures import Proof, SigningKey
from homeserver.runtime import verifier_process
from homeserver.runtime.verifiers import ANSWER_S, IDLE_S, Verifiers, _frame
from tests.support.clock import FakeClock
from tests.support.running import Running

KEY = SigningKey.generate()


class Transport:
    """A process as Twisted shows it to its protocol."""

    def __init__(self, protocol: ProcessProtocol, process: "subprocess.Popen[bytes]") -> None:
        self.protocol = protocol
        self.process = process
        self.pipes = {0: process.stdin}

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self) -> None:
        assert self.process.stdout is not None
        self.protocol.outReceived(os.read(self.process.stdout.fileno(), 65_536))

    def signalProcess(self, name: str) -> None:
        assert name == "KILL"
        self.process.kill()
        self.process.communicate()
        self.protocol.processEnded(Failure(ProcessTerminated(signal=9)))  # type: ignore[no-untyped-call]


class Processes:
    """Real processes without a reactor: what they say is read when a test says so."""

    def __init__(self) -> None:
        self.started: list[Transport] = []
        self.is_out_of_memory = False

    def spawnProcess(
        self, processProtocol: Any, executable: str, args: Sequence[str], env: None  # noqa: N803
    ) -> None:  # fmt: skip
        if self.is_out_of_memory:
            raise OSError("no memory")
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.started.append(Transport(processProtocol, process))
        processProtocol.makeConnection(self.started[-1])

    @property
    def alive(self) -> list[Transport]:
        return [one for one in self.started if one.process.poll() is None]


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    for one in processes.started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def verifiers(processes: Processes, time: FakeClock) -> Verifiers:
    return Verifiers(processes, time, 2)


def proofs(count: int, *, forged: int | None = None) -> list[Proof]:
    """Signed messages; the content of one was altered afterwards."""
    messages = [f"message {number}".encode() for number in range(count)]
    signed = [KEY.verify_key.proof(message, KEY.sign(message)) for message in messages]
    if forged is not None:
        signed[forged] = signed[forged]._replace(message=b"another message")
    return signed


def answer(process: Transport, waiting: Running) -> bool:
    while not waiting.is_done:
        process.read()
    return bool(waiting.result())


def test_another_process_tells_good_signatures_from_forged_ones(
    processes: Processes, verifiers: Verifiers
) -> None:
    good, forged, empty = (
        Running(verifiers.are_good(asked)) for asked in (proofs(50), proofs(50, forged=49), [])
    )
    assert empty.result() is True
    first, second = processes.started
    assert answer(first, good)
    assert not answer(second, forged)


def test_many_questions_are_answered_in_order_by_few_processes(
    processes: Processes, verifiers: Verifiers
) -> None:
    asked = [Running(verifiers.are_good(proofs(20, forged=number % 2 or None))) for number in range(10)]
    assert len(processes.started) == 2
    for process in processes.started:
        while any(not one.is_done for one in asked) and process.protocol.unanswered:  # type: ignore[attr-defined]
            process.read()
    assert [one.result() for one in asked] == [True, False] * 5


def test_a_process_without_work_is_ended_and_another_begun_when_needed(
    processes: Processes, verifiers: Verifiers, time: FakeClock
) -> None:
    assert answer_of_one(processes, verifiers)
    time.advance(IDLE_S - 1)
    assert answer_of_one(processes, verifiers)
    time.advance(IDLE_S - 1)
    assert len(processes.alive) == len(processes.started) == 1
    time.advance(1)
    assert processes.alive == []
    assert answer_of_one(processes, verifiers)
    assert len(processes.started) == 2


def test_a_process_is_begun_for_work_that_is_coming_and_ended_if_none_comes(
    processes: Processes, verifiers: Verifiers, time: FakeClock
) -> None:
    verifiers.prepare()
    verifiers.prepare()
    assert len(processes.started) == 1
    assert answer_of_one(processes, verifiers)
    assert len(processes.started) == 1
    time.advance(IDLE_S)
    assert processes.alive == []
    verifiers.prepare()
    assert len(processes.alive) == 1
    time.advance(IDLE_S)
    assert processes.alive == []


def test_what_a_process_that_dies_was_asked_is_not_vouched_for(
    processes: Processes, verifiers: Verifiers
) -> None:
    assert answer_of_one(processes, verifiers)
    asked = Running(verifiers.are_good(proofs(5)))
    processes.started[0].signalProcess("KILL")
    assert asked.result() is False
    assert answer_of_one(processes, verifiers)
    assert len(processes.started) == 2


def test_a_process_that_stays_silent_is_ended(
    processes: Processes, verifiers: Verifiers, time: FakeClock
) -> None:
    asked = [Running(verifiers.are_good(proofs(5))) for _ in range(3)]
    time.advance(ANSWER_S)
    assert [one.result() for one in asked] == [False] * 3
    assert processes.alive == []


def test_processes_that_never_worked_are_not_begun_again(
    processes: Processes, verifiers: Verifiers, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Running(verifiers.are_good(proofs(5)))
    processes.started[0].signalProcess("KILL")
    assert asked.result() is False
    assert Running(verifiers.are_good(proofs(5))).result() is False
    assert len(processes.started) == 1
    assert "threads do its work" in caplog.text


def test_where_no_process_can_be_begun_nobody_vouches(processes: Processes, verifiers: Verifiers) -> None:
    processes.is_out_of_memory = True
    assert Running(verifiers.are_good(proofs(5))).result() is False
    processes.is_out_of_memory = False
    assert answer_of_one(processes, verifiers)


def test_stopping_ends_them_and_tells_who_waits(processes: Processes, verifiers: Verifiers) -> None:
    asked = Running(verifiers.are_good(proofs(5)))
    verifiers.stop()
    assert asked.result() is False
    assert processes.alive == []
    assert Running(verifiers.are_good(proofs(5))).result() is False


def test_the_program_ends_with_its_input() -> None:
    frames = _frame(proofs(3)) + _frame(proofs(2, forged=0))
    told = io.BytesIO()
    verifier_process.answer_all(io.BytesIO(frames + b"\0\0"), told)
    assert told.getvalue() == bytes([1, 1, 1, 0, 1])


def answer_of_one(processes: Processes, verifiers: Verifiers) -> bool:
    asked = Running(verifiers.are_good(proofs(5)))
    return answer(processes.alive[-1], asked)
