"""`postroom add-user`: an account, made by the operator."""

import logging
import sys
from pathlib import Path

import click

from homeserver.app.beside import create_account, run_to_end
from homeserver.commands.options import config_option, read_config
from homeserver.protocol.errors import MatrixError
from homeserver.runtime.database import CannotStart
from homeserver.runtime.reactor import install_reactor


@click.command(short_help="Make an account.")
@click.argument("name")
@config_option
@click.option("--admin", is_flag=True, help="The account may use the administration API.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, its first line.")
def add_user(name: str, config_path: Path, *, admin: bool, password_stdin: bool) -> None:
    """Make the account @NAME:SERVER_NAME; asks for its password.

    Works while the server runs and while it does not.
    """
    config = read_config(config_path)
    logging.basicConfig(level=logging.ERROR)
    localpart = name.removeprefix("@").removesuffix(f":{config.server_name}")
    password = read_password(from_stdin=password_stdin)
    reactor = install_reactor()
    try:
        user_id = run_to_end(reactor, create_account(config, reactor, localpart, password, is_admin=admin))
    except (MatrixError, CannotStart) as error:
        sys.exit(str(error))
    click.echo(f"Made {user_id}{', an administrator' if admin else ''}.")


def read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again")
    assert isinstance(password, str)
    return password
