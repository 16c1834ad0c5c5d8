"""Servers made up by tests: they take transactions, or do not, and remember what they got."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from homeserver.storage.rooms import Member
from tests.support.running import result
from tests.support.whole_server import WholeServer

FEDERATING = """
server_name: test
registration: {mode: open}
passwords: {hash_passes: 1, hash_memory_kib: 8}
rate_limits: {enabled: false}
presence: {enabled: false}
federation: {trusted_key_servers: []}
"""
SEND = "/_matrix/federation/v1/send/"


class Taken(NamedTuple):
    """A transaction as it came."""

    txn_id: str
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """The bodies of its messages."""
        return [pdu["content"]["body"] for pdu in self.body["pdus"] if "body" in pdu["content"]]

    def edus(self, edu_type: str) -> list[Any]:
        return [edu["content"] for edu in self.body["edus"] if edu["edu_type"] == edu_type]


class Destination:
    """Goes into a test's `Network`. `refuse(body)` may answer instead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts = 0
        self.taken: list[Taken] = []
        self.refuse: Callable[[dict[str, Any]], HttpAnswer | None] = lambda body: None

    def __call__(self, request: HttpRequest) -> HttpAnswer:
        path = request.path.partition("?")[0]
        if request.method != "PUT" or not path.startswith(SEND):
            return HttpAnswer(404, {}, b'{"errcode":"M_UNRECOGNIZED","error":""}')
        self.attempts += 1
        body = orjson.loads(request.body or b"")
        answer = self.refuse(body)
        if answer is None:
            self.taken.append(Taken(unquote(path.removeprefix(SEND)), body))
            answer = HttpAnswer(200, {}, b'{"pdus":{}}')
        return answer

    @property
    def texts(self) -> list[str]:
        """The bodies of all messages, in the order in which they came."""
        return [text for taken in self.taken for text in taken.texts]

    @property
    def pdus(self) -> list[dict[str, Any]]:
        return [pdu for taken in self.taken for pdu in taken.body["pdus"]]

    def edus(self, edu_type: str) -> list[Any]:
        return [content for taken in self.taken for content in taken.edus(edu_type)]


def refusal(status: int, errcode: str = "M_UNKNOWN", **fields: Any) -> HttpAnswer:
    return HttpAnswer(status, {}, orjson.dumps({"errcode": errcode, "error": "no", **fields}))


def join_from(server: WholeServer, room_id: str, names: Sequence[str], user: str = "zoe") -> None:
    """Give a room members on other servers, as if they had joined."""
    room = result(server.services.rooms.rooms.load(RoomId(room_id)))
    put = server.services.traffic.ground.stores.rooms.put_member
    for name in names:
        member = Member(UserId(f"@{user}:{name}"), "join", room.tip, room.tip, False)
        result(server.database.write(put, room.nid, member))
    server.services.rooms.rooms.discard(room)


def leave_from(server: WholeServer, room_id: str, name: str, user: str = "zoe") -> None:
    """Take a member away, as if they had left."""
    room = result(server.services.rooms.rooms.load(RoomId(room_id)))
    put = server.services.traffic.ground.stores.rooms.put_member
    member = Member(UserId(f"@{user}:{name}"), "leave", room.tip, room.tip, False)
    result(server.database.write(put, room.nid, member))
    server.services.rooms.rooms.discard(room)
