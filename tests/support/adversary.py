"""A server of our own making that speaks raw federation: honest until a test has it lie.

It has its signing key at its key endpoint, joins rooms as others do, and then sends whatever it is told,
signed or not. It lives in memory, on a `Network`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.hashes import content_hash, event_id_of
from homeserver.protocol.ids import ServerName
from homeserver.protocol.request_signatures import authorization_header, request_bytes
from homeserver.protocol.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion, room_version
from homeserver.protocol.signatures import SigningKey, sign_event, sign_json
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.http import Answer, start
from tests.support.network import Network
from tests.support.whole_server import WholeServer

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
VERSIONS = "&".join(f"ver={name}" for name in ROOM_VERSIONS)
Pdu = dict[str, Any]
Endpoint = Callable[[HttpRequest], tuple[int, Any]]
_numbers = count(1)


def event_path(*segments: str) -> str:
    """Segments of a path, encoded."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


@dataclass
class View:
    """What the adversary knows of a room: enough to make events that fit."""

    room_id: str
    version: RoomVersion
    state: dict[tuple[str, str], Pdu] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    depth: int = 1

    def name(self, pdu: Mapping[str, Any]) -> str:
        """The event's ID."""
        return event_id_of(_lenient(self.version), pdu)

    def auth_events(self, pdu: Mapping[str, Any]) -> list[str]:
        """The IDs that an honest event would name."""
        keys = auth_keys(
            self.version,
            type=pdu["type"],
            sender=pdu["sender"],
            state_key=pdu.get("state_key"),
            content=pdu["content"],
        )
        return [self.name(self.state[key]) for key in keys if key in self.state]

    def links(self, event_ids: Any) -> Any:
        """Event IDs as an event names them: room versions 1 and 2 want pairs of ID and hash."""
        if self.version.event_id_format is not EventIdFormat.EXPLICIT or not isinstance(event_ids, list):
            return event_ids
        return [[one, {}] if isinstance(one, str) else one for one in event_ids]

    def take(self, pdu: Pdu) -> None:
        """The next event is to follow this one."""
        if "state_key" in pdu:
            self.state[pdu["type"], pdu["state_key"]] = pdu
        self.heads = [self.name(pdu)]
        self.depth = max(self.depth, pdu["depth"])


