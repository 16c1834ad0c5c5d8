"""The victim, who attacks it, and a room that they share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.adversary import Adversary, View
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.people import Person
from tests.support.whole_server import QUIET, WholeServer


@pytest.fixture
def settings() -> str:
    """Of the victim."""
    return QUIET.replace("presence: {enabled: false}", "presence: {enabled: true}")


@pytest.fixture
def server(databases: Databases, time: FakeClock, tmp_path: Path, settings: str) -> Iterator[WholeServer]:
    """The victim: in memory, where other tests of peers start a process."""
    server = WholeServer(databases.fresh("sqlite"), time, settings=settings, folder=tmp_path)
    yield server
    server.stop()


@pytest.fixture
def mallory(server: WholeServer) -> Adversary:
    return Adversary(server)


@pytest.fixture
def third(server: WholeServer) -> Adversary:
    """A server that has done nothing wrong."""
    return Adversary(server, "innocent.example", seed=b"i")


@pytest.fixture
def room(alice: Person) -> str:
    return alice.create_room(preset="public_chat", room_version="11")


@pytest.fixture
def view(mallory: Adversary, room: str) -> View:
    """Mallory has joined, honestly."""
    return mallory.join(room)
