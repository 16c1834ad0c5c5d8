"""A house of accounts on SQLite: the SQL itself is tested on both databases under storage."""

import pytest

from homeserver.runtime.database import Database
from tests.support.accounts import House, Person, open_house
from tests.support.clock import FakeClock


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return open_house(sqlite_database, time)


@pytest.fixture
def alice(house: House) -> Person:
    return house.register("alice")
