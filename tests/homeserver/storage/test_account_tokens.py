"""Registration tokens, tokens for one purpose and login sessions, on both databases."""

from typing import Any

import pytest

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database
from homeserver.storage.login_sessions import LoginSession, LoginSessionStore
from homeserver.storage.purpose_tokens import PurposeToken, PurposeTokenStore
from homeserver.storage.registration_tokens import RegistrationToken, RegistrationTokenStore
from tests.support.running import result

ALICE = UserId("@alice:test")


@pytest.fixture
def write(database: Database) -> Any:
    return lambda *args, **kwargs: result(database.write(*args, **kwargs))


def test_a_registration_token_serves_as_often_as_allowed(write: Any) -> None:
    store = RegistrationTokenStore()
    assert write(store.add, RegistrationToken("two", 2, 0, 0, None), now_ms=1)
    assert not write(store.add, RegistrationToken("two", 9, 0, 0, None), now_ms=1)
    assert write(store.reserve, "two", now_ms=5)
    assert write(store.use, "two", now_ms=5)
    assert not write(store.is_usable, "two", now_ms=5)
    assert not write(store.use, "two", now_ms=5)
    assert not write(store.reserve, "two", now_ms=5)

    write(store.use_reserved, "two")

    assert write(store.token, "two") == RegistrationToken("two", 2, 0, 2, None)


def test_a_released_use_is_free_again(write: Any) -> None:
    store = RegistrationTokenStore()
    write(store.add, RegistrationToken("one", 1, 0, 0, None), now_ms=1)
    write(store.reserve, "one", now_ms=5)
    write(store.release, "one")
    write(store.release, "one")
    assert write(store.token, "one").pending == 0
    assert write(store.use, "one", now_ms=5)


def test_an_expired_registration_token_is_of_no_use(write: Any) -> None:
    store = RegistrationTokenStore()
    write(store.add, RegistrationToken("old", None, 0, 0, 10), now_ms=1)
    write(store.add, RegistrationToken("any", None, 0, 0, None), now_ms=2)
    assert write(store.is_usable, "old", now_ms=9)
    assert not write(store.is_usable, "old", now_ms=10)
    assert not write(store.is_usable, "none", now_ms=9)
    assert [token.token for token in write(store.tokens)] == ["old", "any"]
    assert write(store.remove, "old")
    assert not write(store.remove, "old")
    assert write(store.token, "old") is None


def test_a_token_serves_its_purpose_and_is_taken_once(write: Any) -> None:
    store = PurposeTokenStore()
    write(store.add, b"hash", "login", ALICE, expires_ms=10)
    assert write(store.token, b"hash", "openid") is None
    assert write(store.take, b"hash", "openid") is None
    assert write(store.token, b"hash", "login") == PurposeToken(ALICE, 10)
    assert write(store.take, b"hash", "login") == PurposeToken(ALICE, 10)
    assert write(store.take, b"hash", "login") is None


def test_expired_and_unwanted_purpose_tokens_go(write: Any) -> None:
    store = PurposeTokenStore()
    for number, expires_ms in enumerate((10, 20, 30)):
        write(store.add, b"%d" % number, "openid", ALICE, expires_ms=expires_ms)
    write(store.remove_expired, now_ms=20)
    assert [write(store.token, b"%d" % n, "openid") is not None for n in range(3)] == [False, False, True]
    write(store.remove_of, ALICE)
    assert write(store.token, b"2", "openid") is None


def test_a_login_session_advances_and_ends_once(write: Any) -> None:
    store = LoginSessionStore()
    begun = LoginSession(b"{}", b"body", None, 10)
    write(store.add, b"hash", begun)
    assert write(store.session, b"hash") == begun
    advanced = LoginSession(b'{"done":1}', b"body", "token", 20)
    write(store.advance, b"hash", advanced)
    assert write(store.session, b"hash") == advanced
    assert write(store.session, b"other") is None
    assert write(store.remove, b"hash")
    assert not write(store.remove, b"hash")


def test_expired_login_sessions_tell_what_they_had_reserved(write: Any) -> None:
    store = LoginSessionStore()
    for number, token in enumerate((None, "a", "b")):
        write(store.add, b"%d" % number, LoginSession(b"{}", b"body", token, number * 10))
    assert write(store.remove_expired, now_ms=10) == ["a"]
    assert write(store.session, b"2") is not None
