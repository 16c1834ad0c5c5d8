"""Close an account for good: nobody logs in again, nobody else gets the name, its rooms are left.

The account is closed in one transaction. What takes long, such as leaving rooms, follows in the background
and goes on after a restart. https://spec.matrix.org/latest/client-server-api/#account-deactivation
"""

from collections.abc import Awaitable, Callable
from functools import partial

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.services.accounts.sessions import Removed, Sessions, Settle, device_list_change
from homeserver.services.accounts.stages import PASSWORD_ONLY, Action, Stages
from homeserver.services.streams import Streams
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.accounts import Departure

DepartureStep = Callable[[UserId, bool], Awaitable[None]]
"""`await step(user_id, erase)`: what else is to be done for an account that was closed. May run again."""


class Deactivation:
    """Closes accounts."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        sessions: Sessions,
        stages: Stages,
        streams: Streams,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._stores = stores
        self._sessions = sessions
        self._stages = stages
        self._streams = streams
        self._tasks = tasks
        self._steps: list[DepartureStep] = []

    def also(self, step: DepartureStep) -> None:
        """Run `step` for every account that is closed, in the order in which they were given."""
        self._steps.append(step)

    async def start(self) -> None:
        """Go on with what was under way when the server stopped. Call when all steps are known."""
        for departure in await self._database.read(self._stores.accounts.departures):
            self._depart(departure)

    async def deactivate(self, action: Action, *, erase: bool) -> None:
        """Somebody closes their own account, with their password. Raises StagesNeeded."""
        proof = await self._stages.prove(action, PASSWORD_ONLY)
        assert proof.user_id is not None
        await self._close(proof.user_id, partial(self._stages.settle, proof=proof), erase=erase)

    async def deactivate_for(self, user_id: UserId, *, erase: bool) -> None:
        """An operator closes an account. Closing it again changes nothing."""
        await self._close(user_id, _nothing_to_settle, erase=erase)

    async def _close(self, user_id: UserId, settle: Settle, *, erase: bool) -> None:
        await self._streams.write(self._deactivate, device_list_change, user_id, settle, erase=erase)

    def _deactivate(
        self, txn: Transaction, position: int, user_id: UserId, settle: Settle, *, erase: bool
    ) -> Removed:
        settle(txn)
        stores = self._stores
        now_ms = self._sessions.now_ms()
        if not stores.accounts.deactivate(txn, user_id, now_ms=now_ms, erase=erase):
            return Removed(user_id, [])
        if erase:
            stores.profiles.remove_all(txn, user_id)
        stores.profiles.forget_change(txn, user_id)
        stores.purpose_tokens.remove_of(txn, user_id)
        txn.after_commit(self._depart, Departure(user_id, erase))
        return self._sessions.remove_all_devices(txn, position, user_id)

    def _depart(self, departure: Departure) -> None:
        self._tasks.start(f"close the account of {departure.user_id}", self._run_steps(departure))

    async def _run_steps(self, departure: Departure) -> None:
        for step in self._steps:
            await step(departure.user_id, departure.is_erased)
        await self._database.write(self._stores.accounts.departed, departure.user_id)


def _nothing_to_settle(txn: Transaction) -> None:
    pass
