"""homeserver.yaml.sample explains every key there is, and tells the truth about defaults."""

import re
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.config import DEFAULT_LISTEN, Config, parse
from homeserver.config.server import Listener, Tls

SAMPLE = Path(__file__).resolve().parents[3] / "homeserver.yaml.sample"
WHERE = Path("/srv/postroom/homeserver.yaml")
WRITTEN_OUT_IN_PROSE = {"listeners"}
"""Excludes `listen`, so it cannot be uncommented together with it."""


def uncommented(text: str) -> str:
    """Everything a setting; explanations have a space after the #."""
    return re.sub(r"^( *)#(?! |$)", r"\1", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def sample() -> str:
    return SAMPLE.read_text()


@pytest.fixture(scope="module")
def everything(sample: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(uncommented(sample))
    return content


def default_of(field: "Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def sections() -> list[tuple[str, "Field[Any]"]]:
    """Every field of every section, with the section's name ("" for the file as a whole)."""
    found = [("", field) for field in fields(Config)]
    for field in fields(Config):
        section = default_of(field)
        if is_dataclass(section):
            found += [(field.name, inner) for inner in fields(section)]
    return found


def test_as_it_stands_it_is_a_file_with_defaults_only(sample: str) -> None:
    assert parse(sample, WHERE) == parse("server_name: example.org", WHERE)


def test_with_everything_uncommented_it_loads(sample: str) -> None:
    assert parse(uncommented(sample), WHERE).public_url == "https://matrix.example.org"


@pytest.mark.parametrize(("section", "field"), sections(), ids=lambda value: getattr(value, "name", value))
def test_every_key_is_there(section: str, field: "Field[Any]", everything: dict[str, Any]) -> None:
    keys = everything[section] if section else everything
    assert field.name in keys or field.name in WRITTEN_OUT_IN_PROSE


def test_what_it_shows_is_the_default_where_there_is_one(sample: str) -> None:
    shown = parse(uncommented(sample), WHERE)
    defaults = parse("server_name: example.org", WHERE)
    for section, field in sections():
        of_default = getattr(defaults, section) if section else defaults
        of_shown = getattr(shown, section) if section else shown
        default = getattr(of_default, field.name)
        if default is not None and not is_dataclass(default):
            assert getattr(of_shown, field.name) == default, f"{section}.{field.name}"


def test_it_says_where_the_server_listens_by_default(everything: dict[str, Any]) -> None:
    assert everything["listen"] == DEFAULT_LISTEN


def test_the_long_form_of_listen_is_explained(sample: str) -> None:
    for field in fields(Listener):
        assert re.search(rf"^#   {field.name} ", sample, re.MULTILINE), field.name


def test_the_example_of_the_long_form_loads(sample: str) -> None:
    example = re.search(r"^# listeners:\n(?:#  .*\n)+", sample, re.MULTILINE)
    assert example is not None
    text = "server_name: example.org\n" + re.sub("^# ", "", example[0], flags=re.MULTILINE)
    config = parse(text, WHERE)
    assert [listener.port for listener in config.listeners] == [8448, 8008, 9090]
    assert isinstance(config.listeners[0].tls, Tls)
