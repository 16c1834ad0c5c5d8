"""`postroom check-config`: every mistake in the configuration, at once."""

from pathlib import Path

import click

from homeserver.commands.options import config_option, read_config


@click.command(short_help="Report every mistake in the configuration.")
@config_option
def check_config(config_path: Path) -> None:
    """Read the configuration and report every mistake in it.

    Exits with 1 when there is one.
    """
    config = read_config(config_path)
    click.echo(f"{config_path} is right: {config.server_name} would listen on {', '.join(config.urls())}")
