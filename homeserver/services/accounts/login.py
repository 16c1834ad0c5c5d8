"""Log in: with a password, or with a token that another session of the user asked for.

https://spec.matrix.org/latest/client-server-api/#legacy-login
"""

from dataclasses import dataclass
from functools import partial

from homeserver.protocol.errors import Forbidden, UserLocked
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.credentials import Checked, Credentials, WrongCredentials
from homeserver.services.accounts.sessions import DeviceWish, Grant, Owner, Sessions, Settle
from homeserver.services.accounts.stages import PASSWORD_ONLY, Action, Stages
from homeserver.services.accounts.tokens import hash_of, new_token
from homeserver.services.rate_limits import RateLimits
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.accounts import Account

LOGIN_TOKEN_LIFETIME_MS = 2 * 60 * 1000


class BadLoginToken(Forbidden):
    default = "The login token is unknown, used or expired"


@dataclass(frozen=True, slots=True)
class LoginToken:
    """Logs its user in once."""

    token: str
    expires_in_ms: int


class Login:
    """Opens sessions for those who prove who they are."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        sessions: Sessions,
        credentials: Credentials,
        limits: RateLimits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._stores = stores
        self._sessions = sessions
        self._credentials = credentials
        self._limits = limits
        self._clock = clock

    def flows(self) -> list[JsonObject]:
        """The ways to log in."""
        return [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": True}]

    async def with_password(self, name: str, password: str, wish: DeviceWish, *, ip: str) -> Grant:
        """Raises WrongCredentials, UserLocked, LimitExceeded."""
        checked = await self._credentials.check(name, password, ip=ip)
        user_id = checked.account.user_id
        self._limits.spend("logins_per_account", user_id)
        if checked.account.is_locked:
            raise UserLocked
        grant = self._sessions.grant(user_id, wish)
        await self._database.write(self._begin, checked, grant, wish.display_name)
        return grant

    async def with_token(self, token: str, wish: DeviceWish) -> Grant:
        """Raises BadLoginToken, UserLocked."""
        return await self._database.write(self._begin_with_token, hash_of(token), wish)

    async def issue_token(self, stages: Stages, action: Action) -> LoginToken:
        """A token for another client of the signed-in user, who is asked for their password each time."""
        proof = await stages.prove(action, PASSWORD_ONLY)
        assert action.user_id is not None
        token = new_token("psl")
        settle = partial(stages.settle, proof=proof)
        await self._database.write(self._keep_token, hash_of(token), action.user_id, settle)
        return LoginToken(token, LOGIN_TOKEN_LIFETIME_MS)

    async def remove_expired_tokens(self) -> None:
        """Forget tokens nobody used."""
        await self._database.write(self._stores.purpose_tokens.remove_expired, now_ms=self._clock.now_ms())

    def _begin(self, txn: Transaction, checked: Checked, grant: Grant, display_name: str | None) -> None:
        account = checked.account
        if not self._stores.accounts.is_unchanged(txn, account):
            raise WrongCredentials
        if checked.new_hash is not None:
            self._stores.accounts.change_password(txn, account.user_id, checked.new_hash)
        self._sessions.begin(txn, _owner(account), grant, display_name=display_name)

    def _begin_with_token(self, txn: Transaction, token_hash: bytes, wish: DeviceWish) -> Grant:
        token = self._stores.purpose_tokens.take(txn, token_hash, "login")
        if token is None or token.expires_ms <= self._clock.now_ms():
            raise BadLoginToken
        account = self._stores.accounts.account(txn, token.user_id)
        if account is None or account.is_deactivated:
            raise BadLoginToken
        if account.is_locked:
            raise UserLocked
        grant = self._sessions.grant(token.user_id, wish)
        self._sessions.begin(txn, _owner(account), grant, display_name=wish.display_name)
        return grant

    def _keep_token(self, txn: Transaction, token_hash: bytes, user_id: UserId, settle: Settle) -> None:
        settle(txn)
        expires_ms = self._clock.now_ms() + LOGIN_TOKEN_LIFETIME_MS
        self._stores.purpose_tokens.add(txn, token_hash, "login", user_id, expires_ms=expires_ms)


def _owner(account: Account) -> Owner:
    return Owner(
        account.user_id,
        is_guest=account.is_guest,
        is_admin=account.is_admin,
        is_suspended=account.is_suspended,
    )
