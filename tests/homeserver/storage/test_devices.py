"""Devices and their changes, on both databases."""

from typing import Any

import pytest

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.runtime.database import Database
from homeserver.storage.devices import Device, DeviceListChange, DeviceStore, Sighting
from tests.support.running import result

ALICE = UserId("@alice:test")
BOB = UserId("@bob:test")
PHONE, LAPTOP = DeviceId("PHONE"), DeviceId("LAPTOP")


@pytest.fixture
def store() -> DeviceStore:
    return DeviceStore()


@pytest.fixture
def write(database: Database) -> Any:
    return lambda *args, **kwargs: result(database.write(*args, **kwargs))


def test_a_device_keeps_its_first_name_until_it_is_renamed(store: DeviceStore, write: Any) -> None:
    assert write(store.add, ALICE, PHONE, display_name="Phone", now_ms=5)
    assert not write(store.add, ALICE, PHONE, display_name="Other", now_ms=6)
    assert write(store.device, ALICE, PHONE) == Device(PHONE, "Phone", None, None, None)
    assert write(store.rename, ALICE, PHONE, "Third")
    assert write(store.device, ALICE, PHONE).display_name == "Third"
    assert not write(store.rename, BOB, PHONE, "Mine")
    assert write(store.device, BOB, PHONE) is None


def test_only_devices_that_were_there_are_removed(store: DeviceStore, write: Any) -> None:
    for device in (PHONE, LAPTOP):
        write(store.add, ALICE, device, display_name=None, now_ms=5)
    write(store.add, BOB, PHONE, display_name=None, now_ms=5)
    assert write(store.ids_of, ALICE) == [LAPTOP, PHONE]

    assert write(store.remove, ALICE, [PHONE, DeviceId("NONE")]) == [PHONE]

    assert write(store.remove, ALICE, []) == []
    assert [device.device_id for device in write(store.of_user, ALICE)] == [LAPTOP]
    assert write(store.ids_of, BOB) == [PHONE]


def test_devices_show_when_they_were_seen(store: DeviceStore, write: Any) -> None:
    write(store.add, ALICE, PHONE, display_name=None, now_ms=5)
    write(store.seen, [Sighting(ALICE, PHONE, 9, "1.2.3.4", "Firefox"), Sighting(BOB, PHONE, 9, "::1", None)])
    assert write(store.device, ALICE, PHONE) == Device(PHONE, None, 9, "1.2.3.4", "Firefox")


def test_of_each_device_the_newest_change_is_kept(store: DeviceStore, write: Any) -> None:
    write(store.changed, ALICE, [PHONE, LAPTOP], position=10)
    write(store.changed, BOB, [PHONE], position=11)
    write(store.changed, ALICE, [PHONE], position=12)
    assert write(store.changes, after=10, up_to=12) == [
        DeviceListChange(BOB, PHONE, 11),
        DeviceListChange(ALICE, PHONE, 12),
    ]
    assert write(store.changes, after=9, up_to=11) == [
        DeviceListChange(ALICE, LAPTOP, 10),
        DeviceListChange(BOB, PHONE, 11),
    ]
