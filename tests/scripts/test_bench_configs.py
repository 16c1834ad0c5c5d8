"""The load generator's configurations load, and make Postroom equal to what it is compared with."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from homeserver.config import load

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_open_registration_no_limits_presence_on_loopback_only(kind: str) -> None:
    config = load(BENCH / f"postroom-{kind}.yaml")
    assert config.registration.mode == "open"
    assert set(config.rate_limits.by_name().values()) == {None}
    assert config.presence.enabled
    assert config.listeners[0].addresses == ("127.0.0.1",)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_generator_looks_for_it_where_it_listens(kind: str) -> None:
    servers = tomllib.loads((BENCH / "servers.toml").read_text())["servers"]
    entry = servers[f"postroom-{kind}"]
    config = load(BENCH / f"postroom-{kind}.yaml")
    assert config.listeners[0].port == urlsplit(entry["base_url"]).port
    if kind == "postgres":
        assert urlsplit(config.database).port == int(entry["vars"]["pgport"])
