"""`postroom doctor SERVER` tells what stands between us and another server, step by step."""

import os
import subprocess
import sys
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import orjson
import pytest

from homeserver.commands.doctor_federation import findings
from homeserver.commands.findings import Finding
from homeserver.config import Config, parse
from homeserver.config.signing_key import make_signing_key
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.server_keys import own_document
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.dns import NameFailure, ServiceRecord
from homeserver.runtime.http_client import HttpAnswer, HttpRequest, Unreachable
from tests.homeserver.commands.conftest import Postroom
from tests.support.clock import FakeClock
from tests.support.network import Network
from tests.support.running import result

US, THEM = ServerName("us.example"), ServerName("them.example")
THEIR_KEY = SigningKey("theirs", b"t" * 32)
VERSION: JsonObject = {"server": {"name": "Synapse", "version": "1.150"}}


class Other:
    """A homeserver; tests change what it answers."""

    def __init__(self, time: FakeClock) -> None:
        self.version = HttpAnswer(200, {}, orjson.dumps(VERSION))
        self.profile = HttpAnswer(404, {}, b'{"errcode":"M_NOT_FOUND","error":"no such user"}')
        self.name, self.key, self.valid_ms = THEM, THEIR_KEY, 86_400_000
        self._time = time

    def __call__(self, request: HttpRequest) -> HttpAnswer:
        if request.path.endswith("/version"):
            return self.version
        if "/query/profile" in request.path:
            return self.profile
        until_ms = self._time.now_ms() + self.valid_ms
        return HttpAnswer(
            200, {}, orjson.dumps(own_document(self.name, self.key, (), valid_until_ms=until_ms))
        )


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def them(network: Network, time: FakeClock) -> Other:
    other = Other(time)
    network.add(THEM, other)
    return other


Examine = Callable[..., list[Finding]]


@pytest.fixture
def us(tmp_path: Path) -> Callable[[str], Config]:
    def configured(text: str) -> Config:
        config = parse(f"server_name: {US}\n{text}", tmp_path / "homeserver.yaml")
        if not config.signing_key.exists():
            make_signing_key(config.signing_key)
        return config

    return configured


@pytest.fixture
def examine(us: Callable[[str], Config], network: Network, time: FakeClock) -> Examine:
    def examining(
        name: str = THEM, settings: str = "federation: {allow_private_addresses: true}"
    ) -> list[Finding]:
        async def collect() -> list[Finding]:
            return [each async for each in findings(us(settings), name, network.outside(US), time)]

        return result(collect())

    return examining


def told(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.subject, finding.verdict) for finding in found]


def test_all_is_well(examine: Examine, them: Other, network: Network) -> None:
    network.well_known[THEM] = HttpAnswer(200, {}, b'{"m.server":"them.example:8448"}')
    network.add("them.example:8448", them)
    found = examine()
    assert told(found) == [
        ("well-known", "ok"),
        ("address", "ok"),
        ("connection", "ok"),
        ("software", "ok"),
        ("keys", "ok"),
        ("signature", "ok"),
    ]
    assert "Synapse 1.150" in found[3].says
    assert "good for 24 hours" in found[4].says


def test_without_delegation_it_is_said_where_the_server_is_looked_for(examine: Examine, them: Other) -> None:
    found = examine()
    assert told(found)[:2] == [("well-known", "skip"), ("SRV", "skip")]
    assert "them.example:8448" in found[1].says


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"m.server":"no good name:"}', b'["m.server"]'])
def test_a_well_known_file_that_is_none(examine: Examine, them: Other, network: Network, body: bytes) -> None:
    network.well_known[THEM] = HttpAnswer(200, {}, body)
    found = examine()
    assert told(found)[0] == ("well-known", "warn")
    assert "repair it" in found[0].advice


def test_a_well_known_file_whose_host_cannot_be_looked_up(
    examine: Examine, them: Other, network: Network
) -> None:
    network.well_known[THEM] = Unreachable("them.example could not be looked up within 10 s")
    assert told(examine())[0] == ("well-known", "skip")


def test_a_well_known_file_that_is_elsewhere_where_nothing_is(
    examine: Examine, them: Other, network: Network
) -> None:
    problem = "it redirects to https://old.example/: old.example:443 (192.0.2.1): Connection refused"
    network.well_known[THEM] = Unreachable(problem)
    found = examine()
    assert told(found)[0] == ("well-known", "warn")
    assert "repair it" in found[0].advice


def test_records(examine: Examine, them: Other, network: Network) -> None:
    network.records["_matrix-fed._tcp.them.example"] = [ServiceRecord(0, 0, 7000, "host.example")]
    found = examine()
    assert told(found)[:2] == [("well-known", "skip"), ("SRV", "ok")]
    assert found[1].says == "them.example is at host.example:7000"


def test_records_that_cannot_be_looked_up(examine: Examine, them: Other, network: Network) -> None:
    network.records["_matrix._tcp.them.example"] = NameFailure("No name server tells")
    found = examine()
    assert told(found)[1] == ("SRV", "warn")
    assert "No name server tells" in found[1].says
    assert "them.example:8448" in found[1].says
    assert told(found)[-1] == ("signature", "ok")


