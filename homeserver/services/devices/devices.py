"""A user's devices: list, rename, delete.

https://spec.matrix.org/latest/client-server-api/#device-management
"""

from collections.abc import Collection
from functools import partial

from homeserver.protocol.errors import NotFound
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.last_seen import LastSeen
from homeserver.services.accounts.sessions import Sessions, check_device_name
from homeserver.services.accounts.stages import PASSWORD_ONLY, Action, Stages
from homeserver.services.streams import Change, Streams
from homeserver.storage.devices import Device, DeviceStore


class NoSuchDevice(NotFound):
    """The user has no device of this ID."""


class Devices:
    """Devices as their owner sees them."""

    def __init__(
        self,
        database: Database,
        store: DeviceStore,
        streams: Streams,
        sessions: Sessions,
        stages: Stages,
        last_seen: LastSeen,
    ) -> None:
        self._database = database
        self._store = store
        self._streams = streams
        self._sessions = sessions
        self._stages = stages
        self._last_seen = last_seen

    async def of_user(self, user_id: UserId) -> list[Device]:
        """All devices, by ID, with what was seen of them just now."""
        devices = await self._database.read(self._store.of_user, user_id)
        return [self._with_last_seen(user_id, device) for device in devices]

    async def device(self, user_id: UserId, device_id: DeviceId) -> Device:
        """One device. Raises NoSuchDevice."""
        device = await self._database.look_up(self._store.device, user_id, device_id)
        if device is None:
            raise NoSuchDevice(f"{user_id} has no device {device_id}")
        return self._with_last_seen(user_id, device)

    async def rename(self, user_id: UserId, device_id: DeviceId, display_name: str | None) -> None:
        """None leaves the name as it is. Raises NoSuchDevice, TooLarge."""
        if display_name is None:
            await self.device(user_id, device_id)
            return
        check_device_name(display_name)
        change = Change("device_lists", users=(user_id,))
        await self._streams.write(self._rename, change, user_id, device_id, display_name)

    async def delete(self, user_id: UserId, device_ids: Collection[DeviceId], action: Action) -> None:
        """Forget devices, for whoever gives the password. Devices that are not there are passed over.

        Raises StagesNeeded.
        """
        proof = await self._stages.prove(action, PASSWORD_ONLY)
        settle = partial(self._stages.settle, proof=proof)
        await self._sessions.remove_devices(user_id, device_ids, settle)

    def _rename(
        self, txn: Transaction, position: int, user_id: UserId, device_id: DeviceId, display_name: str
    ) -> None:
        if not self._store.rename(txn, user_id, device_id, display_name):
            raise NoSuchDevice(f"{user_id} has no device {device_id}")
        self._store.changed(txn, user_id, [device_id], position=position)

    def _with_last_seen(self, user_id: UserId, device: Device) -> Device:
        seen = self._last_seen.of(user_id, device.device_id)
        if seen is None:
            return device
        return device._replace(
            last_seen_ms=seen.seen_ms, last_seen_ip=seen.ip, last_seen_user_agent=seen.user_agent
        )
