"""Who signs a request is who asks: the table of what is admitted and what is not."""

from typing import Any
from urllib.parse import quote

import orjson
import pytest

from homeserver.api.federation.access import FederationAccess
from homeserver.config.rate_limits import Limit
from homeserver.http.reply import Answer
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route, Router
from homeserver.protocol.ids import ServerName
from homeserver.protocol.request_signatures import authorization_header, request_bytes
from homeserver.protocol.server_keys import own_document
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.errors import RemoteUnreachable
from homeserver.runtime.database import Database
from homeserver.services.key_ring import KeyRing, OwnKeys
from homeserver.services.rate_limits import RateLimits
from homeserver.storage.server_keys import ServerKeyStore
from tests.support.adversary import V1, Adversary
from tests.support.clock import FakeClock
from tests.support.http import dispatch
from tests.support.people import Person
from tests.support.whole_server import WholeServer, limiting

US = ServerName("us.example")
THEM = ServerName("them.example")
OUR_KEY, THEIR_KEY = SigningKey("ours", b"o" * 32), SigningKey("theirs", b"t" * 32)
PATH = "/_matrix/federation/v1/thing/%24a%2Fb"


async def thing(services: object, request: Request, name: str) -> Answer:
    return {"origin": request.origin, "name": name}


class House:
    """A router with one route for servers, and the servers that there are."""

    def __init__(self, database: Database, time: FakeClock) -> None:
        self.time = time
        self.fetched: list[str] = []
        self.noted: list[str] = []
        self.valid_ms = 86_400_000
        self.limits: dict[str, Limit | None] = {}
        self._database = database
        self.build()

    def build(self) -> None:
        self.ring = KeyRing(OwnKeys(US, OUR_KEY), self, self._database, ServerKeyStore(), self.time)
        access = FederationAccess(
            US,
            ServerAcl({"allow": ["*"], "deny": ["*.evil.example", "bad.example"]}),
            self.ring,
            self.time,
            limits=RateLimits(self.time.monotonic, self.limits),
            note_origin=self.noted.append,
        )
        routes = [
            Route(method, "/_matrix/federation/v1/thing/{name}", thing, Auth.FEDERATION)
            for method in ("GET", "PUT")
        ]
        self.router = Router(None, routes, authenticate=access)

    async def direct(self, server_name: ServerName) -> Any:
        self.fetched.append(server_name)
        if server_name == "silent.example":
            raise RemoteUnreachable("silent")
        return own_document(server_name, THEIR_KEY, (), valid_until_ms=self.time.now_ms() + self.valid_ms)

    async def from_notary(self, notary: ServerName, wanted: object) -> Any:
        raise AssertionError("there is no notary")

    def ask(self, method: str = "GET", path: str = PATH, body: Any = None, **how: Any) -> Any:
        """A signed request; `how` may change what is signed, with what, and the header."""
        sent = how.pop("sent", body)
        header = how.pop("header", None) or signed(method, how.pop("signed_path", path), body, **how)
        return dispatch(self.router, method, path, {"Authorization": header} if header else {}, sent)


def signed(
    method: str,
    path: str,
    body: Any = None,
    *,
    origin: str = THEM,
    destination: str = US,
    key: SigningKey = THEIR_KEY,
    names: str | None = None,
) -> str:
    content = None if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    signature = key.sign(request_bytes(method, path, origin, destination, content))
    header = authorization_header(origin, destination, key.key_id, signature)
    return header if names is None else header.replace(f'destination="{destination}"', names)


@pytest.fixture
def house(sqlite_database: Database, time: FakeClock) -> House:
    return House(sqlite_database, time)


def test_a_signed_request_is_admitted(house: House) -> None:
    for _ in range(3):
        answer = house.ask()
        assert (answer.status, answer.json) == (200, {"origin": THEM, "name": "$a/b"})
    assert house.fetched == [THEM]
    assert house.noted == [THEM] * 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"a": [1, "ü", None, {"b": True}]},
        b'{"b":1,"a":2}',
        b' { "b" : 1 , "a" : 2 } ',
        b'{"depth":1.5,"big":99999999999999999999999}',
        b'{"a":1,"a":2}',
    ],
)
def test_bodies_are_signed_as_they_came(house: House, body: Any) -> None:
    assert house.ask("PUT", body=body).status == 200


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"a":2,"b":1}', b'{"b":1,"a":2}'),
        (b'{"a":"\xc3\xbc"}', b'{"a": "\\u00fc"}'),
        (b'{"a":1.5,"b":9223372036854775808}', b'{ "b": 9223372036854775808, "a": 1.5 }'),
    ],
)
def test_or_in_their_canonical_form(house: House, body: bytes, sent: bytes) -> None:
    assert house.ask("PUT", body=body, sent=sent).status == 200


