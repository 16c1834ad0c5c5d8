"""A server as its owner starts it: a process, a configuration file, a folder, a port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from random import SystemRandom

ROOT = Path(__file__).resolve().parents[2]
SERVER_NAME = "peers.test"

CONFIG = """\
server_name: {server_name}
listen: 127.0.0.1:{port}
data_dir: {data_dir}
database: {database}
registration:
  mode: open
passwords:
  hash_passes: 1
  hash_memory_kib: 64
rate_limits:
  enabled: false
"""


class ServerDied(AssertionError):
    """The server ended by itself, or does not answer. The message holds the end of its log."""


class ServerProcess:
    """May be started, stopped, killed and started again: address and data stay the same."""

    def __init__(
        self, folder: Path, *, database: str = "sqlite:///homeserver.db", host: str = "127.0.0.1"
    ) -> None:
        self.folder = folder
        self.port = free_port(host)
        self.url = f"http://{host}:{self.port}"
        self.database = database
        self.config = folder / "homeserver.yaml"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self.config_text())

    def config_text(self) -> str:
        """What stands in the configuration file."""
        return CONFIG.format(
            server_name=SERVER_NAME, port=self.port, data_dir=self.folder / "data", database=self.database
        )

    def command(self) -> list[str]:
        """What is run, in the server's folder."""
        return [sys.executable, "-m", "homeserver", "serve", "--config", str(self.config)]

    @property
    def pid(self) -> int:
        assert self._process is not None, "The server was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, within: float = 30.0) -> None:
        """Start it and wait until it answers."""
        assert not self.is_running, "The server runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        deadline = time.monotonic() + within
        while not self._answers():
            if not self.is_running:
                raise ServerDied(
                    f"The server ended with status {self._process.returncode}:\n{self.log_end()}"
                )
            if time.monotonic() > deadline:
                raise ServerDied(f"No answer within {within} s:\n{self.log_end()}")
            time.sleep(0.05)

    def stop(self, *, within: float = 10.0) -> int:
        """SIGTERM; its exit status. Raises ServerDied if it takes longer."""
        assert self._process is not None, "The server was not started"
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerDied(f"Not stopped within {within} s:\n{self.log_end()}") from None

    def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        assert self._process is not None, "The server was not started"
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """After a test: gone, whatever state it was in."""
        if self.is_running:
            self.kill()

    def log_end(self, lines: int = 60) -> str:
        """The last lines the server wrote."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def tracebacks(self) -> str:
        """Everything in the log from the first traceback on; "" if there is none."""
        text = self.log.read_text("utf-8", "replace")
        return text[max(0, text.find("Traceback") - 300) :][:10_000] if "Traceback" in text else ""

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=2) as answer:
                return "versions" in json.load(answer)
        except (OSError, ValueError):
            return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment.

    Below those the kernel gives to connections, and one of many: other tests look for theirs meanwhile.
    """
    while True:
        port = SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as listening, suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            return port
