"""`postroom completion`: the script that lets a shell complete our commands and options."""

import click
from click.shell_completion import get_completion_class

HOW = {
    "bash": 'eval "$(postroom completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(postroom completion zsh)"   in ~/.zshrc',
    "fish": "postroom completion fish > ~/.config/fish/completions/postroom.fish",
}


@click.command(
    short_help="Print the completion script for a shell.",
    epilog="\b\nTo have it in every session:\n" + "\n".join(f"  {line}" for line in HOW.values()),
)
@click.argument("shell", type=click.Choice(list(HOW)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL."""
    source = get_completion_class(shell)
    assert source is not None
    root = context.find_root()
    click.echo(source(root.command, {}, "postroom", "_POSTROOM_COMPLETE").source())