@pytest.mark.parametrize("path", [f"{PATH}?a=%20b&c=d", f"{PATH}?", f"{PATH}?a=b?c", f"{PATH}?%2F=/"])
def test_the_target_is_signed_byte_by_byte(house: House, path: str) -> None:
    assert house.ask(path=path).status == 200


@pytest.mark.parametrize(
    "signed_path",
    [
        PATH.replace("%24", "$"),
        PATH.replace("%2F", "%2f"),
        PATH + "?a=b",
        PATH + "/",
        "https://us.example" + PATH,
    ],
)
def test_another_spelling_of_the_target_is_another_target(house: House, signed_path: str) -> None:
    assert house.ask(signed_path=signed_path).errcode == "M_UNAUTHORIZED"


def test_an_empty_object_may_have_been_signed_for_no_body(house: House) -> None:
    assert house.ask("GET", body={}, sent=None).status == 200


def test_old_servers_name_no_destination(house: House) -> None:
    assert house.ask(names='x="y"').status == 200


@pytest.mark.parametrize(
    ("how", "status", "errcode"),
    [
        ({"destination": "other.example"}, 401, "M_UNAUTHORIZED"),
        ({"destination": "US.example"}, 401, "M_UNAUTHORIZED"),
        ({"names": 'destination="other.example"'}, 401, "M_UNAUTHORIZED"),
        ({"destination": "other.example", "names": 'destination="us.example"'}, 401, "M_UNAUTHORIZED"),
        ({"destination": "other.example", "names": 'x="y"'}, 401, "M_UNAUTHORIZED"),
        ({"names": 'destination=""'}, 401, "M_UNAUTHORIZED"),
        ({"key": SigningKey("theirs", b"?" * 32)}, 401, "M_UNAUTHORIZED"),
        ({"key": SigningKey("unknown", b"?" * 32)}, 401, "M_UNAUTHORIZED"),
        ({"origin": "silent.example"}, 401, "M_UNAUTHORIZED"),
        ({"origin": US, "key": OUR_KEY}, 401, "M_UNAUTHORIZED"),
        ({"origin": "no server name"}, 401, "M_UNAUTHORIZED"),
        ({"origin": "@user:them.example"}, 401, "M_UNAUTHORIZED"),
        ({"origin": "bad.example"}, 403, "M_FORBIDDEN"),
        ({"origin": "BAD.example"}, 403, "M_FORBIDDEN"),
        ({"origin": "a.evil.example:8448"}, 403, "M_FORBIDDEN"),
        ({"header": "Bearer token"}, 401, "M_UNAUTHORIZED"),
        ({"header": "X-Matrix nonsense"}, 401, "M_UNAUTHORIZED"),
        ({"signed_path": "/elsewhere"}, 401, "M_UNAUTHORIZED"),
    ],
)
def test_who_is_not_admitted(house: House, how: dict[str, Any], status: int, errcode: str) -> None:
    answer = house.ask(**how)
    assert (answer.status, answer.errcode) == (status, errcode)
    assert house.noted == []


def test_a_request_without_a_signature(house: House) -> None:
    answer = dispatch(house.router, "GET", PATH)
    assert (answer.status, answer.errcode) == (401, "M_UNAUTHORIZED")


def test_a_signature_is_for_one_method_and_body(house: House) -> None:
    header = signed("GET", PATH)
    assert house.ask("PUT", header=header).errcode == "M_UNAUTHORIZED"
    header = signed("PUT", PATH, {"a": 1})
    assert house.ask("PUT", header=header, sent={"a": 2}).errcode == "M_UNAUTHORIZED"
    assert house.ask("PUT", header=header, sent=None).errcode == "M_UNAUTHORIZED"
    assert house.ask("PUT", header=header, sent={"a": 1}).status == 200


