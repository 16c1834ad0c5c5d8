"""Limits: how much may be spent, when it is there again, and what is kept of it."""

import pytest

from homeserver.config.rate_limits import Limit
from homeserver.protocol.errors import LimitExceeded
from homeserver.services import rate_limits
from homeserver.services.rate_limits import RateLimits
from tests.support.clock import FakeClock


@pytest.fixture
def limits(time: FakeClock) -> RateLimits:
    return RateLimits(time.monotonic, {"joins": Limit(per_second=0.5, burst=3), "off": None})


def test_a_burst_may_be_spent_at_once_and_then_no_more(limits: RateLimits) -> None:
    for _ in range(3):
        limits.spend("joins", "alice")
    with pytest.raises(LimitExceeded) as refused:
        limits.spend("joins", "alice")
    assert 2000 <= refused.value.retry_after_ms <= 2001


def test_after_the_time_that_was_told_it_works_again(limits: RateLimits, time: FakeClock) -> None:
    for _ in range(3):
        limits.spend("joins", "alice")
    time.advance(2.0)
    limits.spend("joins", "alice")
    with pytest.raises(LimitExceeded):
        limits.spend("joins", "alice")


def test_a_refusal_costs_nothing(limits: RateLimits, time: FakeClock) -> None:
    for _ in range(3):
        limits.spend("joins", "alice")
    for _ in range(100):
        with pytest.raises(LimitExceeded):
            limits.spend("joins", "alice")
    time.advance(2.0)
    limits.spend("joins", "alice")


def test_keys_do_not_share(limits: RateLimits) -> None:
    for _ in range(3):
        limits.spend("joins", "alice")
    limits.spend("joins", "bob")
    limits.spend("joins", ("alice", "1.2.3.4"))


def test_what_is_given_back_may_be_spent_again(limits: RateLimits) -> None:
    for _ in range(20):
        limits.spend("joins", "alice")
        limits.give_back("joins", "alice")
    limits.give_back("joins", "nobody")
    limits.give_back("unknown", "nobody")


def test_a_long_rest_fills_no_more_than_the_burst(limits: RateLimits, time: FakeClock) -> None:
    limits.spend("joins", "alice")
    time.advance(1_000_000)
    limits.spend("joins", "alice", 3)
    with pytest.raises(LimitExceeded):
        limits.spend("joins", "alice")


@pytest.mark.parametrize("name", ["off", "unknown"])
def test_a_limit_that_is_off_never_refuses(limits: RateLimits, name: str) -> None:
    assert not limits.is_on(name)
    for _ in range(1000):
        limits.spend(name, "alice")


def test_full_buckets_are_forgotten(limits: RateLimits, time: FakeClock) -> None:
    for number in range(1000):
        limits.spend("joins", f"user{number}")
    time.advance(3)
    for number in range(30):
        limits.spend("joins", f"new{number}")
    buckets = limits._buckets["joins"]
    assert len(buckets._full_at) <= 30


def test_memory_is_bounded_and_the_emptiest_buckets_are_kept(
    limits: RateLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "MAX_BUCKETS", 2000)
    for _ in range(3):
        limits.spend("joins", "greedy")
    for number in range(10_000):
        limits.spend("joins", f"user{number}")
    assert len(limits._buckets["joins"]._full_at) <= 2001
    with pytest.raises(LimitExceeded):
        limits.spend("joins", "greedy")