class Adversary:
    """`received` are PDUs sent to it, `asked` all requests, `answers` what it says by paths' beginnings."""

    def __init__(self, victim: WholeServer, name: str = "evil.example", *, seed: bytes = b"e") -> None:
        self.victim = victim
        self.name = ServerName(name)
        self.key = SigningKey("evil", seed * 32)
        self.user = f"@mallory:{name}"
        self.asked: list[HttpRequest] = []
        self.received: list[Pdu] = []
        self.edus: list[dict[str, Any]] = []
        self.answers: dict[str, Endpoint] = {}
        self.key_document: Callable[[], dict[str, Any]] = self.honest_keys
        network: Network = victim.network
        network.add(name, self._answer)

    # What it answers

    def honest_keys(self, **changes: Any) -> dict[str, Any]:
        """Its key document, signed, good for a day."""
        document = {
            "server_name": self.name,
            "valid_until_ts": self.victim.time.now_ms() + 86_400_000,
            "verify_keys": {self.key.key_id: {"key": self.key.verify_key.to_base64()}},
            "old_verify_keys": {},
            **changes,
        }
        return sign_json(document, self.name, self.key)

    def on(self, path: str, endpoint: Endpoint) -> None:
        """Answer requests whose path begins like this."""
        self.answers[path] = endpoint

    def requests_to(self, path: str) -> list[HttpRequest]:
        """Those it got whose path begins like this."""
        return [request for request in self.asked if unquote(request.path).startswith(path)]

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        self.asked.append(request)
        path = unquote(urlsplit(request.path).path)
        for beginning in sorted(self.answers, key=len, reverse=True):
            if path.startswith(beginning):
                status, value = self.answers[beginning](request)
                return _json(status, value)
        if path.startswith("/_matrix/key/v2/server"):
            return _json(200, self.key_document())
        if path.startswith(f"{V1}/send/"):
            body = orjson.loads(request.body or b"{}")
            self.received += body.get("pdus", [])
            self.edus += body.get("edus", [])
            return _json(200, {"pdus": {}})
        return _json(404, {"errcode": "M_UNRECOGNIZED", "error": "no"})

    # What it asks

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        signed_as: Mapping[str, Any] | None = None,
        raw: bytes | None = None,
        header: str | None = None,
    ) -> Answer:
        """A signed request. `signed_as` changes what is signed; `raw` and `header` what is sent."""
        content = raw if raw is not None else None if body is None else canonical_json.encode_lenient(body)
        said = {
            "method": method, "target": path, "origin": self.name, "content": content,
            "destination": self.victim.config.server_name, "key": self.key, **(signed_as or {}),
        }  # fmt: skip
        signature = said["key"].sign(
            request_bytes(
                said["method"], said["target"], said["origin"], said["destination"], said["content"]
            )
        )
        if header is None:
            header = authorization_header(said["origin"], said["destination"], said["key"].key_id, signature)
        pending = start(
            self.victim.router, method, path, {"Authorization": header} if header else {}, content or b"",
            client_ip="6.6.6.6",
        )  # fmt: skip
        for _ in range(40):
            if pending.is_done:
                break
            self.victim.time.advance(0.25)
        return pending.answer

    def send(
        self, pdus: Sequence[Any] = (), edus: Sequence[Any] = (), *, txn_id: str | None = None, **more: Any
    ) -> Answer:
        """A transaction; when it returns, the victim has worked off what it was sent."""
        body = {
            "origin": self.name,
            "origin_server_ts": self.victim.time.now_ms(),
            "pdus": list(pdus),
            "edus": list(edus),
        }
        answer = self.request("PUT", f"{V1}/send/{txn_id or f'txn{next(_numbers)}'}", body, **more)
        self.settle()
        return answer

    def settle(self, seconds: float = 1.0) -> None:
        """Let the victim do what it has begun."""
        for _ in range(8):
            self.victim.time.advance(seconds / 8)

    # Events

    def join(self, room_id: str, *, user: str | None = None) -> View:
        """Come into a room that the victim hosts, as the specification has it."""
        user = user or self.user
        path = f"{V1}/make_join{event_path(room_id, user)}?{VERSIONS}"
        template = self.request("GET", path)
        assert template.status == 200, template.json
        version = room_version(template.json["room_version"])
        view = View(room_id, version)
        pdu = self.finish(view, template.json["event"])
        path = f"{V2}/send_join{event_path(room_id, view.name(pdu))}"
        answer = self.request("PUT", path, pdu)
        assert answer.status == 200, answer.json
        for event in answer.json["state"]:
            view.state[event["type"], event["state_key"]] = event
        view.take(answer.json.get("event", pdu))
        self.settle()
        return view

    def event(
        self,
        view: View,
        content: Mapping[str, Any] | str = "hello",
        *,
        type_: str = "m.room.message",
        sender: str | None = None,
        state_key: str | None = None,
        **fields: Any,
    ) -> Pdu:
        """A finished event that follows what the view knows; `fields` put in or over, before it is hashed."""
        pdu: Pdu = {
            "type": type_,
            "room_id": view.room_id,
            "sender": sender or self.user,
            "content": {"msgtype": "m.text", "body": content} if isinstance(content, str) else dict(content),
            "prev_events": list(view.heads),
            "depth": view.depth + 1,
            "origin_server_ts": self.victim.time.now_ms(),
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        pdu["auth_events"] = view.auth_events(pdu)
        pdu |= fields
        for links in ("prev_events", "auth_events"):
            pdu[links] = view.links(pdu[links])
        return self.finish(view, pdu)

    def finish(
        self, view: View, pdu: Mapping[str, Any], *, key: SigningKey | None = None, name: str | None = None
    ) -> Pdu:
        """Hashed and signed."""
        done = {field: value for field, value in pdu.items() if field not in ("hashes", "signatures")}
        if view.version.event_id_format is EventIdFormat.EXPLICIT:
            done.setdefault("event_id", f"$lie{next(_numbers)}:{self.name}")
        done["hashes"] = {"sha256": content_hash(done, strict=False)}
        return sign_event(_lenient(view.version), done, ServerName(name or self.name), key or self.key)

    def say(self, view: View, content: Mapping[str, Any] | str = "hello", **fields: Any) -> str:
        """Send an honest event; its ID. The next one follows it."""
        pdu = self.event(view, content, **fields)
        answer = self.send([pdu])
        assert answer.status == 200, answer.json
        view.take(pdu)
        return view.name(pdu)

    def catch_up(self, view: View) -> None:
        """Follow what the victim has sent last."""
        for pdu in self.received:
            if pdu["room_id"] == view.room_id and pdu["depth"] >= view.depth:
                view.take(pdu)


def query_of(request: HttpRequest) -> dict[str, list[str]]:
    """The query of a request that the victim has sent."""
    return parse_qs(urlsplit(request.path).query)


def _lenient(version: RoomVersion) -> RoomVersion:
    """As the version, for signing what no honest server would: floats, huge numbers."""
    return replace(version, strict_canonical_json=False)


def _json(status: int, value: Any) -> HttpAnswer:
    body = value if isinstance(value, bytes) else canonical_json.encode_lenient(value)
    return HttpAnswer(status, {"content-type": "application/json"}, body)