@pytest.mark.parametrize("body", [b"{", b"nonsense", b'{"a":1}x', b"\xff", b'{"a":1'])
def test_a_body_that_is_no_json_is_refused_before_its_signature(house: House, body: bytes) -> None:
    assert house.ask("PUT", body=body).errcode == "M_NOT_JSON"


def test_a_body_cannot_stand_for_more_than_itself(house: House) -> None:
    """What another server was sent must not be cut up so that it reads as sent to us."""
    body = b'{"a":1},"destination":"us.example","method":"PUT","origin":"them.example","uri":"/x"'
    assert house.ask("PUT", body=body).errcode == "M_NOT_JSON"


def test_a_key_that_has_expired_is_asked_for_again(house: House) -> None:
    house.ask()
    house.time.advance(86_400 + 61)
    assert house.ask().status == 200
    assert house.fetched == [THEM, THEM]
    house.valid_ms = -1
    house.time.advance(86_400 + 61)
    assert house.ask().errcode == "M_UNAUTHORIZED"


def test_each_server_has_so_many_requests(house: House) -> None:
    house.limits = {"federation_requests": Limit(1, 3)}
    house.build()
    statuses = [house.ask().status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert house.ask(origin="more.example").status == 200


@pytest.mark.parametrize(
    "settings", [limiting("federation_requests", burst=45, per_second=0.001)], ids=["45"]
)
def test_questions_that_cost_much_count_as_several(server: WholeServer, alice: Person) -> None:
    far = Adversary(server, "far.example")
    view = far.join(alice.create_room(preset="public_chat"))  # 1 and 20
    state = f"{V1}/state/{quote(view.room_id)}?event_id={quote(view.heads[0])}"
    assert [far.request("GET", state).status for _ in range(2)] == [200, 429]
    profile = f"{V1}/query/profile?user_id={quote(alice.user_id)}"
    assert [far.request("GET", profile).status for _ in range(5)] == [200] * 4 + [429]


def test_names_of_unknown_servers_are_limited_by_address(house: House) -> None:
    house.limits = {"unknown_servers": Limit(0.1, 4)}
    house.build()
    statuses = [house.ask(origin=f"s{number}.example").status for number in range(6)]
    assert statuses == [200] * 4 + [429] * 2
    assert house.ask(origin="s0.example").status == 200
    assert len(house.fetched) == 4


def test_large_bodies_of_unknown_servers_count_as_several(house: House) -> None:
    """They are kept while keys are looked for."""
    house.limits = {"unknown_servers": Limit(0.1, 8)}
    house.build()
    large = b'{"a":"%b"}' % (b"x" * 1024 * 1024)
    statuses = [house.ask("PUT", origin=f"s{number}.example", body=large).status for number in range(3)]
    assert statuses == [200, 429, 429]
    assert house.ask("PUT", origin="s3.example", body=b"{}").status == 200


def test_looking_closely_at_signatures_is_limited_by_address(house: House) -> None:
    """Anybody may claim to be a server whose key is known, and canonical forms of large bodies take long."""
    house.limits = {"unknown_servers": Limit(0.1, 8)}
    house.build()
    assert house.ask("PUT", body=b"{}").status == 200
    forged = signed("PUT", PATH, {"another": "body"})
    large = b'{ "a": "%b" }' % (b"x" * 1024 * 1024)
    statuses = [house.ask("PUT", header=forged, sent=large).status for _ in range(4)]
    assert statuses == [401, 429, 429, 429]
    assert house.ask("PUT", body={"a": 1}).status == 200


def test_an_honest_server_may_sign_another_form_as_often_as_it_likes(house: House) -> None:
    house.limits = {"unknown_servers": Limit(0.1, 4)}
    house.build()
    for _ in range(10):
        assert house.ask("PUT", body=b'{"a":2,"b":1}', sent=b'{"b":1,"a":2}').status == 200


def test_the_access_answers_at_once_when_it_can(house: House) -> None:
    house.ask()
    request = Request("GET", PATH, {b"authorization": signed("GET", PATH).encode()})
    route = Route("GET", "/_matrix/federation/v1/thing/{name}", thing, Auth.FEDERATION)
    access = house.router._authenticate
    assert access(request, route) is None
    assert request.origin == THEM
