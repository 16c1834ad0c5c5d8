"""Names are looked up once, and what was learnt is remembered for a while."""

import socket

import pytest

from homeserver.runtime import dns
from homeserver.runtime.dns import NameFailure, ServiceRecord, SystemResolver
from tests.support.clock import FakeClock
from tests.support.running import result

RECORD = ServiceRecord(10, 5, 8448, "matrix.example.org")


class Names:
    """A world of names. `asked` is what was looked up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.addresses: dict[str, list[str]] = {}
        self.services: dict[str, tuple[list[ServiceRecord], float]] = {}

    def look_up(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.addresses:
            raise NameFailure(f"{host} cannot be resolved")
        return self.addresses[host]

    async def ask_services(self, name: str) -> tuple[list[ServiceRecord], float]:
        self.asked.append(name)
        if name not in self.services:
            raise NameFailure("no name server")
        return self.services[name]


class ThreadsHere:
    async def run(self, function, *args):  # type: ignore[no-untyped-def]
        return function(*args)


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def resolver(names: Names, time: FakeClock) -> SystemResolver:
    threads = ThreadsHere()
    return SystemResolver(None, time, threads, look_up=names.look_up, ask_services=names.ask_services)  # type: ignore[arg-type]


def test_addresses_are_remembered(resolver: SystemResolver, names: Names, time: FakeClock) -> None:
    names.addresses["a.example"] = ["192.0.2.1"]
    for _ in range(3):
        assert result(resolver.addresses("a.example")) == ["192.0.2.1"]
    assert names.asked == ["a.example"]
    time.advance(dns.ADDRESS_TTL_S + 1)
    names.addresses["a.example"] = ["192.0.2.2"]
    assert result(resolver.addresses("a.example")) == ["192.0.2.2"]


def test_bad_news_are_remembered_less_long(resolver: SystemResolver, names: Names, time: FakeClock) -> None:
    for _ in range(3):
        with pytest.raises(NameFailure, match="cannot be resolved"):
            result(resolver.addresses("gone.example"))
    assert names.asked == ["gone.example"]
    time.advance(dns.UNKNOWN_TTL_S + 1)
    names.addresses["gone.example"] = ["192.0.2.1"]
    assert result(resolver.addresses("gone.example")) == ["192.0.2.1"]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_is_not_looked_up(resolver: SystemResolver, names: Names, address: str) -> None:
    assert result(resolver.addresses(address)) == [address]
    assert names.asked == []


def test_records_are_good_for_as_long_as_they_say(
    resolver: SystemResolver, names: Names, time: FakeClock
) -> None:
    names.services["_x._tcp.a.example"] = ([RECORD], 3_600.0)
    for _ in range(2):
        assert result(resolver.services("_x._tcp.a.example")) == [RECORD]
    time.advance(3_599)
    result(resolver.services("_x._tcp.a.example"))
    assert len(names.asked) == 1
    time.advance(2)
    result(resolver.services("_x._tcp.a.example"))
    assert len(names.asked) == 2


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, dns.LEAST_TTL_S), (10**9, dns.GREATEST_TTL_S)])
def test_but_within_bounds(
    resolver: SystemResolver, names: Names, time: FakeClock, ttl_s: float, kept_s: float
) -> None:
    names.services["_x._tcp.a.example"] = ([RECORD], ttl_s)
    result(resolver.services("_x._tcp.a.example"))
    time.advance(kept_s - 1)
    result(resolver.services("_x._tcp.a.example"))
    assert len(names.asked) == 1
    time.advance(2)
    result(resolver.services("_x._tcp.a.example"))
    assert len(names.asked) == 2


def test_that_there_are_no_records_is_remembered_too(
    resolver: SystemResolver, names: Names, time: FakeClock
) -> None:
    names.services["_x._tcp.a.example"] = ([], 0.0)
    for _ in range(2):
        assert result(resolver.services("_x._tcp.a.example")) == []
    assert len(names.asked) == 1
    time.advance(dns.NO_RECORD_TTL_S + 1)
    result(resolver.services("_x._tcp.a.example"))
    assert len(names.asked) == 2


def test_silent_name_servers_are_asked_again_soon(
    resolver: SystemResolver, names: Names, time: FakeClock
) -> None:
    for _ in range(2):
        with pytest.raises(NameFailure):
            result(resolver.services("_x._tcp.a.example"))
    assert len(names.asked) == 1
    time.advance(dns.FAILURE_TTL_S + 1)
    names.services["_x._tcp.a.example"] = ([RECORD], 100.0)
    assert result(resolver.services("_x._tcp.a.example")) == [RECORD]


def test_a_flood_of_records_is_cut_off(resolver: SystemResolver, names: Names) -> None:
    names.services["_x._tcp.a.example"] = ([RECORD] * 500, 100.0)
    assert len(result(resolver.services("_x._tcp.a.example"))) == dns.MAX_RECORDS


def test_the_operating_system_knows_localhost() -> None:
    assert set(dns.addresses_of("localhost")) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 70 + ".example", "", "\x00"])
def test_what_it_does_not_know_is_a_failure(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def quick(name: str, *args: object, **kwargs: object) -> object:
        if name.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", quick)
    if host:
        with pytest.raises(NameFailure, match="cannot be resolved"):
            dns.addresses_of(host)
