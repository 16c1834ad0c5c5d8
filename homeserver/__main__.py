"""The `postroom` command.

Each subcommand is a module of homeserver.commands, imported only when it is called for: `postroom serve` must
answer within a fraction of a second and has no use for the others.
"""

from importlib import import_module

import click

from homeserver import __version__

COMMANDS = ("init", "serve", "check-config", "add-user", "doctor", "completion")


class LazyGroup(click.Group):
    """Finds `add-user` as the command `add_user` in homeserver.commands.add_user."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"homeserver.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: postroom init, then postroom serve.",
)
@click.version_option(__version__, prog_name="Postroom", message="%(prog)s %(version)s")
def main() -> None:
    """Postroom, a Matrix homeserver: chat, mail and calendars as rooms."""


if __name__ == "__main__":
    main(prog_name="postroom")
