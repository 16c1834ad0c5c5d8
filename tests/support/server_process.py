"""A server as its owner starts it: a process, a configuration file, a folder, a port."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from http.client import HTTPConnection, HTTPException
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


class Place:
    """Where a server runs and is spoken to: here, beside the tests."""

    def command(self, command: list[str]) -> list[str]:
        """How to run it there."""
        return command

    def entered(self) -> AbstractContextManager[None]:
        """Sockets made meanwhile are there."""
        return nullcontext()

    def connection(self, host: str, port: int, *, timeout_s: float) -> HTTPConnection:
        return HTTPConnection(host, port, timeout=timeout_s)


class ServerProcess:
    """May be started, stopped, killed and started again: address and data stay the same."""

    def __init__(
        self, folder: Path, *, database: str = "sqlite:///homeserver.db", host: str = "127.0.0.1",
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.place = place or Place()
        self.host = host
        with self.place.entered():
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
                self.place.command(self.command()),
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

    def connection(self, *, timeout_s: float = 60.0) -> HTTPConnection:
        """To its client API, as soon as there is a request."""
        return self.place.connection(self.host, self.port, timeout_s=timeout_s)

    def _answers(self) -> bool:
        with closing(self.connection(timeout_s=2)) as connection:
            try:
                connection.request("GET", "/_matrix/client/versions")
                return "versions" in json.load(connection.getresponse())
            except (OSError, HTTPException, ValueError):
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


def children_cpu_s() -> float:
    """What the processes that this one started, and waited for, have used of the CPU."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
