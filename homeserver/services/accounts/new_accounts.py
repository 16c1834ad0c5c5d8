"""Make accounts: what they may be called, and everything a new one has, in one transaction."""

import secrets
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from homeserver.protocol.errors import InvalidParam, InvalidUsername, UserInUse
from homeserver.protocol.ids import ServerName, UserId, is_valid_localpart, user_id_of
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.passwords import Passwords
from homeserver.services.accounts.sessions import DeviceWish, Grant, Owner, Sessions, Settle
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.accounts import NewAccount
from homeserver.storage.profiles import Field

NameCheck = Callable[[UserId], None]


@dataclass(frozen=True, slots=True)
class WantedAccount:
    """An account to be made. Without a `session` nobody is logged in; without a password none works."""

    user_id: UserId
    password: str | None = field(default=None, repr=False)
    display_name: str | None = None
    is_guest: bool = False
    is_admin: bool = False
    session: DeviceWish | None = None


class NewAccounts:
    """Makes accounts for everyone who may: people, guests, administrators, application services."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        sessions: Sessions,
        passwords: Passwords,
        clock: Clock,
        *,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._stores = stores
        self._sessions = sessions
        self._passwords = passwords
        self._clock = clock
        self._server_name = server_name
        self._name_checks: list[NameCheck] = []

    def also_check_names(self, check: NameCheck) -> None:
        """`check(user_id)` raises, such as ExclusiveNamespace, when people may not take the name."""
        self._name_checks.append(check)

    def user_id_for(self, name: str, *, is_reserved_ok: bool = False) -> UserId:
        """The user ID of a new account; upper-case letters become lower-case ones.

        Raises InvalidUsername, and what the name checks raise unless `is_reserved_ok`.
        """
        localpart = name.lower()
        if not is_valid_localpart(localpart):
            raise InvalidUsername(f"A user name consists of a-z, 0-9 and . _ = - / +, not {name[:100]!r}")
        try:
            user_id = user_id_of(localpart, self._server_name)
        except InvalidParam:
            raise InvalidUsername("The user ID would be longer than 255 bytes") from None
        if not is_reserved_ok:
            for check in self._name_checks:
                check(user_id)
        return user_id

    def random_user_id(self) -> UserId:
        """A user ID for somebody who does not care."""
        return user_id_of(b32encode(secrets.token_bytes(10)).decode().lower(), self._server_name)

    def check_password(self, password: str) -> None:
        """May it be chosen? Raises WeakPassword or InvalidParam."""
        self._passwords.check_strength(password)

    async def require_free(self, user_id: UserId) -> None:
        """Raises UserInUse. A name once used stays taken."""
        if await self._database.look_up(self._stores.accounts.exists, user_id):
            raise _in_use(user_id)

    async def create(self, wanted: WantedAccount, settle: Settle | None = None) -> Grant | None:
        """Make the account; the session it wanted. `settle` is called in the same transaction.

        Raises UserInUse, WeakPassword and what `settle` raises: then nothing has happened.
        """
        password_hash = None
        if wanted.password is not None:
            self.check_password(wanted.password)
            password_hash = await self._passwords.hashed(wanted.password)
        grant = None if wanted.session is None else self._sessions.grant(wanted.user_id, wanted.session)
        await self._database.write(self._create, wanted, password_hash, grant, settle)
        return grant

    async def upgrade_guest(
        self, user_id: UserId, password: str, session: DeviceWish | None, settle: Settle
    ) -> Grant | None:
        """The guest becomes a full account of the same name. Raises as `create`."""
        password_hash = await self._passwords.hashed(password)
        grant = None if session is None else self._sessions.grant(user_id, session)
        name = None if session is None else session.display_name
        await self._database.write(self._upgrade, user_id, password_hash, grant, settle, name)
        return grant

    def _upgrade(
        self,
        txn: Transaction,
        user_id: UserId,
        password_hash: str,
        grant: Grant | None,
        settle: Settle,
        device_name: str | None,
    ) -> None:
        if not self._stores.accounts.make_person(txn, user_id, password_hash):
            raise _in_use(user_id)
        settle(txn)
        self._sessions.forget_tokens_of(txn, user_id)
        if grant is not None:
            self._sessions.begin(txn, Owner(user_id), grant, display_name=device_name)

    def _create(
        self,
        txn: Transaction,
        wanted: WantedAccount,
        password_hash: str | None,
        grant: Grant | None,
        settle: Settle | None,
    ) -> None:
        account = NewAccount(
            wanted.user_id, wanted.is_guest, wanted.is_admin, password_hash, self._clock.now_ms()
        )
        if not self._stores.accounts.create(txn, account):
            raise _in_use(wanted.user_id)
        if settle is not None:
            settle(txn)
        if wanted.display_name is not None:
            name = Field("displayname", orjson.dumps(wanted.display_name))
            self._stores.profiles.put(txn, wanted.user_id, name)
        if grant is not None and wanted.session is not None:
            owner = Owner(wanted.user_id, is_guest=wanted.is_guest, is_admin=wanted.is_admin)
            self._sessions.begin(txn, owner, grant, display_name=wanted.session.display_name)


def _in_use(user_id: UserId) -> UserInUse:
    return UserInUse(f"{user_id} is taken")
