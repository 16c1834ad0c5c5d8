"""A homeserver that calls go to, and who watches how they end."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.request_signatures import parse_authorization, request_bytes
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.http_client import HttpAnswer, HttpRequest

KEY = SigningKey("ours", b"o" * 32)
US = ServerName("us.example")
THEM = ServerName("them.example")
ROOM = RoomId("!room/with?odd%characters:them.example")
EVENT = EventId("$event/+:them.example")
USER = UserId("@user/ü:them.example")
PDU: dict[str, Any] = {"type": "m.room.message", "content": {"body": "ü"}}


class Other:
    """A homeserver that answers what it is told to and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[HttpAnswer] = []
        self.asked: list[HttpRequest] = []

    def will(self, body: Any, status: int = 200, **headers: str) -> None:
        """The next answer; the last one is given again and again."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(HttpAnswer(status, names, content))

    def __call__(self, request: HttpRequest) -> HttpAnswer:
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def request(self) -> HttpRequest:
        """The one that was asked last."""
        return self.asked[-1]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.request.path).query)

    @property
    def body(self) -> Any:
        assert self.request.body is not None
        return orjson.loads(self.request.body)


class Watch:
    """Reachability that keeps notes."""

    def __init__(self) -> None:
        self.blocked = False
        self.notes: list[str] = []

    def may_try(self, destination: ServerName) -> bool:
        return not self.blocked

    def note_success(self, destination: ServerName) -> None:
        self.notes.append("success")

    def note_failure(self, destination: ServerName, why: str) -> None:
        self.notes.append("failure")


def check_signature(request: HttpRequest) -> None:
    """The request carries our signature on exactly what was sent."""
    claim = parse_authorization(request.headers["Authorization"])
    assert (claim.origin, claim.destination, claim.key_id) == (US, THEM, KEY.key_id)
    message = request_bytes(request.method, request.path, US, THEM, request.body)
    KEY.verify_key.verify(message, claim.signature)
