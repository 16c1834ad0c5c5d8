"""The language of tests about rooms: people who do things on a server, and what they get to see.

What a person does must succeed, unless the test says how it is refused:
`bob.join(room, refused="M_FORBIDDEN")`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from tests.support.clock import FakeClock
from tests.support.http import Answer, Body, Pending
from tests.support.sync_answers import SyncAnswer

V3 = "/_matrix/client/v3"
V1 = "/_matrix/client/v1"
PASSWORD = "correct horse battery"

_numbers = count(1)
REMEMBERED = "the token of this person's last sync"


def segment(text: str) -> str:
    """As it stands in a path."""
    return quote(text, safe="")


def path(*segments: str) -> str:
    """`/rooms/!id/...`, each segment encoded."""
    return "".join(f"/{segment(part)}" for part in segments)


class HasServer(Protocol):
    """What people need of a server."""

    time: FakeClock

    def request(
        self, method: str, path: str, body: Body = None, *, token: str | None = None, **query: Any
    ) -> Answer: ...

    def start_request(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        token: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Pending: ...


class Page:
    """An answer of /messages."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.json = answer
        self.events: list[dict[str, Any]] = answer["chunk"]
        self.start: str = answer["start"]
        self.end: str | None = answer.get("end")

    @property
    def texts(self) -> list[str]:
        return [event["content"]["body"] for event in self.events if "body" in event["content"]]

    @property
    def ids(self) -> list[str]:
        return [event["event_id"] for event in self.events]

    @property
    def members(self) -> set[str]:
        """Whose membership came along as state."""
        return {event["state_key"] for event in self.json.get("state", ())}


@dataclass
class HeldSync:
    """A sync that may be waiting."""

    person: "Person"
    pending: Pending

    @property
    def is_done(self) -> bool:
        self.person.server.time.advance(0)  # what woke it wakes it in the next turn
        return self.pending.is_done

    @property
    def answer(self) -> SyncAnswer:
        assert self.is_done, "The sync still waits"
        return self.person.took(self.pending.answer)


