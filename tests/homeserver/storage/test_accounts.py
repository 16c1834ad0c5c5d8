"""The table of accounts, on both databases."""

from typing import Any

import pytest

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database
from homeserver.storage.accounts import Account, AccountStore, Departure, NewAccount
from tests.support.running import result

ALICE = UserId("@alice:test")
NEW = NewAccount(ALICE, is_guest=False, is_admin=False, password_hash="$hash", created_ms=5)


@pytest.fixture
def store() -> AccountStore:
    return AccountStore()


@pytest.fixture
def write(database: Database) -> Any:
    return lambda *args, **kwargs: result(database.write(*args, **kwargs))


def test_what_was_created_is_found(store: AccountStore, write: Any) -> None:
    assert write(store.create, NEW)

    account = write(store.account, ALICE)

    assert account == Account(ALICE, False, False, False, False, False, "$hash")
    assert all(isinstance(flag, bool) for flag in account[1:6])
    assert write(store.exists, ALICE)
    assert not write(store.exists, "@bob:test")
    assert write(store.account, "@bob:test") is None


def test_a_taken_name_is_not_given_again(store: AccountStore, write: Any) -> None:
    write(store.create, NEW)
    assert not write(store.create, NEW._replace(password_hash="$other"))
    assert write(store.account, ALICE).password_hash == "$hash"


def test_names_are_found_in_any_case_but_the_exact_one_first(store: AccountStore, write: Any) -> None:
    write(store.create, NEW)
    assert write(store.account_named, "@ALICE:test").user_id == ALICE
    write(store.create, NEW._replace(user_id=UserId("@Alice:test")))
    assert write(store.account_named, "@Alice:test").user_id == "@Alice:test"
    assert write(store.account_named, "@aLICE:test").user_id == ALICE
    assert write(store.account_named, "@bob:test") is None


def test_an_account_changes_with_its_password_and_its_closing(store: AccountStore, write: Any) -> None:
    write(store.create, NEW)
    account = write(store.account, ALICE)
    assert write(store.is_unchanged, account)

    write(store.change_password, ALICE, "$new")
    assert not write(store.is_unchanged, account)
    account = write(store.account, ALICE)
    write(store.deactivate, ALICE, now_ms=6, erase=False)
    assert not write(store.is_unchanged, account)
    assert not write(store.is_unchanged, account._replace(password_hash=None))


def test_a_closed_account_has_no_password_and_gets_none(store: AccountStore, write: Any) -> None:
    write(store.create, NEW)
    assert write(store.deactivate, ALICE, now_ms=6, erase=True)
    write(store.change_password, ALICE, "$new")

    account = write(store.account, ALICE)

    assert account.is_deactivated
    assert account.password_hash is None
    assert write(store.is_erased, ALICE)
    assert write(store.exists, ALICE)
    assert not write(store.deactivate, ALICE, now_ms=7, erase=False)


def test_closed_accounts_leave_their_rooms_until_they_have(store: AccountStore, write: Any) -> None:
    write(store.create, NEW)
    assert write(store.departures) == []
    write(store.deactivate, ALICE, now_ms=6, erase=True)
    assert write(store.departures) == [Departure(ALICE, True)]
    write(store.departed, ALICE)
    assert write(store.departures) == []


def test_flags_are_set_and_taken_back(store: AccountStore, write: Any) -> None:
    write(store.create, NEW)
    write(store.lock, ALICE, is_locked=True)
    write(store.suspend, ALICE, is_suspended=True)
    assert write(store.make_admin, ALICE, is_admin=True)
    account = write(store.account, ALICE)
    assert (account.is_locked, account.is_suspended, account.is_admin) == (True, True, True)
    write(store.lock, ALICE, is_locked=False)
    write(store.suspend, ALICE, is_suspended=False)
    account = write(store.account, ALICE)
    assert (account.is_locked, account.is_suspended, account.is_admin) == (False, False, True)
    assert not write(store.make_admin, "@bob:test", is_admin=True)
