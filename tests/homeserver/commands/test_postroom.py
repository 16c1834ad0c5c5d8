"""The command as a whole: help, version, completion, check-config."""

from pathlib import Path

import pytest

from homeserver import __version__
from homeserver.__main__ import COMMANDS
from tests.homeserver.commands.conftest import Postroom


def test_help_names_every_subcommand_and_what_it_does(postroom: Postroom) -> None:
    said = postroom("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in said
    assert "Run the server in the foreground." in said
    assert "..." not in said.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_help(postroom: Postroom, name: str) -> None:
    done = postroom(name, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: postroom {name}")


def test_version(postroom: Postroom) -> None:
    assert postroom("--version").stdout == f"Postroom {__version__}\n"


def test_a_wrong_subcommand_is_refused(postroom: Postroom) -> None:
    done = postroom("srve")
    assert done.exit_code == 2
    assert "No such command 'srve'" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_for_our_command(postroom: Postroom, shell: str) -> None:
    assert "_POSTROOM_COMPLETE" in postroom("completion", shell).stdout


def test_check_config_is_content_with_a_right_file(postroom: Postroom, folder: Path) -> None:
    (folder / "homeserver.yaml").write_text("server_name: example.org\n")
    done = postroom("check-config")
    assert done.exit_code == 0
    assert "http://127.0.0.1:8008" in done.stdout


MISTAKES = {
    "nothing": ("", ["line 1: server_name: is missing: it must be set"]),
    "a misspelt key": (
        "server_name: example.org\nregistraton: {mode: open}\n",
        ["line 2: registraton: unknown key; did you mean 'registration'?"],
    ),
    "a key in the wrong section": (
        "server_name: example.org\nmax_upload_mib: 5\n",
        ["line 2: max_upload_mib: unknown key; did you mean 'media.max_upload_mib'?"],
    ),
    "a word instead of a number": (
        "server_name: example.org\nmedia:\n  max_upload_mib: much\n",
        ["line 3: media.max_upload_mib: must be a whole number, not much"],
    ),
    "a list instead of a section": (
        "server_name: example.org\nmedia: []\n",
        ["line 2: media: must be a section of `key: value` lines, not a list"],
    ),
    "two at once": (
        "server_name: https://example.org\nlisten: 8008\n",
        [
            "line 1: server_name: 'https://example.org' is a URL: give the name only, such as example.org",
            "line 2: listen: '8008' is not ADDRESS:PORT, such as 127.0.0.1:8008",
        ],
    ),
    "the same key twice": (
        "server_name: a.org\nserver_name: b.org\n",
        ["line 2: server_name: is there twice: also in line 1"],
    ),
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.values(), ids=MISTAKES)
def test_check_config_says_what_is_wrong(
    postroom: Postroom, folder: Path, text: str, says: list[str]
) -> None:
    (folder / "homeserver.yaml").write_text(text)
    done = postroom("check-config")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"homeserver.yaml, {line}" for line in says]


def test_no_yaml_at_all(postroom: Postroom, folder: Path) -> None:
    (folder / "homeserver.yaml").write_text("server_name: [example.org\n")
    done = postroom("check-config")
    assert done.exit_code == 1
    assert "not YAML" in done.stderr


@pytest.mark.parametrize("name", ["check-config", "serve", "doctor"])
def test_without_a_file_it_says_how_to_get_one(postroom: Postroom, name: str) -> None:
    done = postroom(name)
    assert done.exit_code == 1
    assert "There is no homeserver.yaml. `postroom init` writes one" in done.stderr
