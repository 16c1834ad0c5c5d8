"""Fixtures for services: a house with its services on each kind of database."""

import pytest

from homeserver.runtime.database import Database
from tests.support.clock import FakeClock
from tests.support.personal import House


@pytest.fixture
def house(database: Database, time: FakeClock) -> House:
    """The personal services on each kind of database."""
    return House(database, time)


@pytest.fixture
def small_house(sqlite_database: Database, time: FakeClock) -> House:
    """The same on SQLite only, for what SQL plays no part in."""
    return House(sqlite_database, time)
