"""Lock and suspend accounts. Both can be undone.

A locked account can do nothing but log out; a suspended one can read, but not write to others.
https://spec.matrix.org/latest/client-server-api/#account-moderation
"""

from homeserver.protocol.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.ids import ServerName, UserId, domain_of
from homeserver.protocol.requester import Requester
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.sessions import Sessions
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.accounts import Account


class Moderation:
    """What administrators may do to others' accounts. All methods raise Forbidden, InvalidParam, NotFound."""

    def __init__(
        self, database: Database, stores: AccountStores, sessions: Sessions, *, server_name: ServerName
    ) -> None:
        self._database = database
        self._accounts = stores.accounts
        self._sessions = sessions
        self._server_name = server_name

    async def is_locked(self, requester: Requester, user_id: UserId) -> bool:
        return (await self._account(requester, user_id)).is_locked

    async def is_suspended(self, requester: Requester, user_id: UserId) -> bool:
        return (await self._account(requester, user_id)).is_suspended

    async def lock(self, requester: Requester, user_id: UserId, *, is_locked: bool) -> None:
        """Lock or unlock. Sessions stay, and are good again after unlocking."""
        await self._require_other(requester, user_id)
        await self._database.write(self._lock, user_id, is_locked=is_locked)

    async def suspend(self, requester: Requester, user_id: UserId, *, is_suspended: bool) -> None:
        """Suspend or no longer suspend."""
        await self._require_other(requester, user_id)
        await self._database.write(self._suspend, user_id, is_suspended=is_suspended)

    async def make_admin(self, user_id: UserId, *, is_admin: bool) -> None:
        """For the operator's own tools: nobody is asked."""
        if not await self._database.write(self._make_admin, user_id, is_admin=is_admin):
            raise NotFound(f"There is no user {user_id}")

    async def _require_other(self, requester: Requester, user_id: UserId) -> None:
        account = await self._account(requester, user_id)
        if account.user_id == requester.user_id:
            raise Forbidden("You may not do this to your own account")

    async def _account(self, requester: Requester, user_id: UserId) -> Account:
        """Rights are checked before anything is looked up, so that nobody learns who exists."""
        if not requester.is_admin:
            raise Forbidden("Only administrators of this server may do this")
        if domain_of(user_id) != self._server_name:
            raise InvalidParam(f"{user_id} does not belong to this server")
        account = await self._database.look_up(self._accounts.account, user_id)
        if account is None or account.is_deactivated:
            raise NotFound(f"There is no user {user_id}")
        if account.is_admin and user_id != requester.user_id:
            raise Forbidden(f"{user_id} is an administrator too")
        return account

    def _lock(self, txn: Transaction, user_id: UserId, *, is_locked: bool) -> None:
        self._accounts.lock(txn, user_id, is_locked=is_locked)
        self._sessions.forget_tokens_of(txn, user_id)

    def _suspend(self, txn: Transaction, user_id: UserId, *, is_suspended: bool) -> None:
        self._accounts.suspend(txn, user_id, is_suspended=is_suspended)
        self._sessions.forget_tokens_of(txn, user_id)

    def _make_admin(self, txn: Transaction, user_id: UserId, *, is_admin: bool) -> bool:
        changed = self._accounts.make_admin(txn, user_id, is_admin=is_admin)
        self._sessions.forget_tokens_of(txn, user_id)
        return changed
