"""`postroom doctor SERVER` beside a real Synapse: do the two believe each other, and why not?"""

import os
import subprocess
import sys

import pytest

from tests.peers.federation.conftest import Start
from tests.peers.federation.people import Outside
from tests.support.server_process import ROOT

pytestmark = pytest.mark.slow


def doctor(postroom: Outside, server: str) -> tuple[int, str]:
    """The command's exit status, and what it prints, with the server's own configuration."""
    process = postroom.process
    command = [sys.executable, "-m", "homeserver", "doctor", "--config", str(process.config), server]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=process.folder, capture_output=True, text=True, timeout=60, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def test_all_is_well_between_a_synapse_and_a_postroom(start: Start, synapse: Outside) -> None:
    ours = start("postroom")
    status, told = doctor(ours, synapse.name)
    assert status == 0, told
    assert "software    Synapse 1." in told
    assert "ok    signature" in told
    status, told = doctor(ours, ours.name)
    assert status == 0, told
    assert "the world finds this server" in told


def test_a_synapse_that_cannot_fetch_our_keys_does_not_believe_us(start: Start, synapse: Outside) -> None:
    ours = start("postroom")
    ours.process.stop()
    status, told = doctor(ours, synapse.name)
    assert status == 1, told
    assert "fail  signature   it does not believe us" in told
    assert f"postroom doctor {ours.name}" in told
