"""A listener with endpoints that tests hold back and let go."""

import pytest

from homeserver.http.body_budget import BodyBudget
from tests.homeserver.http.connection.endpoints import LIMITS, Endpoints
from tests.support.http_connection import Listener


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def listener(endpoints: Endpoints) -> Listener:
    return Listener(*endpoints.routes(), limits=LIMITS)


@pytest.fixture
def small_budget(endpoints: Endpoints) -> Listener:
    """Large bodies may hold ten MiB together."""
    return Listener(*endpoints.routes(), limits=LIMITS, bodies=BodyBudget(10 * 1024 * 1024))
