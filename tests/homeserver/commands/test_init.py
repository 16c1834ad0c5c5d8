"""`postroom init` takes an empty folder to a server that can start."""

from pathlib import Path

import pytest

from homeserver.config import load
from homeserver.config.signing_key import read_signing_key
from tests.homeserver.commands.conftest import Postroom


def test_it_writes_a_configuration_and_a_private_key(postroom: Postroom, folder: Path) -> None:
    done = postroom("init", "--server-name", "example.org")
    assert done.exit_code == 0
    config = load(folder / "homeserver.yaml")
    assert (config.server_name, config.registration.mode) == ("example.org", "closed")
    assert config.signing_key == folder / "data" / "signing.key"
    assert config.signing_key.stat().st_mode & 0o777 == 0o600
    assert (folder / "homeserver.yaml").stat().st_mode & 0o777 == 0o600  # it may hold passwords
    assert read_signing_key(config.signing_key).key_id.startswith("ed25519:a_")


def test_it_says_what_is_next(postroom: Postroom) -> None:
    said = postroom("init", "--server-name", "example.org").stdout
    assert "back it up" in said
    for command in ("postroom serve", "postroom add-user NAME --admin", "postroom doctor"):
        assert command in said


def test_next_steps_name_the_file_if_it_is_not_the_usual_one(postroom: Postroom) -> None:
    said = postroom("init", "--config", "etc/other.yaml", "--server-name", "example.org").stdout
    assert "postroom serve --config etc/other.yaml" in said


def test_options_end_up_in_the_file(postroom: Postroom, folder: Path) -> None:
    postroom("init", "--server-name=localhost", "--registration=open", "--listen=[::1]:80", "--data-dir=.")
    config = load(folder / "homeserver.yaml")
    assert config.registration.mode == "open"
    assert config.urls() == ["http://[::1]:80"]
    assert config.data_dir == folder


def test_it_asks_for_the_name(postroom: Postroom, folder: Path) -> None:
    done = postroom("init", typed="example.org\n")
    assert "can never be changed" in done.stdout
    assert load(folder / "homeserver.yaml").server_name == "example.org"


def test_it_overwrites_nothing(postroom: Postroom, folder: Path) -> None:
    (folder / "homeserver.yaml").write_text("server_name: kept.org\n")
    done = postroom("init", "--server-name", "example.org")
    assert done.exit_code == 1
    assert load(folder / "homeserver.yaml").server_name == "kept.org"


def test_a_key_that_is_there_is_kept(postroom: Postroom, folder: Path) -> None:
    postroom("init", "--server-name", "example.org")
    key = (folder / "data" / "signing.key").read_text()
    (folder / "homeserver.yaml").unlink()
    assert postroom("init", "--server-name", "example.org").exit_code == 0
    assert (folder / "data" / "signing.key").read_text() == key


@pytest.mark.parametrize(
    "options",
    [
        ("--server-name", "https://example.org"),
        ("--server-name", "exa mple"),
        ("--server-name", "example.org", "--listen", "8008"),
        ("--server-name", "example.org", "--registration", "maybe"),
    ],
)
def test_nonsense_is_refused_and_nothing_written(
    postroom: Postroom, folder: Path, options: tuple[str, ...]
) -> None:
    assert postroom("init", *options).exit_code != 0
    assert list(folder.iterdir()) == []
