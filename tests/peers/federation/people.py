"""People on servers that run as processes, in the language of tests/support/people.py.

Requests go over HTTP and time is real: what another server has to bring is waited for with `eventually`.
"""

import http.client
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from tests.support.clock import FakeClock
from tests.support.http import Answer, Body, Pending, encoded, with_query
from tests.support.people import PASSWORD, REMEMBERED, V3, HeldSync, Person, path
from tests.support.server_process import ServerProcess
from tests.support.sync_answers import SyncAnswer

PATIENCE_S = 20.0
NOISE = ("/_matrix/client/", "background_updates", "_gc sentinel", "[sync]", "cached prev group")
"""Lines of logs that say nothing about federation."""
WIDE = {"room": {"timeline": {"limit": 300}}}
"""A filter: nothing that a test says falls out of the timeline."""


def eventually(
    condition: Callable[[], Any], *, within: float = PATIENCE_S, what: str = "", every: float = 0.05
) -> Any:
    """What the condition returns once that is true. A refusal (AssertionError) counts as not yet."""
    deadline = time.monotonic() + within
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = condition()
            if last:
                return last
        except AssertionError as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"not within {within} s: {what} {last!r}"[:3000])


class RealTime:
    """Time passes by itself."""

    def advance(self, seconds: float) -> None:
        """A turn of the server's reactor needs nobody's help."""


@dataclass
class Done:
    """The answer to a request that has been waited for."""

    answer: Answer
    is_done: bool = True


