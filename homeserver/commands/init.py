"""`postroom init`: a configuration and a signing key for a new server."""

import os
import sys
from pathlib import Path
from typing import get_args

import click

from homeserver.commands.options import config_option
from homeserver.config import parse
from homeserver.config.accounts import RegistrationMode
from homeserver.config.signing_key import make_signing_key
from homeserver.runtime.settings import SettingsError

CONFIG = """\
# The configuration of one Postroom server. homeserver.yaml.sample explains every key there is.
# `postroom check-config` finds mistakes; restart the server after a change.

# The part of every user ID after the colon. It can never be changed.
server_name: "{server_name}"

# Where clients reach the server, when that is not https://{server_name}.
# public_url: https://matrix.{server_name}

# The address and port to listen on; `listeners` is the long form, with TLS.
listen: "{listen}"

# The database, the signing key and uploaded files live here. Relative paths start from this file's folder.
data_dir: "{data_dir}"

registration:
  # closed: `postroom add-user` makes accounts. token: whoever has a token registers. open: anybody does.
  mode: {registration}
"""


@click.command(short_help="Write a configuration and a signing key.")
@config_option
@click.option("--server-name", help="The part of every user ID after the colon; asked for if not given.")
@click.option("--listen", default="127.0.0.1:8008", show_default=True, help="Address and port to listen on.")
@click.option(
    "--data-dir", default="data", show_default=True, help="Folder of the database, the key and the media."
)
@click.option(
    "--registration", type=click.Choice(get_args(RegistrationMode)), default="closed", show_default=True,
    help="Who may make an account.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="Do not say what is next.")
def init(
    config_path: Path, server_name: str | None, *, listen: str, data_dir: str, registration: str, quiet: bool
) -> None:
    """Write a configuration and a signing key, and say what is next.

    Overwrites nothing.
    """
    if config_path.exists():
        sys.exit(f"{config_path} is already there: nothing was changed.")
    if server_name is None:
        click.echo("Users will be @name:SERVER_NAME. The server name can never be changed.")
        server_name = click.prompt("Server name", default="localhost")
    text = CONFIG.format(server_name=server_name, listen=listen, data_dir=data_dir, registration=registration)
    try:
        config = parse(text, config_path)
    except SettingsError as mistakes:
        sys.exit("\n".join(f"{problem.key}: {problem.message}" for problem in mistakes.problems))
    write_new(config_path, text)
    if not config.signing_key.exists():
        make_signing_key(config.signing_key)
    click.echo(f"Wrote {config_path}, and {config.signing_key}: keep that key secret, and back it up.")
    if not quiet:
        say_what_is_next(config_path, is_local=config.is_local)


def write_new(path: Path, text: str) -> None:
    """Fails when somebody else was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def say_what_is_next(config_path: Path, *, is_local: bool) -> None:
    option = "" if config_path == Path("homeserver.yaml") else f" --config {config_path}"
    click.echo("Next:")
    click.echo(f"  postroom serve{option}                    start the server")
    click.echo(f"  postroom add-user NAME --admin{option}    make an account")
    if not is_local:
        click.echo(f"  postroom doctor{option}                   see whether others can find it")
