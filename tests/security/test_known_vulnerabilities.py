"""What went wrong in other homeservers, tried on this one. `test_index.py` names the tests for the rest."""

import logging
import time as wall
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.api.client.routes import ROUTES
from homeserver.protocol.errors import MatrixError
from homeserver.runtime.concurrency import Gate, KeyedLock
from tests.support.http import Answer
from tests.support.people import PASSWORD, V1, V3, Person, path
from tests.support.pictures import picture
from tests.support.running import Running, result
from tests.support.whole_server import WholeServer

STRANGE: list[Any] = [None, 1, -1, True, "", "text", [], {}, [None], {"a": {"b": []}}, "\u202e", "x" * 10_000]
STATE_TYPES = {
    "m.room.name": "name",
    "m.room.topic": "topic",
    "m.room.avatar": "url",
    "m.room.canonical_alias": "unknown",
    "m.room.encryption": "algorithm",
    "m.room.guest_access": "guest_access",
    "m.room.history_visibility": "history_visibility",
    "m.room.join_rules": "allow",
    "m.room.power_levels": "notifications",
    "m.room.tombstone": "replacement_room",
    "m.space.child": "via",
}


@pytest.mark.parametrize("strange", STRANGE, ids=lambda value: repr(value)[:20])
def test_cve_2024_52815_no_invite_breaks_a_sync(alice: Person, bob: Person, strange: Any) -> None:
    room = alice.create_room()
    for type_, name in STATE_TYPES.items():
        content = {name: strange}
        if type_ == "m.room.power_levels":
            content["users"] = {alice.user_id: 100}
        alice.request("PUT", path("rooms", room, "state", type_, ""), content)  # taken or refused
    member = dict.fromkeys(
        ("displayname", "avatar_url", "reason", "is_direct", "third_party_invite"), strange
    )
    answer = alice.request(
        "PUT", path("rooms", room, "state", "m.room.member", bob.user_id), {"membership": "invite", **member}
    )
    assert answer.status < 500
    alice.request("POST", path("rooms", room, "invite"), {"user_id": bob.user_id})

    assert room in bob.sync(since=None).invites
    bob.join(room)
    alice.send(room, "hello")
    assert bob.sync(since=None).texts(room) == ["hello"]
    assert bob.messages(room).texts == ["hello"]
    assert bob.members(room)
    bob.ask("GET", path("rooms", room, "joined_members"))
    bob.ask("GET", "/publicRooms")


def test_cve_2026_45076_pages_of_refused_events_do_not_end_the_history(
    server: WholeServer, alice: Person
) -> None:
    room = alice.create_room()
    alice.send(room, "first")
    refused = alice.send_many(room, ["refused"] * 60)
    alice.send(room, "last")
    sql = "UPDATE events SET status = %s WHERE event_id = %s"
    result(
        server.database.write(
            lambda txn: txn.executemany(sql, [(1 + index % 2, id_) for index, id_ in enumerate(refused)])
        )
    )
    server.restart()

    for direction, expected in (("b", ["last", "first"]), ("f", ["first", "last"])):
        seen: list[str] = []
        page = alice.messages(room, dir=direction, limit=2)
        seen += page.texts
        while page.end:
            page = alice.messages(room, dir=direction, limit=2, start=page.end)
            seen += page.texts
        assert seen == expected
    synced = alice.sync(since=None, filter={"room": {"timeline": {"limit": 3}}})
    assert synced.texts(room) == ["first", "last"]


def test_cve_2026_45078_many_who_wait_for_one_lock_cost_little() -> None:
    lock: KeyedLock = KeyedLock()
    gate = Gate()
    done: list[int] = []

    async def hold(number: int) -> None:
        async with lock.hold("room"):
            await gate.wait()
            done.append(number)

    began = wall.process_time()
    running = [Running(hold(number)) for number in range(20_000)]
    gate.open()
    assert all(one.is_done for one in running)
    assert done == list(range(20_000))
    assert wall.process_time() - began < 5  # 1 s; the square of it would be minutes


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.4 x", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"II*\x00\x08\x00\x00\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"P6 1 1 255 xxx", b"\x00\x00\x01\x00", b"8BPS\x00\x01",
        b"BM" + bytes(60),
        b"gimp xcf v001", b"SIMPLE  =", b"\x89PNG\r\n\x1a\n%PDF-1.4",
    ],
)  # fmt: skip
def test_cve_2024_53863_only_expected_formats_are_decoded(alice: Person, data: bytes) -> None:
    """The client calls it a PNG. (The decoders themselves: services/media/test_thumbnails.py.)"""
    uri = alice.ask("POST", "/_matrix/media/v3/upload?filename=a.png", data)["content_uri"]
    target = f"{V1}/media/thumbnail/{uri.removeprefix('mxc://')}"
    answer = alice.request("GET", f"{target}?width=32&height=32&method=scale")
    assert answer.status in (400, 404)
    assert answer.errcode in ("M_UNKNOWN", "M_NOT_FOUND", "M_INVALID_PARAM")


