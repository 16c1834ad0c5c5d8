"""From a server name to where its server is: every step of the specification."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.remote import server_discovery
from homeserver.remote.server_discovery import ServerDiscovery, in_order
from homeserver.runtime.dns import NameFailure, ServiceRecord
from homeserver.runtime.http_client import HttpAnswer, HttpClient, Target, TookTooLong, Unreachable
from tests.support.clock import FakeClock
from tests.support.running import result

HOUR_S = 3_600


class World:
    """Well-known files and SRV records. `asked` is what was looked at, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.files: dict[str, HttpAnswer | Exception] = {}
        self.records: dict[str, list[ServiceRecord]] = {}
        self.is_silent = False

    def file(self, host: str, body: bytes | str, status: int = 200, **headers: str) -> None:
        """`m.server` for a str."""
        content = b'{"m.server":"%b"}' % body.encode() if isinstance(body, str) else body
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.files[host] = HttpAnswer(status, names, content)

    async def get(self, url: str, **_: Any) -> HttpAnswer:
        self.asked.append(url)
        host = url.removeprefix("https://").partition("/")[0]
        assert url == f"https://{host}/.well-known/matrix/server"
        answer = self.files.get(host, Unreachable("nobody there"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def services(self, name: str) -> Sequence[ServiceRecord]:
        self.asked.append(name)
        if self.is_silent:
            raise NameFailure("no name server")
        return self.records.get(name, [])

    async def addresses(self, host: str) -> Sequence[str]:
        raise AssertionError("addresses are looked up by the HTTP client")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def discovery(world: World, time: FakeClock) -> ServerDiscovery:
    return ServerDiscovery(cast(HttpClient, world), world, time, choose=lambda: 0.0)


def find(discovery: ServerDiscovery, name: str) -> list[Target]:
    return result(discovery.targets(ServerName(name)))


def test_step_1_addresses(discovery: ServerDiscovery, world: World) -> None:
    assert find(discovery, "1.2.3.4") == [Target("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")]
    assert find(discovery, "1.2.3.4:80") == [Target("1.2.3.4", 80, "1.2.3.4", "1.2.3.4:80")]
    assert find(discovery, "[2001:db8::1]") == [Target("2001:db8::1", 8448, "2001:db8::1", "[2001:db8::1]")]
    assert find(discovery, "[::1]:81") == [Target("::1", 81, "::1", "[::1]:81")]
    assert world.asked == []


def test_step_2_ports(discovery: ServerDiscovery, world: World) -> None:
    assert find(discovery, "a.example:443") == [Target("a.example", 443, "a.example", "a.example:443")]
    assert world.asked == []


@pytest.mark.parametrize(
    ("delegated", "target"),
    [
        ("1.2.3.4", Target("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")),  # 3.1
        ("1.2.3.4:443", Target("1.2.3.4", 443, "1.2.3.4", "1.2.3.4:443")),
        ("[::1]:443", Target("::1", 443, "::1", "[::1]:443")),
        ("b.example:443", Target("b.example", 443, "b.example", "b.example:443")),  # 3.2
        ("b.example", Target("b.example", 8448, "b.example", "b.example")),  # 3.5
    ],
)
def test_step_3_well_known_files(
    discovery: ServerDiscovery, world: World, delegated: str, target: Target
) -> None:
    world.file("a.example", delegated)
    assert find(discovery, "a.example") == [target]


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
def test_steps_3_3_and_3_4_records_of_the_delegated_name(
    discovery: ServerDiscovery, world: World, service: str
) -> None:
    world.file("a.example", "b.example")
    world.records[f"{service}.b.example"] = [ServiceRecord(0, 0, 7000, "c.example")]
    assert find(discovery, "a.example") == [Target("c.example", 7000, "b.example", "b.example")]


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
def test_steps_4_and_5_records(discovery: ServerDiscovery, world: World, service: str) -> None:
    world.records[f"{service}.a.example"] = [ServiceRecord(0, 0, 7000, "c.example")]
    assert find(discovery, "a.example") == [Target("c.example", 7000, "a.example", "a.example")]


def test_step_6_the_name_itself(discovery: ServerDiscovery, world: World) -> None:
    assert find(discovery, "a.example") == [Target("a.example", 8448, "a.example", "a.example")]
    assert world.asked == [
        "https://a.example/.well-known/matrix/server",
        "_matrix-fed._tcp.a.example",
        "_matrix._tcp.a.example",
    ]


def test_the_newer_service_is_preferred(discovery: ServerDiscovery, world: World) -> None:
    world.records["_matrix-fed._tcp.a.example"] = [ServiceRecord(0, 0, 1, "new.example")]
    world.records["_matrix._tcp.a.example"] = [ServiceRecord(0, 0, 2, "old.example")]
    assert [target.host for target in find(discovery, "a.example")] == ["new.example"]


def test_all_records_are_told_in_order(discovery: ServerDiscovery, world: World) -> None:
    world.records["_matrix-fed._tcp.a.example"] = [
        ServiceRecord(20, 0, 3, "c.example"),
        ServiceRecord(10, 0, 1, "a.example"),
        ServiceRecord(10, 10, 2, "b.example"),
    ]
    assert [target.port for target in find(discovery, "a.example")] == [1, 2, 3]


def test_a_record_may_say_that_there_is_no_server(discovery: ServerDiscovery, world: World) -> None:
    world.records["_matrix-fed._tcp.a.example"] = [ServiceRecord(0, 0, 0, "")]
    with pytest.raises(Unreachable, match="no server"):
        find(discovery, "a.example")


def test_without_name_servers_the_name_itself_is_tried(discovery: ServerDiscovery, world: World) -> None:
    world.is_silent = True
    assert find(discovery, "a.example") == [Target("a.example", 8448, "a.example", "a.example")]


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "..", "a.example:99999", "[::1", "a.example:80/x", "@a:b"]
)
def test_what_is_no_server_name(discovery: ServerDiscovery, world: World, name: str) -> None:
    with pytest.raises(Unreachable):
        find(discovery, name)
    assert world.asked == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"not json", 200),
        (b"[]", 200),
        (b"null", 200),
        (b"{}", 200),
        (b'{"m.server":5}', 200),
        (b'{"m.server":null}', 200),
        (b'{"m.server":""}', 200),
        (b'{"m.server":"a b"}', 200),
        (b'{"m.server":"https://b.example"}', 200),
        (b'{"m.server":"b.example/path"}', 200),
        (b'{"m.server":"b.example:port"}', 200),
        (b'{"m.server":"b.example"}', 404),
        (b'{"m.server":"b.example"}', 201),
        (b'{"m.server":"b.example"}', 500),
    ],
)
def test_files_that_count_as_missing(
    discovery: ServerDiscovery, world: World, body: bytes, status: int
) -> None:
    world.file("a.example", body, status)
    assert find(discovery, "a.example") == [Target("a.example", 8448, "a.example", "a.example")]


