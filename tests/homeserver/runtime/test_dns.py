"""Names are looked up once, and what was learnt is remembered for a while."""

import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.names import client
from twisted.names import dns as wire

from homeserver.runtime import dns
from homeserver.runtime.clock import Clock
from homeserver.runtime.dns import NameFailure, ServiceRecord, SystemResolver
from tests.support.clock import FakeClock
from tests.support.remote_servers import LiveReactor
from tests.support.running import Running, result

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


class SlowThreads:
    """Look-ups that take until a test says otherwise. `running`: by host."""

    def __init__(self) -> None:
        self.running: dict[str, Deferred[list[str]]] = {}

    async def run(self, _function: object, host: str) -> list[str]:
        self.running[host] = Deferred()
        return await self.running[host]

    def end(self, host: str, outcome: list[str] | NameFailure) -> None:
        waiting = self.running.pop(host)
        if isinstance(outcome, NameFailure):
            waiting.errback(outcome)
        else:
            waiting.callback(outcome)


@pytest.fixture
def slow() -> SlowThreads:
    return SlowThreads()


@pytest.fixture
def slow_resolver(slow: SlowThreads, time: FakeClock) -> SystemResolver:
    return SystemResolver(None, time, slow)  # type: ignore[arg-type]


def test_a_slow_domain_leaves_room_for_others(slow_resolver: SystemResolver, slow: SlowThreads) -> None:
    for number in range(100):
        Running(slow_resolver.addresses(f"s{number}.slow.example"))
    assert len(slow.running) == dns.LOOK_UPS_OF_ONE
    other = Running(slow_resolver.addresses("other.example"))
    slow.end("other.example", ["192.0.2.1"])
    assert other.result() == ["192.0.2.1"]


def test_a_look_up_that_takes_too_long_is_not_waited_for(
    slow_resolver: SystemResolver, slow: SlowThreads, time: FakeClock
) -> None:
    waiting = Running(slow_resolver.addresses("slow.example"))
    time.advance(dns.LOOK_UP_S + 0.1)
    with pytest.raises(NameFailure, match="within 10 s"):
        waiting.result()
    with pytest.raises(NameFailure):  # as is remembered for a while
        result(slow_resolver.addresses("slow.example"))
    slow.end("slow.example", ["192.0.2.1"])
    assert result(slow_resolver.addresses("slow.example")) == ["192.0.2.1"]


def test_what_nobody_waits_for_any_more_still_takes_its_place(
    slow_resolver: SystemResolver, slow: SlowThreads, time: FakeClock
) -> None:
    """A thread that asks cannot be interrupted."""
    hosts = [f"s{number}.slow.example" for number in range(50)]
    for _ in range(5):
        for host in hosts:
            Running(slow_resolver.addresses(host))
        time.advance(dns.LOOK_UP_S + dns.FAILURE_TTL_S + 0.1)
    assert len(slow.running) == dns.LOOK_UPS_OF_ONE
    for host in list(slow.running):
        slow.end(host, NameFailure("at last"))
    assert slow.running == {}  # nobody waits for the others
    Running(slow_resolver.addresses("new.slow.example"))
    assert list(slow.running) == ["new.slow.example"]


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


# Over the wire


class NameServer:
    """A DNS server on loopback that knows a few SRV records."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.records: dict[bytes, list[wire.Record_SRV]] = {}
        self.failure = wire.ENAME
        self.asked = 0
        self.is_silent = False
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, client = self._socket.recvfrom(10_000)
            except OSError:
                return
            self.asked += 1
            question = wire.Message()
            question.fromStr(data)
            answer = wire.Message(id=question.id, answer=1, recDes=1, recAv=1)
            answer.queries = question.queries
            name = question.queries[0].name.name
            records = self.records.get(name)
            if records is None:
                answer.rCode = self.failure
            else:
                answer.answers = [
                    wire.RRHeader(name, wire.SRV, payload=record, ttl=record.ttl) for record in records
                ]
            if not self.is_silent:
                self._socket.sendto(answer.toStr(), client)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


@pytest.fixture
def live(name_server: NameServer) -> Iterator[tuple[LiveReactor, SystemResolver]]:
    reactor = LiveReactor()
    resolver = SystemResolver(reactor.reactor, Clock(reactor.reactor), ThreadsHere())  # type: ignore[arg-type]
    resolver._client = client.Resolver(servers=[("127.0.0.1", name_server.port)], reactor=reactor.reactor)
    yield reactor, resolver
    reactor.stop()


def test_records_over_the_wire(live: tuple[LiveReactor, SystemResolver], name_server: NameServer) -> None:
    reactor, resolver = live
    name_server.records[b"_matrix-fed._tcp.a.example"] = [
        wire.Record_SRV(10, 5, 8448, b"m.a.example", ttl=3600),
        wire.Record_SRV(20, 0, 443, b"n.a.example", ttl=1800),
    ]
    for _ in range(2):
        assert reactor.result(lambda: resolver.services("_matrix-fed._tcp.a.example")) == [
            ServiceRecord(10, 5, 8448, "m.a.example"),
            ServiceRecord(20, 0, 443, "n.a.example"),
        ]
    assert name_server.asked == 1


def test_a_record_that_says_there_is_no_service(
    live: tuple[LiveReactor, SystemResolver], name_server: NameServer
) -> None:
    reactor, resolver = live
    name_server.records[b"_x._tcp.a.example"] = [wire.Record_SRV(0, 0, 0, b".", ttl=60)]
    (record,) = reactor.result(lambda: resolver.services("_x._tcp.a.example"))
    assert record.target == ""


@pytest.mark.parametrize("records", [None, []])
def test_no_records_over_the_wire(
    live: tuple[LiveReactor, SystemResolver], name_server: NameServer, records: list[Any] | None
) -> None:
    reactor, resolver = live
    if records is not None:
        name_server.records[b"_x._tcp.a.example"] = records
    assert reactor.result(lambda: resolver.services("_x._tcp.a.example")) == []


def test_a_name_server_in_trouble(live: tuple[LiveReactor, SystemResolver], name_server: NameServer) -> None:
    reactor, resolver = live
    name_server.failure = wire.ESERVER
    with pytest.raises(NameFailure):
        reactor.result(lambda: resolver.services("_x._tcp.a.example"))


def test_a_name_server_that_is_silent(
    live: tuple[LiveReactor, SystemResolver], name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reactor, resolver = live
    name_server.is_silent = True
    monkeypatch.setattr(dns, "SRV_TIMEOUTS_S", (0.2, 0.2))
    with pytest.raises(NameFailure):
        reactor.result(lambda: resolver.services("_x._tcp.a.example"))