class Outside:
    """A running server, seen by its clients."""

    def __init__(self, process: ServerProcess, *, name: str = "") -> None:
        self.process = process
        self.name = name or getattr(process, "name", "")
        self.kind = getattr(process, "kind", "postroom")
        self.time = cast(FakeClock, RealTime())
        self.patience_s = 60.0
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self, method: str, path: str, body: Body = None, *, token: str | None = None, **query: Any
    ) -> Answer:
        """One request, tried again on a new connection when the old one had gone stale."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content_type = query.pop("content_type", "application/json")
        whole = with_query(path if path.startswith("/_") else V3 + path, query)
        if body is None and method in ("POST", "PUT"):
            body = {}
        data = encoded(body)
        if data:
            headers["Content-Type"] = content_type
        is_fresh = self._connection is None
        try:
            return self._exchange(method, whole, data, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.hang_up()
            if is_fresh:
                raise
            return self._exchange(method, whole, data, headers)

    def start_request(
        self, method: str, path: str, body: Body = None, *, token: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Pending:  # fmt: skip
        return cast(Pending, Done(self.request(method, path, body, token=token, **(query or {}))))

    def register(self, name: str) -> "Neighbour":
        """A new account, signed in."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        answer = self.request("POST", "/register", body)
        assert answer.status == 200, answer.json
        granted = answer.json
        return Neighbour(self, granted["user_id"], granted["device_id"], granted["access_token"])

    def hang_up(self) -> None:
        """The next request makes a new connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _exchange(self, method: str, target: str, data: bytes, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = self.process.connection(timeout_s=self.patience_s)
        try:
            self._connection.request(method, target, body=data or None, headers=headers)
            answer = self._connection.getresponse()
            names = {name.title(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.read(), names)
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise


@dataclass
class Screen:
    """What a client shows that knows only what syncs have told it."""

    timelines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    states: dict[str, dict[tuple[str, str], dict[str, Any]]] = field(default_factory=dict)
    invites: dict[str, Any] = field(default_factory=dict)
    knocks: dict[str, Any] = field(default_factory=dict)

    def take(self, synced: SyncAnswer) -> None:
        for room in (*synced.joined, *synced.left):
            events = synced.timeline(room)
            if synced.is_limited(room):
                self.timelines[room] = []
            self.timelines.setdefault(room, []).extend(events)
            self.states.setdefault(room, {}).update(synced.known_state(room))
            self.invites.pop(room, None)
            self.knocks.pop(room, None)
        for gone, come in ((self.knocks, synced.invites), (self.invites, synced.knocks)):
            for room in come:
                gone.pop(room, None)
        self.invites.update(synced.invites)
        self.knocks.update(synced.knocks)

    def ids(self, room: str) -> list[str]:
        return [event["event_id"] for event in self.timelines.get(room, ())]


@dataclass
class Neighbour(Person):
    """Somebody whose friends are on other servers."""

    screen: Screen = field(default_factory=Screen, repr=False)

    def start_sync(
        self, *, since: str | None = REMEMBERED, timeout_ms: int = 30_000, **query: Any
    ) -> HeldSync:
        """With a long timeline, unless the filter says otherwise."""
        if since is None:
            self.screen = Screen()
        query.setdefault("filter", WIDE)
        return super().start_sync(since=since, timeout_ms=timeout_ms, **query)

    def took(self, answer: Answer) -> SyncAnswer:
        synced = super().took(answer)
        self.screen.take(synced)
        return synced

    def soon(self, condition: Callable[[], Any], what: str = "", **more: Any) -> Any:
        """`eventually`, with the end of the server's log when it did not happen."""
        try:
            return eventually(condition, what=f"{self}: {what}", **more)
        except AssertionError as error:
            self._explain(error)

    def join_from(self, room: str, *servers: str, refused: str | None = None, **body: Any) -> Any:
        """Join a room of which other servers are known to be in it."""
        target = "&".join(f"server_name={name}&via={name}" for name in servers)
        answer = self.request("POST", f"{path('join', room)}?{target}".rstrip("?"), body)
        if answer.errcode != refused:
            self._explain(AssertionError(f"join {room}: {answer.status} {str(answer.json)[:500]}"))
        return answer.json

    def knock_from(self, room: str, *servers: str, **body: Any) -> Any:
        target = "&".join(f"server_name={name}&via={name}" for name in servers)
        answer = self.request("POST", f"{path('knock', room)}?{target}", body)
        assert answer.status == 200, answer.json
        return answer.json

    def reads(self, room: str, *event_ids: str, within: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Syncs bring every one of the events, each once, and in this order; the events, as they came."""
        wanted = set(event_ids)
        if not wanted <= set(self.screen.ids(room)):
            self.syncs_until(lambda _: wanted <= set(self.screen.ids(room)), within=within)
        shown = [event for event in self.screen.timelines[room] if event["event_id"] in wanted]
        assert [event["event_id"] for event in shown] == list(event_ids), "not in this order, or twice"
        return shown

    def sees_soon(self, room: str, *event_ids: str, **more: Any) -> None:
        """Every one of the events arrives here."""
        for event_id in event_ids:
            self.soon(lambda event_id=event_id: self.sees(room, event_id), f"see {event_id}", **more)

    def member(self, room: str, whom: "Person | str") -> str | None:
        """The membership that this server has for somebody."""
        answer = self.request("GET", path("rooms", room, "state", "m.room.member", str(whom)))
        return answer.json.get("membership") if answer.status == 200 else None

    def sees_member_soon(self, room: str, whom: "Person | str", membership: str, **more: Any) -> None:
        self.soon(lambda: self.member(room, whom) == membership, f"{whom} {membership}", **more)

    def invite_soon(self, room: str) -> Any:
        """An invite that syncs bring, with its stripped state."""
        return self.screen.invites.get(room) or self.syncs_until(lambda answer: answer.invites.get(room))

    def state_ids(self, room: str) -> dict[tuple[str, str], str]:
        """The current state: which event stands for each key."""
        return {key: event["event_id"] for key, event in self.state(room).items()}

    def history(self, room: str, *, most: int = 10_000) -> list[dict[str, Any]]:
        """All events of the room that paging back shows, oldest first."""
        found: list[dict[str, Any]] = []
        start: str | None = None
        while len(found) < most:
            page = self.messages(room, limit=200, **({"start": start} if start else {}))
            found += page.events
            if page.end in (None, start) or "m.room.create" in [event["type"] for event in page.events]:
                break
            start = page.end
        return found[::-1]

    def syncs_until(self, condition: Callable[[SyncAnswer], Any], *, within: float = PATIENCE_S) -> Any:
        """Sync on and on; what the condition returns for the first answer for which that is true."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if met := condition(self.sync(timeout_ms=1000)):
                return met
        self._explain(AssertionError(f"{self}: no such sync within {within} s"))
        return None

    def _explain(self, error: AssertionError) -> NoReturn:
        process = self.server.process  # type: ignore[attr-defined]
        lines = process.log_end(2000).splitlines()
        told = [line[:400] for line in lines if not any(noise in line for noise in NOISE)][-40:]
        raise AssertionError("\n".join([str(error), f"--- {process.folder.name}", *told])) from None
