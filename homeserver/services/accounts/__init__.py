"""Accounts of this server: making them, proving who one is, sessions, closing them."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from homeserver.protocol.ids import ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.services.accounts.credentials import Credentials
from homeserver.services.accounts.deactivation import Deactivation
from homeserver.services.accounts.last_seen import LastSeen
from homeserver.services.accounts.login import Login
from homeserver.services.accounts.moderation import Moderation
from homeserver.services.accounts.new_accounts import NewAccounts
from homeserver.services.accounts.openid import OpenId
from homeserver.services.accounts.password_change import PasswordChange
from homeserver.services.accounts.passwords import Cost, Passwords, Workers
from homeserver.services.accounts.registration import Registration, RegistrationPolicy
from homeserver.services.accounts.registration_tokens import RegistrationTokens
from homeserver.services.accounts.sessions import Lifetimes, Sessions
from homeserver.services.accounts.shared_secret import SharedSecretRegistration
from homeserver.services.accounts.stages import Stages
from homeserver.services.accounts.upkeep import remove_expired_forever
from homeserver.services.rate_limits import RateLimits
from homeserver.services.streams import Streams
from homeserver.storage.account_stores import AccountStores


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What an operator decides about accounts."""

    server_name: ServerName
    registration: RegistrationPolicy = field(default_factory=RegistrationPolicy)
    shared_secret: str | None = field(default=None, repr=False)
    password_cost: Cost = field(default_factory=Cost)
    min_password_length: int = 8
    lifetimes: Lifetimes = field(default_factory=Lifetimes)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the account services stand on. `threads` hash passwords: as many at a time as it has threads."""

    database: Database
    stores: AccountStores
    streams: Streams
    clock: Clock
    tasks: Tasks
    threads: Workers
    limits: RateLimits


@dataclass(frozen=True, slots=True)
class AccountServices:
    """All that concerns accounts."""

    credentials: Credentials
    deactivation: Deactivation
    last_seen: LastSeen
    login: Login
    moderation: Moderation
    new_accounts: NewAccounts
    openid: OpenId
    password_change: PasswordChange
    registration: Registration
    registration_tokens: RegistrationTokens
    sessions: Sessions
    shared_secret: SharedSecretRegistration
    stages: Stages
    start: Callable[[], Coroutine[object, None, None]]
    """Begin the background work, once all has been said to `deactivation.also` and `sessions.also_clean`."""


def account_services(ground: Ground, settings: AccountSettings) -> AccountServices:
    """All parts, built bottom-up."""
    database, stores, clock, limits = ground.database, ground.stores, ground.clock, ground.limits
    server_name = settings.server_name
    passwords = Passwords(ground.threads, settings.password_cost, min_length=settings.min_password_length)
    sessions = Sessions(database, stores, ground.streams, clock, lifetimes=settings.lifetimes)
    last_seen = LastSeen(database, stores.devices, clock)
    credentials = Credentials(database, stores, passwords, limits, server_name=server_name)
    stages = Stages(database, stores, clock, credentials, limits)
    new_accounts = NewAccounts(database, stores, sessions, passwords, clock, server_name=server_name)
    tokens = RegistrationTokens(database, stores, clock)
    login = Login(database, stores, sessions, credentials, limits, clock)
    deactivation = Deactivation(database, stores, sessions, stages, ground.streams, ground.tasks)

    async def start() -> None:
        last_seen.start(ground.tasks)
        expiry = remove_expired_forever(clock, [stages.remove_expired, login.remove_expired_tokens])
        ground.tasks.start("remove expired tokens", expiry)
        await deactivation.start()

    return AccountServices(
        credentials,
        deactivation,
        last_seen,
        login,
        Moderation(database, stores, sessions, server_name=server_name),
        new_accounts,
        OpenId(database, stores, clock),
        PasswordChange(ground.streams, stores, sessions, passwords, stages),
        Registration(new_accounts, sessions, stages, tokens, limits, settings.registration),
        tokens,
        sessions,
        SharedSecretRegistration(new_accounts, clock, settings.shared_secret),
        stages,
        start,
    )
