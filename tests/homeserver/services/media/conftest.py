"""A content repository on each database."""

from pathlib import Path

import pytest

from homeserver.runtime.database import Database
from homeserver.services.media import MediaServices
from tests.support.clock import FakeClock
from tests.support.media import open_media
from tests.support.running import result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def media(root: Path, database: Database, time: FakeClock) -> MediaServices:
    services = open_media(root, database, time)
    result(services.start())
    return services
