"""Whatever is asked, of every route: the answer is one of the specification's, never a mistake of ours.

20,000 requests whose paths, queries, bodies and tokens are put together from good and bad pieces. A failure
names the seed and the request; POSTROOM_FUZZ_ROUNDS asks for more rounds than the 20,
each of 1,000 requests.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.api.admin.routes import ROUTES as ADMIN_ROUTES
from homeserver.api.client.routes import ROUTES as CLIENT_ROUTES
from homeserver.api.federation.routes import ROUTES as FEDERATION_ROUTES
from homeserver.http.routing import Route
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.http import Answer
from tests.support.people import Person
from tests.support.whole_server import WholeServer

ROUNDS = int(os.environ.get("POSTROOM_FUZZ_ROUNDS", "20"))
REQUESTS = 1_000
ROUTES: tuple[Route, ...] = (*CLIENT_ROUTES, *ADMIN_ROUTES, *FEDERATION_ROUTES)

HOMESERVER = Path(__file__).resolve().parents[2] / "homeserver"
ERRCODE = re.compile(r"M_[A-Z_]+")
ERRCODES = frozenset(ERRCODE.findall((HOMESERVER / "protocol" / "errors.py").read_text()))

TEXTS = [
    "", " ", "a", "a\x00b", "\x1f", "\x7f", "../../../etc/passwd", "%", "%00", "%ff",
    "'; DROP TABLE events; --", "\"", "\\",
    "<script>alert(1)</script>", "ünïcödé", "\U0001f4f1", "\u202e", "x" * 256, "x" * 5_000, "null", "0",
    "-1", "1e9",
    "9" * 40, "1.5", "true", "٣", "m.room.message", "m.room.member", "m.room.power_levels",
    "m.room.create", "m.room.redaction",
    "m.room.encrypted", "m.reaction", "m.read", "m.fully_read", "m.push_rules", "m.direct", "m.tag",
    "m.lowdelay",
    "join", "invite", "leave", "ban", "knock", "public", "private", "b", "f", "crop", "scale", "online",
    "offline",
    "s0", "s1", "s99999999999999999999", "t1_1", "t-1_x", "s1_2", "override", "content", "room",
    "underride", ".m.rule.master",
    "displayname", "avatar_url", "m.tz", "m.thread", "m.replace", "m.annotation", "12", "1", "99",
    "mxc://test/abc", "mxc://", "@:", "@a:", "!:", "#:", "$", "@a:test:8448:1", "!" + "x" * 250, "[::1]",
    "127.0.0.1:1",
]  # fmt: skip
FIELDS = [
    "user_id", "room_id", "event_id", "type", "content", "membership", "reason", "displayname",
    "avatar_url", "password",
    "username", "user", "auth", "session", "identifier", "device_id", "initial_device_display_name",
    "refresh_token",
    "inhibit_login", "token", "new_password", "logout_devices", "erase", "invite", "invite_3pid",
    "room_version",
    "creation_content", "initial_state", "preset", "is_direct", "power_level_content_override",
    "room_alias_name", "name",
    "topic", "visibility", "third_party_signed", "via", "limit", "since", "filter", "include_all_networks",
    "third_party_instance_id", "generic_search_term", "room_types", "typing", "timeout", "thread_id",
    "m.fully_read",
    "m.read", "m.read.private", "presence", "status_msg", "order", "tags", "actions", "conditions",
    "pattern", "enabled",
    "kind", "app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data", "append",
    "format", "url",
    "account_data", "event_fields", "event_format", "not_types", "types", "senders", "rooms",
    "not_rooms", "timeline",
    "state", "ephemeral", "include_leave", "lazy_load_members", "unread_thread_notifications",
    "contains_url", "body",
    "msgtype", "m.relates_to", "rel_type", "key", "m.new_content", "redacts", "users", "events",
    "users_default", "ban",
    "kick", "state_default", "join_rule", "allow", "deny", "alias", "alt_aliases", "history_visibility",
    "guest_access",
    "locked", "suspended", "devices", "display_name", "nonce", "mac", "admin", "pdus", "edus", "origin",
    "server_keys",
    "algorithm", "ignored_users", "service_members", "predecessor", "m.federate", "additional_creators",
]  # fmt: skip
QUERIES = [
    "access_token", "from", "to", "dir", "limit", "filter", "since", "timeout", "full_state",
    "set_presence",
    "use_state_after", "kind", "ts", "at", "membership", "not_membership", "server_name", "via", "width",
    "height",
    "method", "animated", "allow_remote", "timeout_ms", "allow_redirect", "filename", "username",
    "token", "only", "include",
    "recurse", "org.example", "format", "minimum_valid_until_ts",
]  # fmt: skip
RAW_BODIES = [
    b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": NaN}',
    b'{"a": 1e999}', b"[" * 100_000,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b'{"a": "\\ud800"}', b'{"\\ud800": 1}',
    b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"body": "' + b"x" * 70_000 + b'"}', b"x" * 200_000, b'{"type": "m.login.password", "user": 1}',
    b"\x00" * 100,
    b'{"a\\u0000b": "\\u0000"}', b'{"users": {"@a:test": 1e308}}', b'{"users": {"@a:test": "100"}}',
]  # fmt: skip
MESSAGE = {"msgtype": "m.text", "body": "hi", "m.relates_to": {"rel_type": "m.thread", "event_id": "$x"}}
FILTER = {
    "event_fields": ["content.body"], "event_format": "client", "account_data": {"not_types": ["m.*"]},
    "presence": {"senders": ["@alice:test"], "limit": 5},
    "room": {
        "rooms": ["!x:test"], "include_leave": True, "state": {"lazy_load_members": True},
        "timeline": {"limit": 3, "types": ["m.room.*"], "unread_thread_notifications": True,
        "contains_url": False},
    },
}  # fmt: skip
GOOD_BODIES: dict[str, dict[str, Any]] = {
    "/createRoom": {
        "name": "n", "topic": "t", "preset": "trusted_private_chat", "room_version": "12",
        "visibility": "private",
        "invite": ["@bob:test"], "is_direct": True, "creation_content": {"m.federate": False},
        "initial_state": [{"type": "m.room.guest_access", "state_key": "",
        "content": {"guest_access": "can_join"}}],
        "power_level_content_override": {"users": {"@bob:test": 50}, "events": {"m.room.name": 10}},
    },
    "/send/": MESSAGE,
    "/state/": {"membership": "join", "name": "n", "join_rule": "public", "users": {"@alice:test": 100},
    "alias": "#here:test"},
    "/redact/": {"reason": "r"},
    "/invite": {"user_id": "@bob:test", "reason": "r"},
    "/kick": {"user_id": "@bob:test"},
    "/ban": {"user_id": "@bob:test"},
    "/unban": {"user_id": "@bob:test"},
    "/join": {"reason": "r", "third_party_signed": {"sender": "@a:b", "mxid": "@a:b", "token": "t",
    "signatures": {}}},
    "/login": {
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "correct horse battery",
        "device_id": "D", "initial_device_display_name": "n", "refresh_token": True,
    },
    "/register": {"username": "new", "password": "correct horse battery",
    "auth": {"type": "m.login.dummy"}, "inhibit_login": True},
    "/filter": FILTER,
    "/publicRooms": {"limit": 5, "since": "x", "filter": {"generic_search_term": "s",
    "room_types": [None, "m.space"]}},
    "/typing/": {"typing": True, "timeout": 1000},
    "/receipt/": {"thread_id": "main"},
    "/read_markers": {"m.fully_read": "$x", "m.read": "$x", "m.read.private": "$x"},
    "/presence/": {"presence": "online", "status_msg": "here"},
    "/profile/": {"displayname": "n", "avatar_url": "mxc://test/x", "m.tz": "Europe/Berlin"},
    "/tags/": {"order": 0.5},
    "/account_data/": {"ignored_users": {"@bob:test": {}}},
    "/pushrules/": {
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}], "enabled": True, "pattern": "p",
        "conditions": [{"kind": "event_match", "key": "content.body", "pattern": "a*b"},
        {"kind": "room_member_count", "is": ">2"}],
    },
    "/pushers/set": {
        "app_id": "a", "pushkey": "k", "kind": "http", "app_display_name": "n",
        "device_display_name": "d", "lang": "en",
        "data": {"url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only"},
        "append": True,
    },
    "/devices/": {"display_name": "n"},
    "/delete_devices": {"devices": ["D"]},
    "/directory/room/": {"room_id": "!x:test"},
    "/directory/list/": {"visibility": "public"},
    "/account/password": {"new_password": "correct horse battery", "logout_devices": False,
    "auth": {"type": "m.login.password"}},
    "/key/v2/query": {"server_keys": {"elsewhere.org": {"ed25519:a": {"minimum_valid_until_ts": 1}}}},
}  # fmt: skip
"""By a part of the path: bodies that would do, to be changed in one place or none."""


class World:
    """A server with something to ask about, and the pieces requests are made of."""

    def __init__(self, server: WholeServer, random: Random) -> None:
        self.server = server
        self.random = random
        self.people = {name: server.register(name) for name in ("alice", "bob")}
        self.guest = server.register_guest()
        alice, bob = self.people.values()
        rooms = [alice.create_room([bob], room_version=version) for version in ("1", "6", "11", "12")]
        rooms.append(bob.create_room(visibility="public", preset="public_chat", room_alias_name="here"))
        events = [alice.send(room, "hello") for room in rooms[:4]]
        media = alice.request("POST", "/_matrix/media/v3/upload", b"x").json["content_uri"].rpartition("/")[2]
        users = [person.user_id for person in (alice, bob, self.guest)]
        self.good = {
            "userId": [*users, "@nobody:test", "@away:elsewhere.org"],
            "roomId": [*rooms, "!unknown:test", "!away:elsewhere.org"],
            "roomIdOrAlias": [*rooms, "#here:test", "#nowhere:test"],
            "roomAlias": ["#here:test", "#new:test", "#away:elsewhere.org"],
            "eventId": [*events, "$unknown", "$x:test"],
            "deviceId": [alice.device_id, bob.device_id, "NONE"],
            "serverName": ["test", "elsewhere.org"],
            "mediaId": [media, "unknown"],
        }
        self.ids = [identifier for kind in self.good.values() for identifier in kind]

    def value(self, depth: int = 0) -> Any:
        """Any JSON."""
        roll = self.random.random()
        if depth < 4 and roll < 0.25:
            return self.object(depth + 1)
        if depth < 4 and roll < 0.4:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        if roll < 0.75:
            return self.text()
        choices = [
            None,
            True,
            False,
            0,
            1,
            -1,
            50,
            100,
            2**31,
            2**53,
            2**63,
            -(2**64),
            10**400,
            1.5,
            -0.0,
            1e300,
        ]
        return self.random.choice(choices)

    def object(self, depth: int = 0) -> dict[str, Any]:
        names = self.random.sample(FIELDS, self.random.randrange(6)) + self.random.sample(self.ids + TEXTS, 1)
        return {name: self.value(depth) for name in names[: self.random.randrange(7)]}

    def text(self) -> str:
        return self.random.choice(self.random.choice((TEXTS, self.ids)))

    def path(self, route: Route) -> str:
        """Of the route, its parameters mostly good ones."""

        def parameter(match: re.Match[str]) -> str:
            known = self.good.get(match[1], TEXTS)
            text = self.random.choice(known if self.random.random() < 0.8 else TEXTS + self.ids)
            return quote(text, safe="" if self.random.random() < 0.95 else "/%")

        path = re.sub(r"\{(\w+)\}", parameter, self.random.choice(route.spellings()))
        names = self.random.sample(QUERIES, self.random.choice((0, 0, 1, 3)))
        if "dir" not in names and self.random.random() < 0.5:
            path += "?dir=b&ts=1&limit=5&width=9&height=9&method=crop"
        query = "&".join(f"{name}={quote(self.query_value(), safe='')}" for name in names)
        return f"{path}{'&' if '?' in path else '?'}{query}" if query else path

    def query_value(self) -> str:
        return json.dumps(self.object()) if self.random.random() < 0.3 else self.text()

    def body(self, path: str) -> bytes:
        roll = self.random.random()
        if roll < 0.15:
            return self.random.choice(RAW_BODIES)
        good = [body for part, body in GOOD_BODIES.items() if part in path]
        if roll < 0.3 or not good:
            return json.dumps(self.object()).encode()
        body = json.loads(json.dumps(self.random.choice(good)))
        for _ in range(self.random.randrange(3)):
            self.spoil(body)
        return json.dumps(body).encode()

    def spoil(self, value: Any) -> None:
        """Change one place in an object, at some depth."""
        name = self.random.choice(list(value) if isinstance(value, dict) and value else ["x"])
        if isinstance(value, dict):
            if isinstance(value.get(name), dict) and self.random.random() < 0.7:
                self.spoil(value[name])
            elif self.random.random() < 0.2:
                value.pop(name, None)
            else:
                value[name] = self.value(2)

    def person(self) -> Person | None:
        return self.random.choice((*self.people.values(), *self.people.values(), self.guest, None))


@pytest.fixture
def worlds(databases: Databases, time: FakeClock, tmp_path: Path) -> Iterator[Any]:
    servers = []

    def world(seed: int) -> World:
        server = WholeServer(databases.fresh("sqlite"), time, folder=tmp_path)
        servers.append(server)
        return World(server, Random(seed))

    yield world
    for server in servers:
        server.stop()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_answer_is_one_of_the_specifications(
    worlds: Any, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = worlds(seed)
    caplog.set_level(logging.ERROR)
    for number in range(REQUESTS):
        route = world.random.choice(ROUTES)
        method = (
            route.method if world.random.random() < 0.97 else world.random.choice(["GET", "PATCH", "HEAD"])
        )
        path, person = world.path(route), world.person()
        body = world.body(path)
        token = person.token if person else world.random.choice([None, "", "wrong", "\x00", "x" * 9_000])
        pending = world.server.start_request(method, path, body, token=token)
        world.server.time.advance(0.01)
        if not pending.is_done:  # a sync that waits
            pending.disconnect()
            continue
        told = f"seed {seed}, request {number}: {method} {path[:1000]} {body[:1000]!r}"
        answer = pending.answer
        check(answer, told)
        assert not caplog.records, f"{told}: {caplog.records[0].getMessage()} {caplog.records[0].exc_info}"
        if person and answer.status == 401 and answer.json.get("errcode") == "M_UNKNOWN_TOKEN":
            sign_in_again(world, person)


def check(answer: Answer, told: str) -> None:
    """A success, or a refusal with a code of ours that stands for a fault of the client's."""
    assert b"Traceback" not in answer.body, told
    if answer.status < 400 or (answer.status == 401 and "flows" in answer.json):
        return
    said = f"{told} -> {answer.status} {answer.body[:500]!r}"
    assert answer.json["errcode"] in ERRCODES, said
    assert isinstance(answer.json["error"], str), said
    assert answer.json["error"], said
    assert answer.status < 500 or answer.errcode in NOT_OUR_FAULT, said


NOT_OUR_FAULT = ("M_NOT_YET_UPLOADED", "M_CONNECTION_FAILED", "M_CONNECTION_TIMEOUT")
"""What may be said with a 5xx status: that others did not do or answer something."""


def sign_in_again(world: World, person: Person) -> None:
    if person is world.guest:
        world.guest = world.server.register_guest()
        return
    for name, known in world.people.items():
        if known is person:
            world.people[name] = world.server.log_in(name)


def test_every_route_is_asked() -> None:
    """As far as a choice among so many, so often, can be said to."""
    assert REQUESTS * 20 >= 20_000
    assert len(ROUTES) * 20 < REQUESTS * 20
