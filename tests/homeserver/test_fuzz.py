"""Bad input of every kind: never a 500, never a traceback, always an error of the specification's form.

A failure names the request; the same seed makes the same requests.
"""

import http.client
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred

from homeserver.api.admin.routes import ROUTES as ADMIN_ROUTES
from homeserver.api.client.routes import ROUTES as CLIENT_ROUTES
from homeserver.protocol.ids import UserId
from homeserver.runtime.migrations import DialectName
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.http import Answer, Body, Pending, encoded, request_of, start, with_query
from tests.support.odd_requests import OddRequest, OddRequests, World
from tests.support.people import PASSWORD, V3, Person
from tests.support.pictures import picture
from tests.support.running import result
from tests.support.server_process import ServerProcess
from tests.support.whole_server import QUIET, WholeServer

ROUTES = (*CLIENT_ROUTES, *ADMIN_ROUTES)
SETTINGS = QUIET.replace("guests: true", "guests: true, shared_secret: tell nobody about this").replace(
    "presence: {enabled: false}", "presence: {enabled: true}\nfederation: {enabled: false}"
)
IN_MEMORY: dict[DialectName, int] = {"sqlite": 25_000, "postgresql": 5_000}
OVER_SOCKETS = 2_500
WORLD_LASTS = 250
SENDABLE = re.compile("[!-~][ -~]*")
"""What can stand in a head; what cannot is for the tests of HTTP."""


