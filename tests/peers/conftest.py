"""A real server for real clients, and what to do when a client is not installed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here talks to a real peer."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.peers)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server on SQLite. Its log must be free of tracebacks at the end."""
    process = ServerProcess(tmp_path / "server")
    process.start()
    yield process
    process.end()
    assert not process.tracebacks(), process.tracebacks()


def missing(what: str) -> None:
    """Skip the test for want of a peer; where peers are required, fail it."""
    if os.environ.get("POSTROOM_REQUIRE_PEERS") == "1":
        pytest.fail(f"{what} is required")
    pytest.skip(f"needs {what}")
