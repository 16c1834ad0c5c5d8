"""`postroom serve`: the server in the foreground, until SIGINT or SIGTERM."""

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning

from homeserver import __version__
from homeserver.app import App, CannotServe, build
from homeserver.commands.options import config_option, read_config
from homeserver.config import Config
from homeserver.runtime.concurrency import run
from homeserver.runtime.heap import settle
from homeserver.runtime.log_output import lead_in_twisted, open_log
from homeserver.runtime.reactor import Reactor, install_reactor

logger = logging.getLogger(__name__)

STOP_SECONDS = 5
"""After so long the process ends, whatever has not."""


@click.command(short_help="Run the server in the foreground.")
@config_option
def serve(config_path: Path) -> None:
    """Run the server in the foreground; Ctrl+C or SIGTERM stops it."""
    config = read_config(config_path)
    begin_logging(config)
    reactor = install_reactor()
    try:
        app = build(config, reactor)
    except CannotServe as error:
        sys.exit(f"Cannot start: {error}")
    status = run_until_stopped(app, reactor, welcome(config, config_path))
    sys.exit(status)


def begin_logging(config: Config) -> None:
    settings = config.logging
    try:
        if settings.file is not None:
            settings.file.parent.mkdir(parents=True, exist_ok=True)
        open_log(
            settings.file, level=settings.level, levels=settings.levels, as_json=settings.format == "json"
        )
    except OSError as error:
        sys.exit(f"Cannot start: the log file {settings.file}: {error.strerror}")
    lead_in_twisted()


def run_until_stopped(app: App, reactor: Reactor, message: str) -> int:
    """The exit status: 1 when the server could not start."""
    failures: list[str] = []

    async def start() -> None:
        obey_signals(app, reactor)
        try:
            await app.start()
        except CannotServe as error:
            failures.append(str(error))
        except Exception:
            logger.exception("The server could not start")
            failures.append("see the log")
        else:
            settle()
            click.echo(message)
            return
        with suppress(ReactorNotRunning):
            reactor.stop()

    def stop() -> "Deferred[None]":
        if not failures:
            logger.info("Stopping")
        end_at_the_latest()
        return run(app.stop())

    reactor.callWhenRunning(lambda: run(start()))
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    reactor.run()
    for failure in failures:
        click.echo(f"Cannot start: {failure}", err=True)
    return 1 if failures else 0


def obey_signals(app: App, reactor: Reactor) -> None:
    """SIGINT and SIGTERM stop the server, however often they come; SIGHUP has it read certificates anew.

    Twisted's own choice is to leave SIGINT ignored where a shell began a background job so.
    """

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(stop))
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(app.reload_certificates))


def end_at_the_latest() -> None:
    """A stop that hangs, whatever the reason, becomes a kill: what was acknowledged is on the disk."""

    def give_up(*_: object) -> None:
        logger.error("Not everything stopped within %d s: ending anyway", STOP_SECONDS)
        logging.shutdown()
        os._exit(1)

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(STOP_SECONDS)


def welcome(config: Config, config_path: Path) -> str:
    """What the operator wants to know, in a few lines."""
    program = Path(sys.argv[0])
    command = "postroom" if program.name == "__main__.py" else short(program)
    option = "" if short(config_path) == "homeserver.yaml" else f" --config {short(config_path)}"
    database = config.sqlite_file or "in PostgreSQL"
    return "\n".join(
        (
            f"Postroom {__version__} serves {config.server_name}",
            f"  listens at    {', '.join(config.urls())}",
            f"  add a user    {command} add-user NAME{option}",
            f"  its files     {config_path.absolute()}, {config.data_dir}/ (database: {database})",
            "Ctrl+C stops it.",
        )
    )


def short(path: Path) -> str:
    """As it is typed from here."""
    return min(os.path.relpath(path), str(path.absolute()), key=len)
