"""Alice and Bob in a house where only their own things are."""

import pytest

from homeserver.runtime.database import Database
from tests.support.clock import FakeClock
from tests.support.personal import ALICE, BOB, House
from tests.support.personal_api import Person


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return House(sqlite_database, time)


@pytest.fixture
def alice(house: House) -> Person:
    return Person(house, ALICE)


@pytest.fixture
def bob(house: House) -> Person:
    return Person(house, BOB)
