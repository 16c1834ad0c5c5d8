"""`postroom serve`: the server in the foreground, until SIGINT or SIGTERM."""

import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import click

from homeserver.app import App, CannotServe, build
from homeserver.commands.options import config_option, read_config
from homeserver.config import Config
from homeserver.runtime.log_output import lead_in_twisted, open_log
from homeserver.runtime.reactor import Reactor, install_reactor

logger = logging.getLogger(__name__)

STOP_SECONDS = 5


@click.command()
@config_option
def serve(config_path: Path) -> None:
    """Run the server in the foreground; Ctrl+C or SIGTERM stops it."""
    config = read_config(config_path)
    begin_logging(config)
    reactor = install_reactor()
    app = build(config, reactor)
    status = run(app, reactor, when_started=lambda: say_where(config, config_path))
    sys.exit(status)
