"""What commands do to a server that may be running meanwhile: straight in its database."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from homeserver.app.services import account_settings
from homeserver.config import Config
from homeserver.protocol.ids import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import run
from homeserver.runtime.database import Database, open_database
from homeserver.runtime.migrations import read_migrations
from homeserver.runtime.reactor import Reactor
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.threads import Threads
from homeserver.services.accounts import AccountServices, Ground, account_services
from homeserver.services.accounts.new_accounts import WantedAccount
from homeserver.services.rate_limits import RateLimits
from homeserver.services.streams import Streams
from homeserver.storage import MIGRATIONS, Stores

T = TypeVar("T")


def run_to_end(reactor: Reactor, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the reactor until the coroutine has ended; what it returns, or raises."""
    outcome: list[T] = []
    errors: list[Exception] = []

    async def finish() -> None:
        try:
            outcome.append(await coroutine)
        except Exception as error:
            errors.append(error)
        reactor.stop()

    reactor.callWhenRunning(lambda: run(finish()))
    reactor.run()
    for error in errors:
        raise error
    return outcome[0]


def open_beside(config: Config) -> Database:
    """The database, not yet started, whether or not a server serves it. Works run on the caller's thread."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    return open_database(config.database, migrations=read_migrations(MIGRATIONS), serving=False, inline=True)


async def create_account(
    config: Config, reactor: Reactor, name: str, password: str, *, is_admin: bool
) -> UserId:
    """A new account. Raises MatrixError for a name or password that will not do, CannotStart."""
    database = open_beside(config)
    database.start()
    hashing = Threads(reactor, "hashing", 1)
    try:
        new_accounts = _accounts(config, database, reactor, hashing).new_accounts
        user_id = new_accounts.user_id_for(name, is_reserved_ok=True)
        await new_accounts.create(WantedAccount(user_id, password, display_name=name, is_admin=is_admin))
    finally:
        await hashing.stop()
        await database.stop()
    return user_id


def _accounts(config: Config, database: Database, reactor: Reactor, hashing: Threads) -> AccountServices:
    """The account services as they are in a server, none of them started."""
    stores, clock = Stores(), Clock(reactor)
    tasks = Tasks(clock)
    streams = Streams(database, stores.positions, tasks)
    limits = RateLimits(clock.monotonic, {})
    ground = Ground(database, stores.accounts, streams, clock, tasks, hashing, limits)
    return account_services(ground, account_settings(config))
