"""`scripts/serve` takes a fresh clone to a running server, and starts it again at once."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server_process import ROOT, children_cpu_s, free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scripts")]

FIRST_START_SECONDS = 400
SECOND_START_CPU_SECONDS = 3
"""Four times what it takes; the machine may be busy, so that nothing is said of the time."""
CLONED = ("homeserver", "scripts", "pyproject.toml", "README.md")


class Serving:
    """`scripts/serve` at work."""

    def __init__(self, clone: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.said: list[str] = []
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [clone / "scripts" / "serve"],
            cwd=clone.parent,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def wait_for_answer(self, *, within: float) -> None:
        while time.monotonic() - self.started < within:
            assert self._process.poll() is None, "".join(self.said)
            try:
                urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=5).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"No answer within {within} s: {''.join(self.said)}")

    def stop(self) -> int:
        """Ctrl+C; the exit status."""
        os.killpg(self._process.pid, signal.SIGINT)
        status = self._process.wait(10)
        self._reading.join()
        return status

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.said.extend(self._process.stdout)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, port: int) -> Path:
    """The project as it is cloned, but for the port."""
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    folder.mkdir()
    for name in CLONED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    init = folder / "homeserver" / "commands" / "init.py"
    init.write_text(init.read_text().replace("127.0.0.1:8008", f"127.0.0.1:{port}"))
    return folder


@pytest.fixture(scope="module")
def first(clone: Path, port: int) -> Iterator[Serving]:
    """The first start, which makes everything."""
    serving = Serving(clone, port)
    try:
        serving.wait_for_answer(within=FIRST_START_SECONDS)
        yield serving
    finally:
        serving.end()


def test_the_first_start_makes_everything_and_says_what_one_needs_to_know(
    first: Serving, clone: Path
) -> None:
    assert (clone / "homeserver.yaml").is_file()
    assert (clone / "data" / "signing.key").stat().st_mode & 0o777 == 0o600
    assert (clone / "data" / "postroom.db").is_file()
    said = "".join(first.said)
    assert f"listens at    {first.url}" in said
    assert "postroom add-user NAME" in said
    assert str(clone / "data") in said


def test_a_newcomer_can_register(first: Serving) -> None:
    body = {"username": "newcomer", "password": "a long password", "auth": {"type": "m.login.dummy"}}
    request = urllib.request.Request(f"{first.url}/_matrix/client/v3/register", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["user_id"] == "@newcomer:localhost"


def test_the_command_it_names_adds_a_user(first: Serving, clone: Path) -> None:
    command = [clone / ".venv" / "bin" / "postroom", "add-user", "alice", "--password-stdin"]
    done = subprocess.run(command, input="a long password\n", cwd=clone, capture_output=True, text=True)
    assert done.stdout == "Made @alice:localhost.\n"


def test_stopped_and_started_again_it_answers_at_once(first: Serving, clone: Path, port: int) -> None:
    assert first.stop() == 0
    before = children_cpu_s()
    again = Serving(clone, port)
    try:
        again.wait_for_answer(within=30)
        assert again.stop() == 0
    finally:
        again.end()
    assert "Installing" not in "".join(again.said)
    assert children_cpu_s() - before < SECOND_START_CPU_SECONDS


def test_arguments_go_through(first: Serving, clone: Path) -> None:
    done = subprocess.run([clone / "scripts" / "serve", "--help"], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("Usage: postroom serve")
