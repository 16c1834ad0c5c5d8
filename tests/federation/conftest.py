"""Alice, Bob and Carol, each on a server of their own."""

import pytest

from tests.support.federation import Federation
from tests.support.people import Person


@pytest.fixture
def alice(federation: Federation) -> Person:
    """Of `one`."""
    return federation.servers("one")[0].register("alice")


@pytest.fixture
def bob(federation: Federation) -> Person:
    """Of `two`."""
    return federation.servers("two")[0].register("bob")


@pytest.fixture
def carol(federation: Federation) -> Person:
    """Of `three`."""
    return federation.servers("three")[0].register("carol")
