"""The fixtures of all tests: time, databases, and (further down the tree) a whole server and its people."""

import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from homeserver.runtime.database import Database, open_database
from homeserver.runtime.migrations import DialectName
from tests.support.clock import FakeClock
from tests.support.database import Databases, storage_migrations
from tests.support.federation import Federation, federate
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import QUIET, WholeServer

FIGURE = "figure"
"""The property of a test whose value is told at the end of the run."""

DIALECTS: tuple[DialectName, ...] = ("sqlite", "postgresql")

# An example that takes long is no failure, since the machine may be busy. Each run tries the same ones.
hypothesis_settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("tests")


@pytest.fixture(autouse=True)
def chance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in each run of a test, so that a failure can be had again.

    Pauses vary by it, and IDs are drawn by it: they break ties between events.
    """
    drawn = Random(request.node.nodeid)
    monkeypatch.setattr(secrets, "token_bytes", lambda size=None: drawn.randbytes(size or 32))
    random.seed(request.node.nodeid)


@pytest.fixture
def time() -> FakeClock:
    """A clock that stands still until the test moves it: `time.advance(5.1)`."""
    return FakeClock()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The session's factory of databases."""
    factory = Databases(tmp_path_factory.mktemp("databases"))
    yield factory
    factory.stop()


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> DialectName:
    """Each kind of database in turn."""
    chosen: DialectName = request.param
    return chosen


@pytest.fixture
def database(databases: Databases, dialect: DialectName) -> Iterator[Database]:
    """The storage's tables without rows, on each kind of database; works run at once."""
    url = databases.fresh(dialect)
    opened = open_database(url, inline=True, durable=False, migrations=storage_migrations())
    opened.start()
    yield opened
    result(opened.stop())
    _remove(url)


@pytest.fixture
def sqlite_database(databases: Databases) -> Iterator[Database]:
    """As `database`, on SQLite only: for tests of what lies above the SQL."""
    url = databases.fresh("sqlite")
    opened = open_database(url, inline=True, durable=False, migrations=storage_migrations())
    opened.start()
    yield opened
    result(opened.stop())
    _remove(url)


@pytest.fixture
def settings() -> str:
    """What stands in the `homeserver.yaml` of `server`: for tests to put something else in its place."""
    return QUIET


@pytest.fixture
def server(databases: Databases, time: FakeClock, tmp_path: Path, settings: str) -> Iterator[WholeServer]:
    """The whole server on SQLite, and time that stands still. `server.restart()` begins a new process."""
    yield from _serve(databases.fresh("sqlite"), time, tmp_path, settings)


@pytest.fixture
def each_server(
    databases: Databases, dialect: DialectName, time: FakeClock, tmp_path: Path, settings: str
) -> Iterator[WholeServer]:
    """As `server`, on each kind of database in turn: for tests of what is stored."""
    yield from _serve(databases.fresh(dialect), time, tmp_path, settings)


@pytest.fixture
def federation(databases: Databases, time: FakeClock, tmp_path: Path) -> Iterator[Federation]:
    """Whole servers that federate in memory: `one, two = federation.servers("one", "two")`."""
    yield from federate(time, lambda: databases.fresh("sqlite"), tmp_path)


@pytest.fixture
def alice(server: WholeServer) -> Person:
    return server.register("alice")


@pytest.fixture
def bob(server: WholeServer) -> Person:
    return server.register("bob")


@pytest.fixture
def carol(server: WholeServer) -> Person:
    return server.register("carol")


@pytest.fixture
def empty_database_url(databases: Databases, dialect: DialectName) -> str:
    """Where a database without any table may be opened, on each kind of database."""
    return databases.empty(dialect)


def _serve(url: str, time: FakeClock, folder: Path, settings: str) -> Iterator[WholeServer]:
    server = WholeServer(url, time, settings=settings, folder=folder)
    yield server
    server.stop()
    _remove(url)


def _remove(url: str) -> None:
    if url.startswith("sqlite:///"):
        for end in ("", "-wal", "-shm", ".lock"):
            Path(url.removeprefix("sqlite:///") + end).unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured, whether they passed or not."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == FIGURE:
                        terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