@pytest.mark.parametrize("name", ["", "not a name", "https://them.example"])
def test_what_is_no_server_name(examine: Examine, name: str) -> None:
    assert told(examine(name)) == [("name", "fail")]


@pytest.mark.parametrize("settings", ["{enabled: false}", "{deny: [them.*]}", "{allow: [other.example]}"])
def test_servers_the_configuration_forbids(examine: Examine, network: Network, settings: str) -> None:
    assert told(examine(settings=f"federation: {settings}")) == [("policy", "fail")]
    assert network.sent == []


def test_private_addresses(examine: Examine, them: Other) -> None:
    found = examine(settings="")
    assert told(found)[0] == ("well-known", "skip")  # nobody can say whether there is one
    assert told(found)[-2:] == [("address", "warn"), ("address", "fail")]
    assert "allow_private_addresses" in found[-2].advice


def test_nobody_answers(examine: Examine) -> None:
    found = examine()
    assert told(found)[-1] == ("connection", "fail")
    assert "does not answer" in found[-1].says


def test_a_server_that_says_nothing_of_itself(examine: Examine, them: Other) -> None:
    them.version = HttpAnswer(404, {}, b"<html>")
    assert ("software", "warn") in told(examine())


@pytest.mark.parametrize(("status", "advice"), [(404, "/_matrix/"), (502, "reach"), (200, "believed")])
def test_a_proxy_without_a_homeserver_behind_it(
    examine: Examine, network: Network, status: int, advice: str
) -> None:
    network.add(THEM, lambda request: HttpAnswer(status, {}, b"<html>"))
    found = examine()
    assert told(found)[-2:] == [("software", "warn"), ("keys", "fail")]
    assert advice in found[-1].advice


def test_whose_keys_they_are_is_said(examine: Examine, them: Other) -> None:
    them.name = ServerName("other.example")
    assert examine()[-1].says == "they are those of other.example"


@pytest.mark.parametrize(("offset_s", "says"), [(-7200, "7200 s behind ours"), (600, "600 s ahead of ours")])
def test_a_wrong_clock(examine: Examine, them: Other, time: FakeClock, offset_s: int, says: str) -> None:
    date = formatdate(time.now_ms() / 1000 + offset_s, usegmt=True)
    them.version = HttpAnswer(200, {"date": date}, orjson.dumps(VERSION))
    (clock,) = [finding for finding in examine() if finding.subject == "clock"]
    assert (clock.verdict, says in clock.says) == ("warn", True)
    them.version = HttpAnswer(200, {"date": "nonsense"}, orjson.dumps(VERSION))
    assert "clock" not in dict(told(examine()))


@pytest.mark.parametrize("lie", ["another name", "expired", "nonsense"])
def test_keys_that_cannot_be_believed(examine: Examine, them: Other, lie: str) -> None:
    if lie == "another name":
        them.name = ServerName("other.example")
    elif lie == "expired":
        them.valid_ms = -3_600_000 * 5
    else:
        them.key = SigningKey("small", b"t" * 32)
        them.name = ServerName("")
    assert ("keys", "fail") in told(examine())


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"{}", "ok"),
        (404, b'{"errcode":"M_NOT_FOUND"}', "ok"),
        (403, b'{"errcode":"M_FORBIDDEN"}', "ok"),
        (401, b'{"errcode":"M_UNAUTHORIZED"}', "fail"),
        (404, b'{"errcode":"M_UNRECOGNIZED"}', "warn"),
        (502, b"", "warn"),
        (200, b"nonsense", "fail"),
    ],
)
def test_does_it_believe_us(examine: Examine, them: Other, status: int, body: bytes, verdict: str) -> None:
    them.profile = HttpAnswer(status, {}, body)
    assert told(examine())[-1] == ("signature", verdict)


def test_without_a_signing_key_that_is_left_out(
    examine: Examine, them: Other, us: Callable[[str], Config]
) -> None:
    us("").signing_key.write_text("nonsense")
    assert told(examine())[-1] == ("signature", "skip")


def test_our_own_name(examine: Examine, them: Other, network: Network, us: Callable[[str], Config]) -> None:
    network.add(US, them)
    them.name = US
    found = examine(US)
    assert found[-1].says == "they are not ours: the name leads to another server"
    them.key = SigningKey.from_line(us("").signing_key.read_text().strip())
    found = examine(US)
    assert told(found)[-2:] == [("keys", "ok"), ("keys", "ok")]
    assert "the world finds this server" in found[-1].says


def test_the_command(folder: Path, postroom: Postroom) -> None:
    postroom("init", "--server-name", "localhost", "--listen", "127.0.0.1:1")
    command = [sys.executable, "-m", "homeserver", "doctor", "127.0.0.1:1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1, done.stderr
    assert "warn  address     127.0.0.1: 127.0.0.1 is a private address" in done.stdout