def test_cve_2023_4863_a_good_picture_is_still_shown(alice: Person) -> None:
    uri = alice.ask("POST", "/_matrix/media/v3/upload", picture(64, 64))["content_uri"]
    target = f"{V1}/media/thumbnail/{uri.removeprefix('mxc://')}"
    assert alice.request("GET", f"{target}?width=32&height=32&method=scale").status == 200


def test_cve_2024_52805_no_body_is_taken_apart_as_a_form(server: WholeServer, alice: Person) -> None:
    """A body is JSON or bytes, within a bound that counts before anything is done with it."""
    assert max(route.max_body for route in ROUTES if route.body == "bytes") <= 1024 * 1024
    form = b"--x\r\n" + b'Content-Disposition: form-data; name="a"\r\n\r\n1\r\n--x\r\n' * 1000
    began = wall.process_time()
    for route in ROUTES:
        if route.method in ("POST", "PUT") and route.body == "bytes" and "/logout" not in route.path:
            target = route.path.replace("{userId}", "@alice:test").replace("{", "").replace("}", "")
            answer = server.request(route.method, target, form, token=alice.token)
            assert answer.status in range(400, 500), (target, answer)
    assert wall.process_time() - began < 5


TRAVERSALS = [
    "..", "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "....//....//etc/passwd", "/etc/passwd",
    "\\..\\..\\", "a/../../b",
    ".", "%2e%2e", "..\x00", "a\x00.png", "~root", "file:///etc/passwd", "incoming", "content", "a" * 300,
]  # fmt: skip


@pytest.mark.parametrize("name", TRAVERSALS)
def test_cve_2021_41281_no_media_id_is_a_path(alice: Person, name: str) -> None:
    for server_name in ("test", "elsewhere.org", name):
        for kind in ("download", "thumbnail"):
            target = f"{V1}/media/{kind}/{quote(server_name, safe='')}/{quote(name, safe='')}"
            answer = alice.request("GET", f"{target}?width=32&height=32")
            assert answer.status in (400, 404, 502), answer.body[:200]
            assert b"root:" not in answer.body
    target = f"/_matrix/media/v3/upload/test/{quote(name, safe='')}"
    assert alice.request("PUT", target, b"x").status in (400, 403, 404)
    if "\x00" in name:
        return  # no file is called so
    uri = alice.ask("POST", f"/_matrix/media/v3/upload?filename={quote(name, safe='')}", b"x")["content_uri"]
    answer = alice.request("GET", f"{V1}/media/download/{uri.removeprefix('mxc://')}/{quote(name, safe='')}")
    assert (answer.status, answer.body) == (200, b"x")


class TestPrivateRooms:
    """CVE-2021-39163, CVE-2021-39164: who is not in a private room learns nothing of it."""

    @pytest.fixture
    def room(self, alice: Person) -> str:
        room = alice.create_room(name="SECRETNAME", topic="SECRETTOPIC")
        alice.send(room, "SECRETTEXT")
        return room

    def questions(self, room: str, event_id: str, token: str) -> Iterator[tuple[str, str]]:
        for route in ROUTES:
            if "{roomId}" in route.path or "{roomIdOrAlias}" in route.path:
                filled = route.path
                for name, value in (
                    ("roomId", room), ("roomIdOrAlias", room), ("eventId", event_id), ("userId",
                    "@bob:test"),
                    ("eventType", "m.room.name"), ("stateKey", ""), ("relType", "m.thread"), ("txnId", "t"),
                    ("type", "m.room.name"), ("tag", "x"), ("receiptType", "m.read"),
                ):  # fmt: skip
                    filled = filled.replace(f"{{{name}}}", quote(value, safe=""))
                yield route.method, f"{filled}?dir=b&ts=1&at={token}&from={token}&limit=100"

    def ask_everything(self, person: Person, room: str, event_id: str, token: str) -> None:
        for method, target in self.questions(room, event_id, token):
            if method in ("GET", "HEAD"):
                answer = person.request(method, target)
                assert b"SECRET" not in answer.body, target
                assert b"@alice:test" not in answer.body.replace(b"@alice:test is not", b""), target

    def secrets_of(self, alice: Person, room: str) -> tuple[str, str]:
        event_id = alice.messages(room).ids[0]
        return event_id, alice.sync(since=None).next_batch

    def test_a_stranger(self, alice: Person, bob: Person, room: str) -> None:
        self.ask_everything(bob, room, *self.secrets_of(alice, room))

    def test_who_was_invited_and_went_away(self, alice: Person, bob: Person, room: str) -> None:
        alice.invite(room, bob)
        bob.leave(room)
        self.ask_everything(bob, room, *self.secrets_of(alice, room))

    def test_who_was_invited_and_uninvited(self, alice: Person, bob: Person, room: str) -> None:
        alice.invite(room, bob)
        alice.kick(room, bob)
        self.ask_everything(bob, room, *self.secrets_of(alice, room))

    def test_who_was_banned_before_they_came(self, alice: Person, bob: Person, room: str) -> None:
        alice.ban(room, bob)
        self.ask_everything(bob, room, *self.secrets_of(alice, room))

    def test_who_wants_to_come_in(self, alice: Person, bob: Person) -> None:
        rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        room = alice.create_room(initial_state=[rules])
        alice.send(room, "SECRETTEXT")
        bob.knock(room)
        event_id, token = self.secrets_of(alice, room)
        bob.event(room, event_id, refused="M_FORBIDDEN")
        bob.members(room, refused="M_FORBIDDEN", at=token)
        bob.state(room, refused="M_FORBIDDEN")
        assert bob.request("GET", path("rooms", room, "messages"), dir="b").status == 403

    def test_the_directory_lists_no_private_room(self, alice: Person, bob: Person, room: str) -> None:
        assert b"SECRET" not in bob.request("GET", "/publicRooms").body
        assert b"SECRET" not in bob.request(
            "POST", "/publicRooms", {"filter": {"generic_search_term": "SECRET"}}
        ).body.replace(b'"SECRET"', b"")


