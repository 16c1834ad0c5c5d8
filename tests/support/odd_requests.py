"""Requests that no sane client sends, and some that one might: over all routes, from a seed.

About half of each request is plausible, so that the oddity gets past the first check.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

from homeserver.http.routing import Auth, Route
from tests.support.people import PASSWORD

RAW_SEGMENTS = (
    "", ".", "..", "%", "%00", "%ff", "%zz", "%F0%9F", "%2F", "%2e%2e", "%C0%AF", "a%00b", "%ED%A0%80",
    "+", "%20",
    "%E2%80%AE", "a" * 300, "a" * 5000, "%25", "~", ";", "@", "!", "#", "$",
)  # fmt: skip
ODD_TEXTS = (
    "", " ", "\0", "a\0b", "💥" * 50, "ü", "x" * 256, "x" * 70_000, "null", "-1", "1e999", "{}", "[]",
    "' OR 1=1 --",
    "<script>alert(1)</script>", "\u202e", "\ufeff", "@:", "@a", "@a:", "!a:b:c", "#x:", "$", "mxc://",
    "../../etc",
    "@alice:test\n", "@" + "a" * 300 + ":test", "@é:test", "m.room.member", "%s", "\\", "\"",
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2**31, -(2**31), 2**53, -(2**53), 2**63, 2**64, 10**30, 1.5, -0.0, 1e308, float("nan"),
    float("inf"),
)  # fmt: skip
RAW_BODIES = (
    b"", b" ", b"{", b"}", b"[", b"null", b"true", b"0", b'"', b'""', b"[]", b"{}", b"\xff\xfe", b"\x00",
    b"{]",
    b'{"a":}', b'{"a" 1}', b"{'a': 1}", b'{"a":1,"a":2}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\\ud800"}',
    b'{"\\u0000":1}', b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"), b"[" * 5_000,
    b"[" * 5_000 + b"]" * 5_000,
    b'{"a":' * 3_000 + b"1" + b"}" * 3_000, b'{"a":' + b"9" * 5_000 + b"}", b'{"a":1e400}', b"{}{}", b"{} x",
    b'{"a":"' + b"x" * 120_000 + b'"}', b"[" + b"{}," * 20_000 + b"{}]", b"<html>", b"a=1&b=2",
)  # fmt: skip
QUERY_NAMES = (
    "access_token", "after", "allow_remote", "animated", "at", "before", "dir", "event_id", "field",
    "filename",
    "filter", "format", "from", "full_state", "height", "include", "kind", "limit", "membership", "method",
    "not_membership", "only", "recurse", "server", "set_presence", "since", "timeout", "timeout_ms", "to",
    "token",
    "ts", "use_state_after", "user_id", "username", "via", "width",
)  # fmt: skip
PLAUSIBLE_QUERY = {
    "dir": ("b", "f"), "limit": ("1", "10", "100"), "format": ("event", "content"), "membership": ("join",
    "leave"),
    "not_membership": ("ban",), "kind": ("guest", "user"), "full_state": ("true",), "method": ("crop",
    "scale"),
    "set_presence": ("online", "offline"), "timeout": ("0", "1000"), "timeout_ms": ("0", "10"),
    "width": ("32",),
    "height": ("32",), "ts": ("1700000000000",), "recurse": ("true",), "include": ("all", "participated"),
    "only": ("highlight",), "username": ("dave",), "server": ("test",), "filter": ('{"room":{}}', "0", "1"),
    "use_state_after": ("true",),
}  # fmt: skip
CONTENTS: tuple[dict[str, Any], ...] = (
    {"msgtype": "m.text", "body": "hello"},
    {"membership": "join"},
    {"membership": "invite", "is_direct": True},
    {"membership": "ban", "reason": "x"},
    {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!x:test"}]},
    {"history_visibility": "joined"},
    {"users": {"@bob:test": 50}, "events": {"m.room.name": 50}, "ban": 50, "notifications": {"room": 50}},
    {"name": "Den"},
    {"topic": "x", "m.topic": {"m.text": [{"body": "x"}]}},
    {"alias": "#den:test", "alt_aliases": ["#den:test"]},
    {"allow": ["*"], "deny": ["evil.example"], "allow_ip_literals": False},
    {"redacts": "$x", "reason": "x"},
    {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$x", "key": "👍"}},
    {"m.relates_to": {"rel_type": "m.thread", "event_id": "$x", "m.in_reply_to": {"event_id": "$x"}}},
    {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}, "m.new_content": {"body": "x"}},
    {"m.mentions": {"user_ids": ["@bob:test"], "room": True}, "body": "bob"},
    {"ignored_users": {"@bob:test": {}}},
    {"guest_access": "can_join"},
)


class OddRequest(NamedTuple):
    """`target` is the path and query as sent."""

    route: Route
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class World:
    """What there is to be named in requests."""

    tokens: list[str]
    """Of the first of `users`, in the same order."""
    users: list[str]
    rooms: list[str]
    events: list[str]
    aliases: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)


class OddRequests:
    """An endless supply of them, always the same from the same seed."""

    def __init__(self, routes: Sequence[Route], world: World, seed: int) -> None:
        self._routes = routes
        self._world = world
        self._random = Random(seed)

    def make(self) -> OddRequest:
        chance, choose = self._random.random, self._random.choice
        route = choose(self._routes)
        method = (
            route.method
            if chance() < 0.97
            else choose(("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "X"))
        )
        headers = {}
        who = self._random.randrange(len(self._world.tokens))
        target = self._target(route, self._world.users[who])
        if (route.auth is not Auth.NONE or chance() < 0.1) and chance() < 0.97:
            token = self._world.tokens[who] if chance() < 0.98 else self._text()[:200]
            headers["Authorization"] = f"Bearer {token}" if chance() < 0.99 else token
        body = self._body(route) if method in ("PUT", "POST") or chance() < 0.05 else b""
        if chance() < 0.3:
            headers["Content-Type"] = choose(
                ("application/json", "text/plain", "image/png", "x", "text/html; charset=x")
            )
        return OddRequest(route, method, target, headers, body)

    # The path and the query

    def _target(self, route: Route, user: str) -> str:
        chance = self._random.random
        spelling = self._random.choice(route.spellings())
        target = re.sub(r"\{(\w+)\}", lambda match: self._segment(match[1], user), spelling)
        if chance() < 0.02:
            target += self._random.choice(("/", "//", "/x", "%2F", "/..", "?", "#x"))
        fields = [self._field(name) for name in self._random.sample(QUERY_NAMES, self._random.randint(0, 4))]
        fields += [self._field(name) for name in ("dir", "ts", "from", "since", "filter") if chance() < 0.15]
        if (
            route.path.rpartition("/")[2] in ("messages", "timestamp_to_event", "{mediaId}")
            and chance() < 0.7
        ):
            fields = [
                *fields[:1],
                "dir=" + self._random.choice("bf"),
                "ts=1700000000000",
                "width=32",
                "height=32",
            ]
        if chance() < 0.03:
            fields.append(
                self._random.choice(("%ff=%00", "&&=&", "limit", "limit=1&limit=2", "a" * 3000, "=", "%"))
            )
        return f"{target}?{'&'.join(fields)}" if fields else target

    def _segment(self, name: str, user: str) -> str:
        world, choose, chance = self._world, self._random.choice, self._random.random()
        if chance < 0.04:
            return choose(RAW_SEGMENTS)
        if chance < 0.08:
            return quote(self._text()[:2000], safe="")
        if chance < 0.12:
            return quote(choose([*world.users, *world.rooms, *world.events, *world.aliases]), safe="")
        known: dict[str, Sequence[str]] = {
            "deviceId": world.devices, "eventId": world.events, "fileName": ("a.png", "x"),
            "eventType": ("m.room.message", "m.room.member", "m.room.name", "m.room.power_levels",
                          "m.room.join_rules", "m.room.history_visibility", "m.room.canonical_alias",
                          "m.room.redaction", "m.reaction", "m.room.server_acl", "m.room.create", "x",
                          "m.room.encrypted", "m.room.guest_access", "m.room.topic",
                          "m.room.third_party_invite"),
            "filterId": ("0", "1", "2", "99"), "keyName": ("displayname", "avatar_url", "m.tz", "x"),
            "kind": ("override", "content", "room", "sender", "underride", "x"),
            "mediaId": world.media, "receiptType": ("m.read", "m.read.private", "m.fully_read", "x"),
            "relType": ("m.thread", "m.annotation", "m.replace", "x"), "reportId": ("1", "2", "99"),
            "roomAlias": world.aliases, "roomId": world.rooms,
            "roomIdOrAlias": [*world.rooms, *world.aliases],
            "ruleId": (".m.rule.master", ".m.rule.message", "x", "y", *world.users, *world.rooms),
            "serverName": ("test", "test", "elsewhere.example", "[::1]:80"), "stateKey": ("", "x",
            *world.users),
            "tag": ("m.favourite", "u.x"), "txnId": ("1", "2", str(self._random.randint(0, 10**6))),
            "type": ("m.fully_read", "m.push_rules", "m.ignored_user_list", "m.direct", "x"),
            "userId": [*world.users, *[user] * 6],
        }  # fmt: skip
        return quote(choose(known[name] or ("x",)), safe="")

    def _field(self, name: str) -> str:
        choose, chance = self._random.choice, self._random.random()
        if chance < 0.5 and name in PLAUSIBLE_QUERY:
            return f"{name}={quote(choose(PLAUSIBLE_QUERY[name]))}"
        if chance < 0.7 and name in ("from", "to", "since", "at", "filter"):
            if name == "filter":
                return f"filter={quote(json.dumps(self._filter()))}"
            return f"{name}={quote(choose(self._world.positions or ['s1']))}"
        if chance < 0.85:
            return f"{name}={choose(ODD_NUMBERS)}"
        return f"{name}={choose(RAW_SEGMENTS) if chance < 0.9 else quote(self._text()[:2000])}"

    # Bodies

    def _body(self, route: Route) -> bytes:
        choose, chance = self._random.choice, self._random.random
        if chance() < 0.12:
            return choose(RAW_BODIES)
        value: Any = self._plausible(route)
        if isinstance(value, dict):
            value = dict(value)
            for _ in range(choose((0, 0, 0, 1, 1, 2, 3))):
                self._twist(value)
        if chance() < 0.03:
            value = self._value(2)
        text = json.dumps(value, ensure_ascii=chance() < 0.5)
        if chance() < 0.02:
            text = text[: self._random.randint(0, len(text))]
        body = text.encode("utf-8", "surrogatepass")
        if chance() < 0.02 and body:
            at = self._random.randrange(len(body))
            body = body[:at] + bytes([self._random.randrange(256)]) + body[at + 1 :]
        return body

    def _twist(self, value: dict[str, Any]) -> None:
        """Change, add or remove one field, here or further in."""
        keys = list(value)
        if keys and self._random.random() < 0.3:
            inner = value[self._random.choice(keys)]
            if isinstance(inner, dict):
                return self._twist(inner)
        name = self._random.choice(keys) if keys and self._random.random() < 0.8 else self._text()[:300]
        if name in value and self._random.random() < 0.15:
            del value[name]
        else:
            value[name] = self._value(2)
        return None

    def _value(self, depth: int) -> Any:
        chance = self._random.random()
        if chance < 0.3:
            return self._text()
        if chance < 0.5:
            return self._random.choice(ODD_NUMBERS)
        if chance < 0.65 or depth == 0:
            return self._random.choice((None, True, False, [], {}))
        if chance < 0.82:
            return [self._value(depth - 1) for _ in range(self._random.randint(0, 3))]
        return {self._text()[:100]: self._value(depth - 1) for _ in range(self._random.randint(0, 3))}

    def _text(self) -> str:
        world = self._world
        if self._random.random() < 0.5:
            return self._random.choice(ODD_TEXTS)
        return self._random.choice([*world.users, *world.rooms, *world.events, *world.aliases, "x"])

    def _filter(self) -> Any:
        events = {
            "limit": 3,
            "types": ["m.room.*"],
            "senders": ["@bob:test"],
            "not_types": ["x"],
            "contains_url": True,
        }
        made: dict[str, Any] = {
            "room": {"timeline": dict(events), "state": {"lazy_load_members": True}, "include_leave": True},
            "presence": {"limit": 1}, "account_data": {"not_types": ["*"]}, "event_fields": ["content.body"],
        }  # fmt: skip
        if self._random.random() < 0.5:
            made = events | {"related_by_rel_types": ["m.thread"], "lazy_load_members": True}
        if self._random.random() < 0.6:
            self._twist(made)
        return made

    def _plausible(self, route: Route) -> Any:
        world, choose = self._world, self._random.choice
        event, user, room = choose(world.events), choose(world.users), choose(world.rooms)
        last = [part for part in route.path.split("/") if not part.startswith("{")][-1]
        right = choose(("x", PASSWORD))
        password = {
            "type": "m.login.password",
            "password": right,
            "identifier": {"type": "m.id.user", "user": user},
        }
        known: dict[str, Any] = {
            "createRoom": {
                "name": "x", "topic": "x", "visibility": "public", "preset": "public_chat", "invite": [user],
                "room_alias_name": "x", "room_version": choose(("1", "6", "10", "11", "12")),
                "is_direct": True,
                "initial_state": [{"type": "m.room.name", "state_key": "", "content": {"name": "x"}}],
                "creation_content": {"m.federate": False, "type": "m.space", "additional_creators": [user]},
                "power_level_content_override": {"users": {user: 50}, "events_default": 0},
            },
            "register": {"username": "x", "password": "correct horse", "auth": {"type": "m.login.dummy"},
                         "inhibit_login": True, "device_id": "x", "refresh_token": True},
            "login": password | {"device_id": "x", "refresh_token": True},
            "get_token": {"auth": password}, "refresh": {"refresh_token": "x"},
            "password": {"new_password": "correct horse", "logout_devices": False,
                         "auth": password | {"password": "wrong"}},
            "deactivate": {"auth": {"type": "m.login.password", "password": "wrong"}, "erase": True},
            "logout": {}, "all": {}, "suspend": {"suspended": False}, "lock": {"locked": False},
            "filter": self._filter(), "redact": {"reason": "x"}, "room": {"room_id": room,
            "visibility": "public"},
            "invite": {"user_id": user, "reason": "x"}, "kick": {"user_id": user}, "ban": {"user_id": user},
            "unban": {"user_id": user}, "join": {"reason": "x", "third_party_signed": {}},
            "knock": {"reason": "x"},
            "publicRooms": {"limit": 10, "filter": {"generic_search_term": "x", "room_types": [None]},
            "since": "x"},
            "profile": {"displayname": "x", "avatar_url": "mxc://test/x", "m.tz": "Europe/Berlin"},
            "devices": {"display_name": "x"}, "delete_devices": {"devices": ["x"], "auth": password},
            "typing": {"typing": True, "timeout": 1000}, "receipt": {"thread_id": choose(("main", event))},
            "read_markers": {"m.fully_read": event, "m.read": event, "m.read.private": event},
            "status": {"presence": "online", "status_msg": "x"}, "tags": {"order": 0.5},
            "set": {"kind": "http", "app_id": "x", "pushkey": "x", "lang": "en", "app_display_name": "x",
                    "device_display_name": "x", "data": {"url": "https://x.example/_matrix/push/v1/notify"}},
            "global": {"actions": ["notify", {"set_tweak": "sound", "value": "x"}], "pattern": "x",
                       "conditions": [{"kind": "event_match", "key": "content.body", "pattern": "x"},
                                      {"kind": "room_member_count", "is": "2"}]},
            "enabled": {"enabled": True}, "actions": {"actions": ["notify"]},
        }  # fmt: skip
        return (
            json.loads(json.dumps(known[last])) if last in known else json.loads(json.dumps(choose(CONTENTS)))
        )
