"""Sessions and their chains of tokens, on both databases."""

from typing import Any

import pytest

from homeserver.protocol.ids import DeviceId, UserId
from homeserver.runtime.database import Database
from homeserver.storage.accounts import AccountStore, NewAccount
from homeserver.storage.sessions import REMEMBERED_PAIRS, PairHashes, SessionStore
from tests.support.running import result

ALICE = UserId("@alice:test")
PHONE = DeviceId("PHONE")


def pair(number: int) -> PairHashes:
    return PairHashes(b"access%d" % number, 100 + number, b"refresh%d" % number, 1000 + number)


@pytest.fixture
def store() -> SessionStore:
    return SessionStore()


@pytest.fixture
def write(database: Database) -> Any:
    def write(*args: Any, **kwargs: Any) -> Any:
        return result(database.write(*args, **kwargs))

    write(AccountStore().create, NewAccount(ALICE, False, True, None, 5))
    return write


def test_both_tokens_lead_to_the_session(store: SessionStore, write: Any) -> None:
    session_id = write(store.start, ALICE, PHONE, pair(1), now_ms=5)

    access = write(store.of_access_token, b"access1")
    refresh = write(store.of_refresh_token, b"refresh1")

    assert (access.user_id, access.device_id, access.link.session_id) == (ALICE, PHONE, session_id)
    assert (access.is_admin, access.is_guest, access.expires_ms) == (True, False, 101)
    assert access.link.is_current
    assert not access.link.is_next
    assert (refresh.link, refresh.expires_ms, refresh.is_locked) == (access.link, 1001, False)
    assert write(store.of_access_token, b"refresh1") is None
    assert write(store.of_refresh_token, b"access1") is None


def test_tokens_may_never_expire_and_not_be_refreshable(store: SessionStore, write: Any) -> None:
    write(store.start, ALICE, PHONE, PairHashes(b"a", None, None, None), now_ms=5)
    write(store.start, ALICE, DeviceId("OTHER"), PairHashes(b"b", None, None, None), now_ms=5)
    assert write(store.of_access_token, b"a").expires_ms is None
    assert write(store.of_access_token, b"b").device_id == "OTHER"


def test_a_successor_waits_for_its_first_use(store: SessionStore, write: Any) -> None:
    write(store.start, ALICE, PHONE, pair(1), now_ms=5)
    write(store.extend, write(store.of_refresh_token, b"refresh1").link, pair(2))
    write(store.extend, write(store.of_refresh_token, b"refresh1").link, pair(3))
    links = {n: write(store.of_access_token, b"access%d" % n).link for n in (1, 2, 3)}
    assert [links[n].is_current for n in (1, 2, 3)] == [True, False, False]
    assert [links[n].is_next for n in (1, 2, 3)] == [False, True, True]

    assert set(write(store.make_current, links[3])) == {b"access1", b"access2"}

    links = {n: write(store.of_access_token, b"access%d" % n).link for n in (1, 2, 3)}
    assert [links[n].is_current for n in (1, 2, 3)] == [False, False, True]
    assert [links[n].is_next for n in (1, 2, 3)] == [False, False, False]


def test_of_a_long_chain_only_the_end_is_remembered(store: SessionStore, write: Any) -> None:
    write(store.start, ALICE, PHONE, pair(1), now_ms=5)
    for number in range(1, 31):
        link = write(store.of_refresh_token, b"refresh%d" % number).link
        write(store.make_current, link)
        write(store.extend, link, pair(number + 1))
    known = [n for n in range(1, 32) if write(store.of_refresh_token, b"refresh%d" % n) is not None]
    assert known == list(range(32 - REMEMBERED_PAIRS - 1, 32))


def test_an_ended_session_leaves_no_token(store: SessionStore, write: Any) -> None:
    phone = write(store.start, ALICE, PHONE, pair(1), now_ms=5)
    other = write(store.start, ALICE, DeviceId("OTHER"), pair(2), now_ms=5)
    assert sorted(write(store.access_hashes_of, ALICE)) == [b"access1", b"access2"]
    assert sorted(write(store.ids_of, ALICE)) == sorted([phone, other])
    assert write(store.ids_of, ALICE, [PHONE, DeviceId("NONE")]) == [phone]
    assert write(store.ids_of, ALICE, []) == []

    assert write(store.end, [phone]) == [b"access1"]

    assert write(store.end, []) == []
    assert write(store.of_access_token, b"access1") is None
    assert write(store.of_refresh_token, b"refresh1") is None
    assert write(store.ids_of, ALICE) == [other]
