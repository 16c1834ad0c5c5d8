"""Who says so? A user name as people type it, and the password that proves it.

A wrong name takes as long as a wrong password and is told in the same words, so that nobody learns which
accounts exist. Wrong attempts are counted per account and address: guessing locks nobody else out.
"""

from dataclasses import dataclass

from homeserver.protocol.errors import Forbidden, InvalidParam
from homeserver.protocol.ids import ServerName, UserId, domain_of, parse_user_id, user_id_of
from homeserver.runtime.addresses import network_of
from homeserver.runtime.database import Database
from homeserver.services.accounts.passwords import Passwords
from homeserver.services.rate_limits import RateLimits
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.accounts import Account


class WrongCredentials(Forbidden):
    """The name, the password or both are wrong; which, is not told."""

    default = "Wrong user name or password"


@dataclass(frozen=True, slots=True)
class Checked:
    """An account whose password was given. `new_hash`: keep this one instead, it is made at today's cost."""

    account: Account
    new_hash: str | None


class Credentials:
    """Checks passwords."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        passwords: Passwords,
        limits: RateLimits,
        *,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._accounts = stores.accounts
        self._passwords = passwords
        self._limits = limits
        self._server_name = server_name

    def user_named(self, name: str) -> UserId | None:
        """The user ID that `name`, a user ID or its localpart, stands for; None: nobody of this server."""
        try:
            user_id = parse_user_id(name) if name.startswith("@") else user_id_of(name, self._server_name)
        except InvalidParam:
            return None
        return user_id if domain_of(user_id) == self._server_name else None

    async def check(self, name: str, password: str, *, ip: str) -> Checked:
        """The account of this name and password. Raises WrongCredentials, LimitExceeded."""
        user_id = self.user_named(name)
        key = ((user_id or name).lower()[:300], network_of(ip))
        self._limits.spend("failed_logins", key)
        account = None
        if user_id is not None:
            account = await self._database.look_up(self._accounts.account_named, user_id)
        password_hash = None if account is None else account.password_hash
        right = await self._passwords.is_right(password, password_hash)
        if not right or account is None or password_hash is None:
            raise WrongCredentials
        self._limits.give_back("failed_logins", key)
        outdated = self._passwords.is_outdated(password_hash)
        return Checked(account, await self._passwords.hashed(password) if outdated else None)
