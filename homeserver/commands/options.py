"""What several subcommands share: where the configuration is, and reading it."""

import sys
from pathlib import Path

import click

from homeserver.config import Config, load
from homeserver.runtime.settings import SettingsError

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("homeserver.yaml"),
    show_default=True,
    help="The configuration file.",
)


def read_config(path: Path) -> Config:
    """The configuration, or every mistake in it on standard error and exit status 1."""
    try:
        return load(path)
    except FileNotFoundError:
        click.echo(f"There is no {path}. `postroom init` writes one; --config names another.", err=True)
    except OSError as error:
        click.echo(f"{path} cannot be read: {error.strerror}", err=True)
    except SettingsError as mistakes:
        click.echo(str(mistakes), err=True)
    sys.exit(1)
