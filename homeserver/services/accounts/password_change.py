"""Change a password.

https://spec.matrix.org/latest/client-server-api/#password-management
"""

from functools import partial

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.requester import Requester
from homeserver.runtime.database import Transaction
from homeserver.services.accounts.passwords import Passwords
from homeserver.services.accounts.sessions import Removed, Sessions, Settle, device_list_change
from homeserver.services.accounts.stages import PASSWORD_ONLY, Action, Stages
from homeserver.services.streams import Streams
from homeserver.storage.account_stores import AccountStores


class PasswordChange:
    """Gives accounts another password."""

    def __init__(
        self,
        streams: Streams,
        stores: AccountStores,
        sessions: Sessions,
        passwords: Passwords,
        stages: Stages,
    ) -> None:
        self._streams = streams
        self._stores = stores
        self._sessions = sessions
        self._passwords = passwords
        self._stages = stages

    async def change(
        self, requester: Requester | None, new_password: str, action: Action, *, log_out_others: bool
    ) -> None:
        """Somebody changes their own, proving the old one; the session they ask from stays.

        Raises StagesNeeded, WeakPassword.
        """
        self._passwords.check_strength(new_password)
        proof = await self._stages.prove(action, PASSWORD_ONLY)
        assert proof.user_id is not None
        keep = None if requester is None else requester.device_id
        settle = partial(self._stages.settle, proof=proof)
        await self._set(proof.user_id, new_password, settle, keep=keep, log_out_others=log_out_others)

    async def set_for(self, user_id: UserId, new_password: str, *, log_out: bool = True) -> None:
        """An operator sets it. Deactivated accounts keep none."""
        self._passwords.check_strength(new_password)
        await self._set(user_id, new_password, _nothing_to_settle, keep=None, log_out_others=log_out)

    async def _set(
        self,
        user_id: UserId,
        new_password: str,
        settle: Settle,
        *,
        keep: DeviceId | None,
        log_out_others: bool,
    ) -> None:
        password_hash = await self._passwords.hashed(new_password)
        await self._streams.write(
            self._change,
            device_list_change,
            user_id,
            password_hash,
            settle,
            keep=keep,
            log_out_others=log_out_others,
        )

    def _change(
        self,
        txn: Transaction,
        position: int,
        user_id: UserId,
        password_hash: str,
        settle: Settle,
        *,
        keep: DeviceId | None,
        log_out_others: bool,
    ) -> Removed:
        settle(txn)
        self._stores.accounts.change_password(txn, user_id, password_hash)
        self._stores.purpose_tokens.remove_of(txn, user_id)
        if not log_out_others:
            return Removed(user_id, [])
        return self._sessions.remove_all_devices(txn, position, user_id, keep)


def _nothing_to_settle(txn: Transaction) -> None:
    pass