def test_cve_2021_29471_push_rules_with_hostile_patterns_cost_little(alice: Person, bob: Person) -> None:
    room = alice.create_room([bob])
    for number in range(30):
        rule = {"pattern": "*a" * 100 + "b", "actions": ["notify"]}
        bob.ask("PUT", f"/pushrules/global/content/rule{number}", rule)
    began = wall.process_time()
    for _ in range(5):
        alice.send(room, "a" * 60_000)
    assert wall.process_time() - began < 5


def test_cve_2020_26891_nothing_that_a_client_says_comes_back_as_html(server: WholeServer) -> None:
    script = "<script>alert(1)</script>"
    for target in (
        f"{V3}/auth/m.login.dummy/fallback/web?session={quote(script)}",
        f"{V3}/auth/m.login.recaptcha/fallback/web?session={quote(script)}",
        f"/{quote(script)}",
        f"{V3}/profile/{quote(script)}",
        f"{V3}/directory/room/{quote(script)}",
        f"{V3}/login/sso/redirect?redirectUrl={quote('javascript:alert(1)')}",
        f"{V1}/register/m.login.registration_token/validity?token={quote(script)}",
    ):
        answer = server.request("GET", target)
        assert answer.headers["Content-Type"] == "application/json"
        assert "Location" not in answer.headers


def test_cve_2019_5885_secrets_are_random_and_long(server: WholeServer, alice: Person) -> None:
    tokens = {server.log_in("alice").token for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token) >= 43 for token in tokens)
    shared = {token[:12] for token in tokens}
    assert len(shared) == 50, "they begin alike"


def test_no_secret_gets_into_the_log(
    server: WholeServer, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "homeserver.http.access"):
        server.request("GET", f"{V3}/account/whoami?access_token={alice.token}")
        phone = server.log_in("alice", refresh_token=True)
        alice.sync()
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": PASSWORD,
        }
        alice.request("POST", "/account/password", {"new_password": PASSWORD + "2", "auth": auth})
        alice.request("POST", "/login", b'{"password": "' + PASSWORD.encode())
        alice.request("GET", f"/rooms/!x:test/messages?access_token={alice.token}")
        server.restart()
    assert caplog.records
    for secret in (alice.token, phone.token, PASSWORD):
        assert secret not in caplog.text


def test_an_administrator_is_asked_for_by_token_not_by_cookie(server: WholeServer, alice: Person) -> None:
    """No cookie is ever read or set: no other site's page acts for whoever visits it."""
    answer: Answer = alice.request("GET", "/account/whoami")
    assert not any(name.lower() == "set-cookie" for name in answer.headers)
    pending = server.start_request("GET", f"{V1}/admin/lock/@alice:test")
    assert pending.answer.errcode == "M_MISSING_TOKEN"


def test_errors_name_their_class_of_trouble_only() -> None:
    """What an exception of ours knows beside its message does not travel."""
    assert MatrixError("x").body() == {"errcode": "M_UNKNOWN", "error": "x"}
