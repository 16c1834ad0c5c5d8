"""One address can have only so many connections."""

import logging

import pytest

from homeserver.http.limits import Limits
from tests.support.http_connection import Listener

FAR = "5.9.0.1"
LIMITS = Limits(connections_per_address=2)


def test_one_address_has_only_so_many_connections() -> None:
    listener = Listener(limits=LIMITS)
    first, second, third = (listener.connect(FAR) for _ in range(3))
    assert [line.is_closed for line in (first, second, third)] == [False, False, True]
    assert not listener.connect("5.9.0.2").is_closed
    third.hang_up()
    assert listener.connect(FAR).is_closed


def test_who_closes_one_may_open_another() -> None:
    listener = Listener(limits=LIMITS)
    first, _ = listener.connect(FAR), listener.connect(FAR)
    first.hang_up()
    assert not listener.connect(FAR).is_closed


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "", "5.9.0.9"])
def test_proxies_may_have_as_many_as_they_like(address: str) -> None:
    listener = Listener(limits=LIMITS, trusted_proxies=("5.9.0.9",))
    assert not any(listener.connect(address).is_closed for _ in range(5))


def test_a_network_of_ipv6_counts_as_one() -> None:
    listener = Listener(limits=LIMITS)
    lines = [listener.connect(f"2a01:4f8::{number}") for number in range(1, 4)]
    assert lines[-1].is_closed


def test_without_a_limit_nobody_is_turned_away() -> None:
    listener = Listener()
    assert not any(listener.connect(FAR).is_closed for _ in range(50))


def test_that_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    listener = Listener(limits=LIMITS)
    for _ in range(10):
        listener.connect(FAR)
    assert len(caplog.messages) == 1
    listener.time.advance(61)
    listener.connect(FAR).hang_up()
    assert len(caplog.messages) == 2
    assert "Closed 8 connections" in caplog.messages[1]
