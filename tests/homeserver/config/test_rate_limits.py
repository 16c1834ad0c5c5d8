"""Every limit an operator can set limits something."""

import re
from pathlib import Path

import pytest

from homeserver.config.rate_limits import RateLimits

HOMESERVER = Path(__file__).resolve().parents[3] / "homeserver"
SPENT = re.compile(r"""(?:limited=|\bspend\(\s*)"(\w+)\"""")


@pytest.fixture(scope="module")
def spent() -> set[str]:
    return {name for path in HOMESERVER.rglob("*.py") for name in SPENT.findall(path.read_text())}


def test_every_limit_is_spent_somewhere(spent: set[str]) -> None:
    assert set(RateLimits().by_name()) - spent == set()


def test_nothing_is_spent_that_cannot_be_configured(spent: set[str]) -> None:
    assert spent - set(RateLimits().by_name()) == set()


def test_all_are_on_by_default() -> None:
    assert None not in RateLimits().by_name().values()
