"""A throw-away PostgreSQL server for the test session, installed or from the pgserver wheel.

It does not sync to the disk. As root it runs as an unprivileged user, since PostgreSQL refuses root.
"""

import glob
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2


class NoPostgresql(Exception):
    """Neither an installed server nor the wheel was found, or it does not start."""


def find_programs() -> Path:
    """The directory with `initdb` and `postgres`, the newest one installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(path.split("/")[4]))
    for pattern in ("/usr/pgsql-*/bin/initdb", "/opt/homebrew/opt/postgresql*/bin/initdb"):
        found = sorted(glob.glob(pattern)) + found
    if found:
        return Path(found[-1]).parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    wheel = importlib.util.find_spec("pgserver")
    if wheel is not None and wheel.origin is not None:
        programs = Path(wheel.origin).parent / "pginstall" / "bin"
        if (programs / "initdb").exists():
            return programs
    raise NoPostgresql("no PostgreSQL is installed, and no pgserver wheel: pip install pgserver")


class Server:
    """A running server, reachable through a socket in its own directory."""

    def __init__(self) -> None:
        self._user = _unprivileged_user()
        self._directory = Path(tempfile.mkdtemp(prefix="postroom-pg-", dir="/tmp"))  # a socket path is short
        try:
            self._give_away(self._directory)
            self._programs = self._readable(find_programs())
            self._data = self._directory / "data"
            self._initialise()
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def url(self, database: str = "postgres") -> str:
        return f"postgresql:///{database}?host={self._directory}&user=postgres"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database; its URL."""
        self._command(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self._command(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def terminate_connections(self) -> None:
        """What a restart of the server does to its clients."""
        self._command(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def kill(self) -> None:
        """Stop at once, as in a crash."""
        self._process.send_signal(3)  # SIGQUIT: immediate shutdown
        self._process.wait(20)

    def start_again(self) -> None:
        self._process = self._start()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(2)  # SIGINT: fast shutdown
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _command(self, sql: str) -> None:
        connection = psycopg2.connect(self.url())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
        finally:
            connection.close()

    def _initialise(self) -> None:
        command = [
            str(self._programs / "initdb"),
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
        ]
        done = subprocess.run(
            [*command, "--encoding=UTF8", "--locale=C", "--no-instructions"],
            user=self._user,
            cwd=self._directory,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise NoPostgresql(f"initdb failed: {done.stderr.strip()}")

    def _start(self) -> "subprocess.Popen[bytes]":
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._directory),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "shared_buffers": "64MB",
            "max_connections": "60",
            "autovacuum": "off",
            "log_min_messages": "fatal",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        log = (self._directory / "log").open("ab")
        process = subprocess.Popen(
            command,
            user=self._user,
            cwd=self._directory,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests
        )
        log.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg2.connect(self.url()).close()
                return process
            except psycopg2.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    log_text = (self._directory / "log").read_text("utf-8", "replace")
                    raise NoPostgresql(f"PostgreSQL does not start: {log_text.strip() or error}") from None
                time.sleep(0.02)

    def _give_away(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user, -1)

    def _readable(self, programs: Path) -> Path:
        """Where the server's user may run them: a wheel under /root it cannot even see, so it is copied."""
        if self._user is None or all(part.stat().st_mode & 0o001 for part in (programs, *programs.parents)):
            return programs
        copied = self._directory / "programs"
        shutil.copytree(programs.parent, copied / "pgserver" / "pginstall", symlinks=True)
        libraries = programs.parents[2] / "pgserver.libs"  # where the wheel's programs look for them
        if libraries.is_dir():
            shutil.copytree(libraries, copied / "pgserver.libs")
        return copied / "pgserver" / "pginstall" / "bin"


def _unprivileged_user() -> int | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return 65_534