def test_the_content_type_does_not_matter(discovery: ServerDiscovery, world: World) -> None:
    world.file("a.example", "b.example:1", content_type="text/html")
    assert find(discovery, "a.example")[0].host == "b.example"


# Remembering


@pytest.mark.parametrize(
    ("headers", "lifetime_s"),
    [
        ({}, 24 * HOUR_S),
        ({"cache_control": "max-age=3600"}, HOUR_S),
        ({"cache_control": "public, MAX-AGE=7200, immutable"}, 2 * HOUR_S),
        ({"cache_control": "max-age=7200", "age": "3600"}, HOUR_S),
        ({"cache_control": "max-age=1"}, 300),
        ({"cache_control": "max-age=0"}, 300),
        ({"cache_control": "no-store"}, 300),
        ({"cache_control": "no-cache, max-age=9999"}, 300),
        ({"cache_control": "max-age=99999999"}, 48 * HOUR_S),
        ({"cache_control": "max-age=nonsense"}, 24 * HOUR_S),
    ],
)
def test_files_are_good_for_as_long_as_they_say_within_bounds(
    discovery: ServerDiscovery, world: World, time: FakeClock, headers: dict[str, str], lifetime_s: float
) -> None:
    world.file("a.example", "b.example:1", **headers)
    find(discovery, "a.example")
    time.advance(lifetime_s - 1)
    find(discovery, "a.example")
    assert len(world.asked) == 1
    time.advance(2)
    find(discovery, "a.example")
    assert len(world.asked) == 2


