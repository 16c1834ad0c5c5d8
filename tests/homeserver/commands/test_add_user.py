"""`postroom add-user` makes accounts beside a running server, and without one."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.server_process import ROOT, ServerProcess

PASSWORD = "correct horse battery"


def add_user(config: Path, *arguments: str, password: str = PASSWORD) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "homeserver", "add-user", "--config", str(config), "--password-stdin"]
    return subprocess.run(
        [*command, *arguments], input=f"{password}\n", capture_output=True, text=True, timeout=30, cwd=ROOT
    )


def log_in(server: ServerProcess, name: str) -> dict[str, str]:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": PASSWORD,
    }
    request = urllib.request.Request(f"{server.url}/_matrix/client/v3/login", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        granted: dict[str, str] = json.load(answer)
    return granted


def test_while_the_server_runs(server: ServerProcess) -> None:
    done = add_user(server.config, "alice")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Made @alice:peers.test.\n"
    assert log_in(server, "alice")["user_id"] == "@alice:peers.test"


def test_while_it_does_not(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "stopped")
    assert add_user(server.config, "bob", "--admin").stdout == "Made @bob:peers.test, an administrator.\n"
    server.start()
    try:
        assert log_in(server, "bob")["user_id"] == "@bob:peers.test"
    finally:
        server.end()


def test_a_whole_user_id_will_do(server: ServerProcess) -> None:
    assert add_user(server.config, "@carol:peers.test").stdout == "Made @carol:peers.test.\n"


@pytest.mark.parametrize(
    ("name", "password", "says"),
    [
        ("alice smith", PASSWORD, "A user name consists of"),
        ("@dora:elsewhere.org", PASSWORD, "A user name consists of"),
        ("dora", "short", "at least 8 characters"),
        ("dora", "", "at least 8 characters"),
    ],
)
def test_what_will_not_do_is_said(server: ServerProcess, name: str, password: str, says: str) -> None:
    done = add_user(server.config, name, password=password)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_is_given_once(server: ServerProcess) -> None:
    add_user(server.config, "emil")
    assert "is taken" in add_user(server.config, "emil").stderr