@dataclass
class Person:
    """Somebody signed in, who remembers where their last sync ended."""

    server: HasServer
    user_id: str
    device_id: str
    token: str
    next_batch: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.user_id

    def request(self, method: str, path: str, body: Body = None, **query: Any) -> Answer:
        """`path` is below /_matrix/client/v3 unless it begins with /_."""
        return self.server.request(method, path, body, token=self.token, **query)

    def start_request(self, method: str, path: str, body: Body = None, **query: Any) -> Pending:
        """One that may wait."""
        return self.server.start_request(method, path, body, token=self.token, query=query)

    def ask(
        self, method: str, path: str, body: Body = None, *, refused: str | None = None, **query: Any
    ) -> Any:
        """The JSON of the answer, which is a success, or the refusal that the test expects."""
        answer = self.request(method, path, body, **query)
        assert answer.errcode == refused, f"{answer.status} {str(answer.json)[:500]}"
        return answer.json

    # Rooms

    def create_room(self, members: Sequence["Person"] = (), **wishes: Any) -> str:
        """A room in which everybody of `members` has been invited and has joined; `wishes` as in the body."""
        invited = [*wishes.pop("invite", ()), *(member.user_id for member in members)]
        room: str = self.ask("POST", "/createRoom", {**wishes, "invite": invited})["room_id"]
        for member in members:
            member.join(room)
        return room

    def join(self, room: str, *, refused: str | None = None, **body: Any) -> Any:
        """By id or by alias."""
        return self.ask("POST", path("join", room), body, refused=refused)

    def knock(self, room: str, *, refused: str | None = None, **body: Any) -> Any:
        return self.ask("POST", path("knock", room), body, refused=refused)

    def leave(self, room: str, *, refused: str | None = None, **body: Any) -> Any:
        return self.ask("POST", path("rooms", room, "leave"), body, refused=refused)

    def forget(self, room: str, *, refused: str | None = None) -> Any:
        return self.ask("POST", path("rooms", room, "forget"), refused=refused)

    def invite(self, room: str, whom: "Person | str", *, refused: str | None = None, **body: Any) -> Any:
        return self._about("invite", room, whom, refused, body)

    def kick(self, room: str, whom: "Person | str", *, refused: str | None = None, **body: Any) -> Any:
        return self._about("kick", room, whom, refused, body)

    def ban(self, room: str, whom: "Person | str", *, refused: str | None = None, **body: Any) -> Any:
        return self._about("ban", room, whom, refused, body)

    def unban(self, room: str, whom: "Person | str", *, refused: str | None = None, **body: Any) -> Any:
        return self._about("unban", room, whom, refused, body)

    def _about(self, what: str, room: str, whom: "Person | str", refused: str | None, body: Any) -> Any:
        return self.ask("POST", path("rooms", room, what), {**body, "user_id": str(whom)}, refused=refused)

    # Events

    def send(
        self,
        room: str,
        content: str | Mapping[str, Any] = "hello",
        *,
        type_: str = "m.room.message",
        txn_id: str | None = None,
        refused: str | None = None,
    ) -> str:
        """A message; its event id. Text becomes an m.text message."""
        body = {"msgtype": "m.text", "body": content} if isinstance(content, str) else dict(content)
        target = path("rooms", room, "send", type_, txn_id or f"txn{next(_numbers)}")
        answer = self.ask("PUT", target, body, refused=refused)
        return str(answer.get("event_id"))

    def send_many(self, room: str, texts: Iterable[str]) -> list[str]:
        return [self.send(room, text) for text in texts]

    def set_state(
        self,
        room: str,
        type_: str,
        content: Mapping[str, Any],
        *,
        state_key: str = "",
        refused: str | None = None,
    ) -> str:
        answer = self.ask(
            "PUT", path("rooms", room, "state", type_, state_key), dict(content), refused=refused
        )
        return str(answer.get("event_id"))

    def react(self, room: str, event_id: str, key: str = "👍", *, refused: str | None = None) -> str:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return self.send(room, {"m.relates_to": relation}, type_="m.reaction", refused=refused)

    def edit(self, room: str, event_id: str, text: str) -> str:
        new = {"msgtype": "m.text", "body": text}
        relation = {"rel_type": "m.replace", "event_id": event_id}
        return self.send(room, {**new, "body": f"* {text}", "m.new_content": new, "m.relates_to": relation})

    def reply_in_thread(self, room: str, root: str, text: str) -> str:
        relation = {"rel_type": "m.thread", "event_id": root}
        return self.send(room, {"msgtype": "m.text", "body": text, "m.relates_to": relation})

    def redact(
        self, room: str, event_id: str, *, txn_id: str | None = None, refused: str | None = None, **body: Any
    ) -> str:
        target = path("rooms", room, "redact", event_id, txn_id or f"txn{next(_numbers)}")
        return str(self.ask("PUT", target, body, refused=refused).get("event_id"))

    def start_typing(self, room: str, *, timeout_ms: int = 30_000) -> None:
        self.ask("PUT", path("rooms", room, "typing", self.user_id), {"typing": True, "timeout": timeout_ms})

    def stop_typing(self, room: str) -> None:
        self.ask("PUT", path("rooms", room, "typing", self.user_id), {"typing": False})

    def read(self, room: str, event_id: str, *, receipt: str = "m.read", **body: Any) -> None:
        self.ask("POST", path("rooms", room, "receipt", receipt, event_id), body)

    def put_account_data(self, type_: str, content: Mapping[str, Any], *, room: str | None = None) -> None:
        where = path("user", self.user_id, *(("rooms", room) if room else ()), "account_data", type_)
        self.ask("PUT", where, dict(content))

    def ignore(self, *whom: "Person") -> None:
        ignored: dict[str, Any] = {person.user_id: {} for person in whom}
        self.put_account_data("m.ignored_user_list", {"ignored_users": ignored})

    # Reading

    def event(self, room: str, event_id: str, *, refused: str | None = None) -> Any:
        return self.ask("GET", path("rooms", room, "event", event_id), refused=refused)

    def sees(self, room: str, event_id: str) -> bool:
        """Does /event show it?"""
        answer = self.request("GET", path("rooms", room, "event", event_id))
        assert answer.status in (200, 403, 404), answer.json
        return answer.status == 200

    def messages(self, room: str, *, dir: str = "b", **query: Any) -> Page:
        """`filter` is given as a dict; `from` as `start`, `to` as `stop`."""
        query = {**query, "from": query.pop("start", None), "to": query.pop("stop", None)}
        return Page(self.ask("GET", path("rooms", room, "messages"), dir=dir, **_as_text(query)))

    def context(self, room: str, event_id: str, **query: Any) -> Any:
        return self.ask("GET", path("rooms", room, "context", event_id), **_as_text(query))

    def state(self, room: str, *, refused: str | None = None) -> dict[tuple[str, str], Any]:
        """{(type, state key): event} of /state."""
        events = self.ask("GET", path("rooms", room, "state"), refused=refused)
        return {(event["type"], event["state_key"]): event for event in events} if not refused else {}

    def state_of(
        self, room: str, type_: str, state_key: str = "", *, refused: str | None = None, **query: Any
    ) -> Any:
        return self.ask("GET", path("rooms", room, "state", type_, state_key), refused=refused, **query)

    def membership_of(self, room: str, whom: "Person") -> str:
        return str(self.state_of(room, "m.room.member", whom.user_id)["membership"])

    def members(self, room: str, *, refused: str | None = None, **query: Any) -> dict[str, str]:
        """{user id: membership} of /members."""
        answer = self.ask("GET", path("rooms", room, "members"), refused=refused, **query)
        return {event["state_key"]: event["content"]["membership"] for event in answer.get("chunk", ())}

    def joined_rooms(self) -> set[str]:
        return set(self.ask("GET", "/joined_rooms")["joined_rooms"])

    # Sync

    def sync(self, *, since: str | None = REMEMBERED, timeout_ms: int = 0, **query: Any) -> SyncAnswer:
        """A sync that is answered at once. From where the last one ended, unless `since` says otherwise."""
        return self.start_sync(since=since, timeout_ms=timeout_ms, **query).answer

    def start_sync(
        self, *, since: str | None = REMEMBERED, timeout_ms: int = 30_000, **query: Any
    ) -> HeldSync:
        """A sync that may wait; read its `answer` once it `is_done`. `filter` is given as a dict or an id."""
        token = self.next_batch if since == REMEMBERED else since
        query = {**_as_text(query), "since": token, "timeout": timeout_ms}
        return HeldSync(self, self.start_request("GET", "/sync", **query))

    def took(self, answer: Answer) -> SyncAnswer:
        """An answer that the person has read."""
        assert answer.status == 200, answer.json
        synced = SyncAnswer(answer.json)
        self.next_batch = synced.next_batch
        return synced


def _as_text(query: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.dumps(value).decode() if isinstance(value, dict) else value
        for name, value in query.items()
    }
