"""A real Synapse: its virtual environment, and a server process of it.

The environment is made once, in build/synapse of the repository; POSTROOM_SYNAPSE_VENV names one that exists.
`python -m tests.peers.federation.synapse` makes it ahead of the tests.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.support.server_process import ROOT

VERSION = "1.163.2"
INSTALL_SECONDS = 900


class NoSynapse(Exception):
    """It cannot be had here; the message says why."""


def synapse_python() -> Path:
    """The Python of an environment that holds Synapse. Raises NoSynapse."""
    named = os.environ.get("POSTROOM_SYNAPSE_VENV")
    if named:
        python = Path(named) / "bin" / "python"
        if not python.exists():
            raise NoSynapse(f"POSTROOM_SYNAPSE_VENV: there is no {python}")
        return python
    folder = ROOT / "build" / "synapse"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "synapse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        marker = folder / f"installed-{VERSION}"
        if not marker.exists():
            _install(folder)
            marker.touch()
    return folder / "bin" / "python"


def _install(folder: Path) -> None:
    python = folder / "bin" / "python"
    requirements = ["setuptools<81", f"matrix-synapse=={VERSION}"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoSynapse(f"matrix-synapse {VERSION}: {error}") from error
        if done.returncode != 0:
            raise NoSynapse(f"matrix-synapse {VERSION}: {done.stderr[-600:]}")


if __name__ == "__main__":
    print(synapse_python())
