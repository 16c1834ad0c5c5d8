"""Hashes of passwords."""

import pytest

from homeserver.protocol.errors import InvalidParam, WeakPassword
from homeserver.services.accounts.passwords import Cost, Passwords
from tests.support.accounts import ThreadsHere
from tests.support.running import result

CHEAP, DEARER = Cost(1, 8), Cost(2, 16)


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(ThreadsHere(), CHEAP, min_length=8)


def test_a_hash_is_argon2id_with_its_parameters(passwords: Passwords) -> None:
    made = result(passwords.hashed("secret secret"))
    assert made.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert "\0" not in made
    assert made != result(passwords.hashed("secret secret"))


def test_only_the_right_password_is_right(passwords: Passwords) -> None:
    made = result(passwords.hashed("pässwörd 🔑"))
    assert result(passwords.is_right("pässwörd 🔑", made))
    assert not result(passwords.is_right("pässwörd", made))
    assert not result(passwords.is_right("", made))


def test_without_a_hash_no_password_is_right_but_as_much_is_computed() -> None:
    threads = ThreadsHere()
    passwords = Passwords(threads, DEARER)
    assert not result(passwords.is_right("anything at all", None))
    assert threads.jobs == 1
    assert passwords._nobody().startswith("$argon2id$v=19$m=16,t=2,p=1$")


def test_hashes_made_at_another_cost_are_outdated_but_good(passwords: Passwords) -> None:
    made = result(passwords.hashed("secret secret"))
    later = Passwords(ThreadsHere(), DEARER)
    assert result(later.is_right("secret secret", made))
    assert later.is_outdated(made)
    assert not passwords.is_outdated(made)


def test_weak_and_endless_passwords_are_refused(passwords: Passwords) -> None:
    with pytest.raises(WeakPassword):
        passwords.check_strength("1234567")
    passwords.check_strength("12345678")
    with pytest.raises(InvalidParam):
        passwords.check_strength("x" * 1025)
    assert not result(passwords.is_right("x" * 100_000, None))
