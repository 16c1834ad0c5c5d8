"""Whoever asks too often is told so, on every route that names a limit, and when to come back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeserver.api.client.routes import ROUTES
from homeserver.http.routing import Auth, Route
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.http import Answer
from tests.support.people import PASSWORD, V3, Person
from tests.support.whole_server import QUIET, WholeServer, limiting

LIMITED = [route for route in ROUTES if route.limited is not None]
GOOD = {
    "roomId": "!room:test",
    "roomIdOrAlias": "!room:test",
    "roomAlias": "#alias:test",
    "eventId": "$event",
    "userId": "@alice:test",
    "deviceId": "DEVICE",
    "serverName": "test",
    "mediaId": "media",
}
ELSEWHERE = "9.9.9.9"


class Strict:
    """A server on which one thing may be done twice, and then once in ten seconds."""

    def __init__(self, server: WholeServer, route: Route) -> None:
        self.server = server
        self.route = route
        self.path = re.sub(r"\{(\w+)\}", lambda match: GOOD.get(match[1], "x"), route.path)

    def ask(self, person: Person | None, ip: str = ELSEWHERE) -> Answer:
        token = person.token if person and self.route.auth is not Auth.NONE else None
        return self.server.start_request(self.route.method, self.path, token=token, ip=ip).answer


@pytest.fixture(params=LIMITED, ids=lambda route: f"{route.method} {route.path}")
def strict(
    request: pytest.FixtureRequest, databases: Databases, time: FakeClock, tmp_path: Path
) -> Iterator[Strict]:
    route: Route = request.param
    settings = limiting(str(route.limited), burst=2)
    server = WholeServer(databases.fresh("sqlite"), time, settings=settings, folder=tmp_path)
    yield Strict(server, route)
    server.stop()


def test_a_route_with_a_limit_has_it(strict: Strict, time: FakeClock) -> None:
    alice = strict.server.register("alice")
    strict.server.time.advance(100)
    assert 429 not in [strict.ask(alice).status for _ in range(2)]

    refused = strict.ask(alice)
    assert (refused.status, refused.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert 9_000 < refused.json["retry_after_ms"] <= 10_001
    assert refused.headers["Retry-After"] in ("10", "11")

    time.advance(refused.json["retry_after_ms"] / 1000)
    assert strict.ask(alice).status != 429


@pytest.mark.parametrize("settings", [limiting("invites", burst=2)], ids=["two"])
def test_a_new_room_invites_no_more_people_elsewhere_than_invites_would(
    server: WholeServer, alice: Person
) -> None:
    friends = [server.register(f"friend{number}").user_id for number in range(3)]
    strangers = [f"@stranger{number}:else.example" for number in range(3)]
    alice.ask("POST", "/createRoom", {"invite": strangers}, refused="M_LIMIT_EXCEEDED")
    assert (server.network.sent, alice.joined_rooms()) == ([], set())
    alice.ask("POST", "/createRoom", {"invite": [*friends, *strangers[:2]]})
    alice.ask("POST", "/createRoom", {"invite": strangers[:1]}, refused="M_LIMIT_EXCEEDED")


def test_others_are_not_kept_waiting(strict: Strict) -> None:
    alice = strict.server.register("alice")
    strict.server.time.advance(100)
    bob = strict.server.register("bob")
    strict.server.time.advance(100)
    assert 429 in [strict.ask(alice).status for _ in range(3)]

    assert strict.ask(bob, ip="8.8.8.8").status != 429


class TestLogins:
    """Guesses are counted by account and address, registrations by address, IPv6 by network."""

    @pytest.fixture
    def settings(self) -> str:
        return QUIET.replace("rate_limits: {enabled: false}", "rate_limits: {}")

    def guess(self, server: WholeServer, ip: str, password: str = "wrong") -> Answer:
        identifier = {"type": "m.id.user", "user": "alice"}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        return server.start_request("POST", f"{V3}/login", body, ip=ip).answer

    def test_guesses_at_a_password_are_few_from_one_place(self, server: WholeServer) -> None:
        server.register("alice")
        answers = [self.guess(server, "1.1.1.1").status for _ in range(8)]
        assert answers[:5] == [403] * 5
        assert answers[5:] == [429] * 3

    def test_guessing_locks_nobody_else_out(self, server: WholeServer) -> None:
        server.register("alice")
        while self.guess(server, "1.1.1.1").status != 429:
            pass
        assert self.guess(server, "1.1.1.1", PASSWORD).status == 429
        assert self.guess(server, "2.2.2.2", PASSWORD).status == 200

    def test_accounts_of_one_ipv6_network_are_few(self, server: WholeServer) -> None:
        answers = []
        for number in range(12):
            body = {"username": f"u{number}", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            answers.append(
                server.start_request("POST", f"{V3}/register", body, ip=f"2001:db8::{number + 1:x}").answer
            )
        assert [answer.status for answer in answers][:5] == [200] * 5
        assert {answer.status for answer in answers[5:]} == {429}
