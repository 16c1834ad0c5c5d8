"""A listener with endpoints that tests hold back and let go."""

import pytest

from tests.homeserver.http.connection.endpoints import LIMITS, Endpoints
from tests.support.http_connection import Listener


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def listener(endpoints: Endpoints) -> Listener:
    return Listener(*endpoints.routes(), limits=LIMITS)
