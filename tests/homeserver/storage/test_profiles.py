"""Profile fields, on both databases."""

from typing import Any

import pytest

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database
from homeserver.storage.profiles import Field, ProfileStore
from tests.support.running import result

ALICE = UserId("@alice:test")
BOB = UserId("@bob:test")


@pytest.fixture
def store() -> ProfileStore:
    return ProfileStore()


@pytest.fixture
def write(database: Database) -> Any:
    return lambda *args, **kwargs: result(database.write(*args, **kwargs))


def test_fields_are_put_replaced_and_removed(store: ProfileStore, write: Any) -> None:
    write(store.put, ALICE, Field("m.tz", b'"Europe/Rome"'))
    write(store.put, ALICE, Field("displayname", b'"A"'))
    write(store.put, ALICE, Field("displayname", b'"Alice"'))
    assert write(store.fields, ALICE) == [Field("displayname", b'"Alice"'), Field("m.tz", b'"Europe/Rome"')]
    assert write(store.value, ALICE, "displayname") == b'"Alice"'
    assert write(store.value, BOB, "displayname") is None
    assert write(store.remove, ALICE, "displayname")
    assert not write(store.remove, ALICE, "displayname")
    write(store.remove_all, ALICE)
    assert write(store.fields, ALICE) == []


def test_changes_are_noted_once_until_forgotten(store: ProfileStore, write: Any) -> None:
    for user in (BOB, ALICE, BOB):
        write(store.note_change, user)
    assert write(store.noted_changes) == [ALICE, BOB]
    write(store.forget_change, ALICE)
    assert write(store.noted_changes) == [BOB]
