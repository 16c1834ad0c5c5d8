"""A reactor that runs, and a client on it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.certificates import Authority
from tests.support.live_client import Client
from tests.support.remote_servers import (
    LiveReactor,
)


@pytest.fixture(scope="module")
def live() -> Iterator[LiveReactor]:
    reactor = LiveReactor()
    yield reactor
    reactor.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def client(live: LiveReactor, authority: Authority) -> Iterator[Client]:
    with ExitStack() as stack:
        yield Client(live, authority, stack)
