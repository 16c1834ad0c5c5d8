"""Tokens in memory."""

from homeserver.protocol.ids import UserId
from homeserver.protocol.requester import Requester
from homeserver.services.accounts.known_tokens import Known, KnownTokens

ALICE = Known(Requester(UserId("@alice:test")), None)


def key(number: int) -> bytes:
    return b"%d" % number


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    known = KnownTokens(capacity=100)
    known.put(b"used", ALICE)
    for number in range(1000):
        known.put(key(number), ALICE)
        if number % 10 == 0:
            assert known.get(b"used") is ALICE
    assert len(known) <= 101
    assert known.get(key(0)) is None
    assert known.get(key(999)) is ALICE


def test_dropped_tokens_are_gone_from_both_generations() -> None:
    known = KnownTokens(capacity=4)
    for number in range(4):
        known.put(key(number), ALICE)
    known.drop([key(0), key(3), b"never there"])
    assert known.get(key(0)) is None
    assert known.get(key(3)) is None
    assert known.get(key(2)) is ALICE
    assert known.drops == 1
