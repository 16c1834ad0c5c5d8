"""Devices, and when each last changed as others see it."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.runtime.database import Transaction, marks


class Device(NamedTuple):
    """A device as its owner sees it."""

    device_id: DeviceId
    display_name: str | None
    last_seen_ms: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None


class Sighting(NamedTuple):
    """A device was in use."""

    user_id: UserId
    device_id: DeviceId
    seen_ms: int
    ip: str
    user_agent: str | None


class DeviceListChange(NamedTuple):
    """The newest change of one device; it may be gone."""

    user_id: UserId
    device_id: DeviceId
    position: int


_COLUMNS = "device_id, display_name, last_seen_ms, last_seen_ip, last_seen_user_agent"


class DeviceStore:
    """The tables `devices` and `device_list_changes`."""

    def add(
        self, txn: Transaction, user_id: UserId, device_id: DeviceId, *, display_name: str | None, now_ms: int
    ) -> bool:
        """Add a device; False, and nothing changes, when the user has it already."""
        added = txn.execute(
            """
            INSERT INTO devices (user_id, device_id, display_name, created_ms) VALUES (%s, %s, %s, %s)
            ON CONFLICT DO NOTHING""",
            (user_id, device_id, display_name, now_ms),
        )
        return added == 1

    def of_user(self, txn: Transaction, user_id: UserId) -> list[Device]:
        """The user's devices, by ID."""
        return txn.all(
            Device, f"SELECT {_COLUMNS} FROM devices WHERE user_id = %s ORDER BY device_id", (user_id,)
        )

    def device(self, txn: Transaction, user_id: UserId, device_id: DeviceId) -> Device | None:
        """One device, or None when the user has no such device."""
        return txn.one(
            Device,
            f"SELECT {_COLUMNS} FROM devices WHERE user_id = %s AND device_id = %s",
            (user_id, device_id),
        )

    def ids_of(self, txn: Transaction, user_id: UserId) -> list[DeviceId]:
        """The IDs of the user's devices."""
        return txn.column("SELECT device_id FROM devices WHERE user_id = %s ORDER BY device_id", (user_id,))

    def rename(self, txn: Transaction, user_id: UserId, device_id: DeviceId, display_name: str) -> bool:
        """Give it another name; False when the user has no such device."""
        renamed = txn.execute(
            "UPDATE devices SET display_name = %s WHERE user_id = %s AND device_id = %s",
            (display_name, user_id, device_id),
        )
        return renamed == 1

    def remove(self, txn: Transaction, user_id: UserId, device_ids: Collection[DeviceId]) -> list[DeviceId]:
        """Forget devices. Returns those that were there."""
        if not device_ids:
            return []
        removed = txn.column(
            f"""
            DELETE FROM devices WHERE user_id = %s AND device_id IN ({marks(device_ids)})
            RETURNING device_id""",
            (user_id, *device_ids),
        )
        return sorted(removed)

    def seen(self, txn: Transaction, sightings: Iterable[Sighting]) -> None:
        """Note when, from where and with what devices were last used."""
        txn.executemany(
            """
            UPDATE devices SET last_seen_ms = %s, last_seen_ip = %s, last_seen_user_agent = %s
            WHERE user_id = %s AND device_id = %s""",
            [(s.seen_ms, s.ip, s.user_agent, s.user_id, s.device_id) for s in sightings],
        )

    def changed(
        self, txn: Transaction, user_id: UserId, device_ids: Iterable[DeviceId], *, position: int
    ) -> None:
        """Note at which position devices changed as others see them."""
        txn.executemany(
            """
            INSERT INTO device_list_changes (user_id, device_id, position) VALUES (%s, %s, %s)
            ON CONFLICT (user_id, device_id) DO UPDATE SET position = excluded.position""",
            [(user_id, device_id, position) for device_id in device_ids],
        )

    def changes(self, txn: Transaction, *, after: int, up_to: int) -> list[DeviceListChange]:
        """The newest change of each device within (after, up_to], oldest first."""
        return txn.all(
            DeviceListChange,
            """
            SELECT user_id, device_id, position FROM device_list_changes
            WHERE position > %s AND position <= %s ORDER BY position""",
            (after, up_to),
        )