def check(request: OddRequest, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """The answer is one that the specification knows."""
    said = f"{request.method} {request.target[:500]} {request.body[:500]!r} -> {status} {body[:500]!r}"
    assert status in (200, 204, 307, 308, *range(400, 430), 431, 501, 504), said
    assert b"Traceback" not in body, said
    assert b"Internal server error" not in body, said
    kind = headers.get("content-type", "")
    if request.method == "HEAD" and not body:
        return
    if status >= 400:
        assert kind.startswith("application/json"), said
        json = orjson.loads(body)
        if status == 401 and "flows" in json:
            assert {"session", "params"} <= set(json), said
        else:
            assert json["errcode"].startswith(("M_", "ORG.")), said
            assert isinstance(json["error"], str), said
    elif kind.startswith("application/json") and status == 200:
        orjson.loads(body)


def make_world(people: list[Person]) -> World:
    """Rooms of every kind, and things in them."""
    alice, bob, carol = people[:3]
    visible = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    rooms = [
        alice.create_room(members=[bob], name="Den", preset="public_chat"),
        bob.create_room(invite=[alice.user_id]),
        carol.create_room(),
        carol.create_room(initial_state=[visible], room_version="1"),
        alice.create_room(members=[bob, carol], room_version="10"),
    ]
    events = [alice.send(rooms[0]), bob.send(rooms[0]), carol.send(rooms[2]), alice.send(rooms[4], "x")]
    alice.reply_in_thread(rooms[0], events[0], "reply")
    events.append(alice.react(rooms[0], events[1]))
    alias = f"#den{rooms[0][1:6]}:test"
    alice.request("POST", f"/user/{alice.user_id}/filter", {"room": {"timeline": {"limit": 5}}})
    alice.request("PUT", f"/directory/room/%23{alias[1:]}", {"room_id": rooms[0]})
    uploaded = alice.request("POST", "/_matrix/media/v3/upload", picture(64, 64)).json["content_uri"]
    synced = alice.sync(since=None)
    return World(
        tokens=[person.token for person in people],
        users=[*(person.user_id for person in people), "@nobody:test", "@far:elsewhere.example"],
        rooms=[*rooms, rooms[0], "!nowhere:test", "!nowhere"],
        events=[*events, "$nothing", "$nothing:test"],
        aliases=[alias, "#nowhere:test", "#den:elsewhere.example"],
        media=[uploaded.rpartition("/")[2], "nothing"],
        devices=[person.device_id for person in people] + ["x"],
        positions=[synced.next_batch, synced.prev_batch(rooms[0]), "s0", "s1", "t1-1", "t999999999-5"],
    )


class Fuzzed:
    """A server under fuzz, its people made anew from time to time: requests may log them out."""

    def __init__(self, server: WholeServer) -> None:
        self.server = server
        self.answers: Counter[tuple[str, int]] = Counter()
        self._generation = 0
        self._names: list[str] = []
        self.root = self.administrator("root")

    def people(self) -> list[Person]:
        self._generation += 1
        self._names = [f"{name}{self._generation}" for name in ("alice", "bob", "carol")]
        first, *others = self._names
        people = [self.administrator(first), *map(self.server.register, others)]
        return [*people, self.server.register_guest()]

    def administrator(self, name: str) -> Person:
        person = self.server.register(name)
        result(self.server.services.accounts.moderation.make_admin(UserId(person.user_id), is_admin=True))
        return person

    def run(self, count: int, seed: int) -> None:
        for start_at in range(0, count, WORLD_LASTS):
            people = self.people()
            world = make_world(people)
            requests = OddRequests(ROUTES, world, seed + start_at)
            for _ in range(min(WORLD_LASTS, count - start_at)):
                self.send(requests.make())
                world.tokens[:] = [self.still_signed_in(person).token for person in people]
            self.server.time.advance(30)

    def still_signed_in(self, person: Person) -> Person:
        """Who was logged out logs in again; whom an administrator locked out is let in."""
        if self.server.request("GET", "/account/whoami", token=person.token).status != 200:
            self.let_in(person)
            name = person.user_id[1:].partition(":")[0]
            again = self.server.log_in(name) if name in self._names else self.server.register_guest()
            person.token, person.device_id = again.token, again.device_id
        return person

    def let_in(self, person: Person) -> None:
        for what, body in (("lock", {"locked": False}), ("suspend", {"suspended": False})):
            self.root.request("PUT", f"/_matrix/client/v1/admin/{what}/{person.user_id}", body)

    def send(self, request: OddRequest) -> None:
        pending = start(self.server.router, request.method, request.target, request.headers, request.body)
        if not pending.is_done:
            self.server.time.advance(0.01)
        if not pending.is_done:  # a sync that waits, media that is still to come
            assert request.route.long_poll or "media" in request.route.path, request
            pending.disconnect()
            return
        answer = pending.answer
        headers = {name.lower(): value for name, value in answer.headers.items()}
        check(request, answer.status, answer.body, headers)
        self.answers[request.route.path, answer.status] += 1


@pytest.fixture
def fuzzed(databases: Databases, dialect: DialectName, time: FakeClock, tmp_path: Path) -> Iterator[Fuzzed]:
    server = WholeServer(databases.fresh(dialect), time, settings=SETTINGS, folder=tmp_path)
    yield Fuzzed(server)
    server.stop()


@pytest.mark.slow
def test_every_route_bears_every_input(
    fuzzed: Fuzzed, dialect: DialectName, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fuzzed.run(IN_MEMORY[dialect], seed=1)
    assert [record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= 40] == []
    answered = {path for path, _ in fuzzed.answers}
    assert {route.path for route in ROUTES} - answered == set()
    fine = {path for path, status in fuzzed.answers if status == 200}
    assert len(fine) > 0.7 * len(answered), "Hardly any request got through: the fuzz has lost its bite"


class RemoteServer:
    """A server behind one kept connection, as people use one."""

    time = FakeClock()

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self._connection.request(method, target, body or None, dict(headers))
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.read(), {n.lower(): v for n, v in answer.getheaders()})

    def request(
        self, method: str, path: str, body: Body = None, *, token: str | None = None, **query: Any
    ) -> Answer:
        target = with_query(path if path.startswith("/_") else V3 + path, query)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.exchange(method, target, headers, encoded({} if body is None else body))

    def start_request(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        token: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Pending:
        pending = Pending(request_of(method, path), Deferred())
        pending.outcome.append(self.request(method, path, body, token=token, **(query or {})))
        return pending

    def register(self, name: str) -> Person:
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        granted = self.request("POST", "/register", body).json
        return Person(self, granted["user_id"], granted["device_id"], granted["access_token"])


class Alone(ServerProcess):
    """A server that asks no other one anything."""

    def config_text(self) -> str:
        return super().config_text() + "federation: {enabled: false}\n"


@pytest.mark.slow
def test_a_running_server_bears_every_input(tmp_path: Path) -> None:
    process = Alone(tmp_path)
    process.start()
    try:
        server = RemoteServer(process.port)
        world = make_world([server.register(name) for name in ("alice", "bob", "carol")])
        requests = OddRequests([route for route in ROUTES if not route.long_poll], world, seed=2)
        for _ in range(OVER_SOCKETS):
            request = requests.make()
            parts = [request.target, *request.headers.values()]
            if (
                " " in request.target
                or not all(SENDABLE.fullmatch(part) for part in parts)
                or "timeout_ms" in request.target
            ):
                continue
            answer = server.exchange(request.method, request.target, request.headers, request.body)
            check(request, answer.status, answer.body, answer.headers)
        assert process.is_running
        assert process.tracebacks() == ""
    finally:
        process.end()