def test_missing_files_are_looked_for_again_after_an_hour(
    discovery: ServerDiscovery, world: World, time: FakeClock
) -> None:
    world.file("a.example", b"", 404)
    find(discovery, "a.example")
    world.file("a.example", "b.example:1")
    time.advance(HOUR_S - 1)
    assert find(discovery, "a.example")[0].host == "a.example"
    time.advance(2)
    assert find(discovery, "a.example")[0].host == "b.example"


def test_silent_web_servers_are_asked_less_and_less_often(
    discovery: ServerDiscovery, world: World, time: FakeClock
) -> None:
    asked = []
    for second in range(0, 6 * HOUR_S, 10):
        before = len(world.asked)
        find(discovery, "a.example")
        if any(each.startswith("https") for each in world.asked[before:]):
            asked.append(second)
        time.advance(10)
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits[:6] == [60, 120, 240, 480, 960, 1920]
    assert set(waits[6:]) == {3600}


@pytest.mark.parametrize("trouble", [TookTooLong("slow"), HttpAnswer(502, {}, b"")])
def test_a_file_that_was_good_is_believed_while_its_server_is_in_trouble(
    discovery: ServerDiscovery, world: World, time: FakeClock, trouble: HttpAnswer | Exception
) -> None:
    world.file("a.example", "b.example:1", cache_control="max-age=3600")
    find(discovery, "a.example")
    world.files["a.example"] = trouble
    time.advance(HOUR_S + 1)
    assert find(discovery, "a.example")[0].host == "b.example"
    time.advance(40 * HOUR_S)
    assert find(discovery, "a.example")[0].host == "b.example"
    time.advance(10 * HOUR_S)
    assert find(discovery, "a.example")[0].host == "a.example"


def test_but_not_when_it_is_gone(discovery: ServerDiscovery, world: World, time: FakeClock) -> None:
    world.file("a.example", "b.example:1", cache_control="max-age=3600")
    find(discovery, "a.example")
    world.file("a.example", b"", 404)
    time.advance(HOUR_S + 1)
    assert find(discovery, "a.example")[0].host == "a.example"


def test_only_so_much_is_remembered(world: World, time: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_discovery, "MAX_REMEMBERED", 100)
    discovery = ServerDiscovery(cast(HttpClient, world), world, time)
    for number in range(300):
        find(discovery, f"server{number}.example")
    assert len(discovery._fresh) == 100
    assert len(discovery._last) == 100


# The order of records


def test_the_heavier_the_likelier() -> None:
    records = [
        ServiceRecord(0, 1, 1, "light"),
        ServiceRecord(0, 9, 2, "heavy"),
        ServiceRecord(5, 9, 3, "last"),
    ]
    first = [in_order(records, lambda lot=lot: lot / 100)[0].target for lot in range(100)]  # type: ignore[misc]
    assert 8 <= first.count("light") <= 12
    assert {in_order(records, lambda: 0.99)[2].target, in_order(records, lambda: 0.0)[2].target} == {"last"}


def test_no_record_is_lost() -> None:
    records = [ServiceRecord(number % 3, number % 5, number, "x") for number in range(20)]
    assert sorted(in_order(records, lambda: 0.5)) == sorted(records)
