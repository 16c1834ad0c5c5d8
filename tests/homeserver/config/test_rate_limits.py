"""Every limit an operator can set limits something."""

import re
from pathlib import Path

import pytest

from homeserver.config.rate_limits import RateLimits

HOMESERVER = Path(__file__).resolve().parents[3] / "homeserver"
SPENT = re.compile(r"""(?:limited=|\bspend\(\s*)"(\w+)\"""")


@pytest.fixture(scope="module")
def source() -> str:
    """Where limits are spent."""
    files = [path for floor in ("api", "services") for path in (HOMESERVER / floor).rglob("*.py")]
    return "\n".join(path.read_text() for path in files)


def test_every_limit_is_spent_somewhere(source: str) -> None:
    assert [name for name in RateLimits().by_name() if f'"{name}"' not in source] == []


def test_nothing_is_spent_that_cannot_be_configured(source: str) -> None:
    assert set(SPENT.findall(source)) - set(RateLimits().by_name()) == set()


def test_all_are_on_by_default() -> None:
    assert None not in RateLimits().by_name().values()
