"""Our keys, what we know of others', and the version: over a whole server."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from homeserver import __version__
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.server_keys import check_document, own_document
from homeserver.protocol.signatures import SigningKey, VerifyKey, sign_json, verify_json
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.network import Network
from tests.support.whole_server import QUIET, WholeServer

US, THEM = ServerName("us.example"), ServerName("them.example")
THEIR_KEY = SigningKey("theirs", b"t" * 32)
OLD_KEY = SigningKey("before", b"b" * 32)
DAY_MS = 86_400_000
SETTINGS = (
    QUIET.replace("server_name: test", f"server_name: {US}")
    + f"""
federation:
  trusted_key_servers: []
  deny: [bad.example]
  old_signing_keys:
    - {{key_id: "{OLD_KEY.key_id}", key: "{OLD_KEY.verify_key.to_base64()}", expired_ts: 1600000000000}}
"""
)


class Other:
    """A server that tells its keys, as often as it is asked."""

    def __init__(self, time: FakeClock, name: ServerName = THEM) -> None:
        self._time = time
        self._name = name
        self.asked = 0
        self.valid_ms = DAY_MS

    def __call__(self, request: HttpRequest) -> HttpAnswer:
        assert request.path == "/_matrix/key/v2/server"
        self.asked += 1
        document = own_document(self._name, THEIR_KEY, (), valid_until_ms=self._time.now_ms() + self.valid_ms)
        return HttpAnswer(200, {}, orjson.dumps(document))


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def us(databases: Databases, time: FakeClock, network: Network) -> Iterator[WholeServer]:
    server = WholeServer(databases.fresh("sqlite"), time, settings=SETTINGS, network=network)
    yield server
    server.stop()


@pytest.fixture
def them(network: Network, time: FakeClock) -> Other:
    other = Other(time)
    network.add(THEM, other)
    return other


def verify_key_of(server: WholeServer) -> VerifyKey:
    document = server.request("GET", "/_matrix/key/v2/server").json
    ((key_id, entry),) = document["verify_keys"].items()
    return VerifyKey.from_base64(key_id, entry["key"])


def query(us: WholeServer, name: str = THEM, **how: Any) -> list[JsonObject]:
    answer = us.request("GET", f"/_matrix/key/v2/query/{name}", **how)
    assert answer.status == 200
    found: list[JsonObject] = answer.json["server_keys"]
    return found


def query_many(us: WholeServer, server_keys: Any) -> list[JsonObject]:
    answer = us.request("POST", "/_matrix/key/v2/query", {"server_keys": server_keys})
    assert answer.status == 200
    found: list[JsonObject] = answer.json["server_keys"]
    return found


def check(us: WholeServer, document: JsonObject, server: ServerName = THEM) -> None:
    """It is signed by the server it is about, and by us."""
    check_document(document, server, now_ms=us.time.now_ms())
    verify_json(document, US, verify_key_of(us))


def test_the_version(us: WholeServer) -> None:
    answer = us.request("GET", "/_matrix/federation/v1/version")
    assert answer.json == {"server": {"name": "Postroom", "version": __version__}}


def test_our_keys(us: WholeServer, time: FakeClock) -> None:
    document = us.request("GET", "/_matrix/key/v2/server").json
    checked = check_document(document, US, now_ms=time.now_ms())
    assert document["server_name"] == US
    assert checked.valid_until_ms == time.now_ms() + DAY_MS
    assert document["old_verify_keys"] == {
        OLD_KEY.key_id: {"key": OLD_KEY.verify_key.to_base64(), "expired_ts": 1600000000000}
    }


def test_we_vouch_for_others(us: WholeServer, them: Other) -> None:
    for _ in range(3):
        (document,) = query(us)
        check(us, document)
    assert them.asked == 1


def test_also_when_they_are_gone(us: WholeServer, them: Other, network: Network, time: FakeClock) -> None:
    query(us)
    network.down.add(THEM)
    time.advance(2 * 86_400)
    (document,) = query(us)
    check(us, document)
    us.restart()
    assert len(query(us)) == 1


def test_we_ask_again_when_what_we_have_is_not_good_for_long_enough(
    us: WholeServer, them: Other, time: FakeClock
) -> None:
    query(us)
    time.advance(120)
    query(us, minimum_valid_until_ts=time.now_ms() + 1_000)
    assert them.asked == 1
    query(us, minimum_valid_until_ts=time.now_ms() + DAY_MS)
    assert them.asked == 2
    time.advance(86_401)
    query(us)
    assert them.asked == 3


def test_we_vouch_for_ourselves(us: WholeServer) -> None:
    (document,) = query(us, US)
    check_document(document, US, now_ms=us.time.now_ms())


def test_nothing_is_known_of_those_who_never_answered(us: WholeServer, network: Network) -> None:
    assert query(us, "nobody.example") == []


def test_servers_we_do_not_speak_with(us: WholeServer, network: Network, time: FakeClock) -> None:
    network.add("bad.example", Other(time, ServerName("bad.example")))
    assert query(us, "bad.example") == []
    assert network.sent == []


@pytest.mark.parametrize("name", ["not%20a%20name", "a%2Fb", "..", "@a:b"])
def test_names_that_are_none(us: WholeServer, name: str, network: Network) -> None:
    assert us.request("GET", f"/_matrix/key/v2/query/{name}").errcode == "M_INVALID_PARAM"
    assert query_many(us, {"a b": {}, "": {}, "/": {"ed25519:1": {}}}) == []
    assert network.sent == []


def test_many_at_once(us: WholeServer, network: Network, time: FakeClock) -> None:
    names = [ServerName(f"s{number}.example") for number in range(5)]
    for name in names:
        network.add(name, Other(time, name))
    documents = query_many(us, {name: {} for name in [*names, "nobody.example", US]})
    assert {document["server_name"] for document in documents} == {*names, US}
    for document in documents:
        if document["server_name"] != US:
            check(us, document, ServerName(str(document["server_name"])))


def test_a_key_that_was_asked_for(us: WholeServer, them: Other, time: FakeClock) -> None:
    wanted = {THEIR_KEY.key_id: {"minimum_valid_until_ts": time.now_ms() + 1}}
    assert len(query_many(us, {THEM: wanted})) == 1
    assert query_many(us, {THEM: {"ed25519:unknown": {}}}) == []
    assert them.asked == 1


def test_an_answer_has_a_size_whatever_others_published(
    us: WholeServer, network: Network, time: FakeClock
) -> None:
    """Anybody may ask: what they get must cost no more than a little memory and a few signatures."""
    names = [f"s{number}.example" for number in range(100)]
    for name in names:
        document = own_document(ServerName(name), THEIR_KEY, (), valid_until_ms=time.now_ms() + DAY_MS)
        document = sign_json({**document, "padding": "x" * 30_000}, ServerName(name), THEIR_KEY)
        network.add(name, lambda _, document=document: HttpAnswer(200, {}, orjson.dumps(document)))
    for start in range(0, 100, 25):
        query_many(us, {name: {} for name in names[start : start + 25]})
    found = query_many(us, {name: {} for name in names})
    assert 10 < len(found) < 100
    assert len(orjson.dumps(found)) < 3_000_000


def test_one_request_makes_us_ask_only_so_many(us: WholeServer, network: Network) -> None:
    for number in range(100):
        network.add(f"s{number}.example", Other(us.time, ServerName(f"s{number}.example")))
    query_many(us, {f"s{number}.example": {} for number in range(100)})
    assert len(network.sent) == 30


@pytest.mark.parametrize(
    "body", [{}, {"server_keys": []}, {"server_keys": {"a": []}}, {"server_keys": {"a": {"b": 1}}}]
)
def test_malformed_questions(us: WholeServer, body: Any) -> None:
    assert us.request("POST", "/_matrix/key/v2/query", body).errcode == "M_BAD_JSON"


def test_a_listener_without_federation_does_not_answer(databases: Databases, time: FakeClock) -> None:
    off = WholeServer(databases.fresh("sqlite"), time, settings=QUIET + "federation: {enabled: false}\n")
    assert off.request("GET", "/_matrix/key/v2/server").errcode == "M_UNRECOGNIZED"
    off.stop()
