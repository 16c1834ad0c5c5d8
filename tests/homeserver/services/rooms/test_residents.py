"""Joining a room of another server that does not do everything right, or not at once."""

from typing import Any

import orjson
import pytest

from homeserver.protocol.room_versions import room_version
from tests.support.adversary import V1, V2, Adversary, Pdu, View
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer

VERSIONS = ["6", "11", "12"]


class Resident:
    """A server with a public room that our users may join. `state` is what it will say that is."""

    def __init__(self, server: Adversary, version: str) -> None:
        self.server = server
        self.view = view = View(f"!lair:{server.name}", room_version(version))
        content: dict[str, Any] = {"room_version": version}
        if view.version.creator_in_content:
            content["creator"] = server.user
        create = server.event(
            view, content, type_="m.room.create", state_key="", prev_events=[], auth_events=[], depth=1
        )
        if view.version.room_id_is_create_hash:
            del create["room_id"]
            create = server.finish(view, create)
            view.room_id = "!" + view.name(create)[1:]
        view.take(create)
        self.put("m.room.member", {"membership": "join"}, state_key=server.user)
        self.put("m.room.power_levels", {} if version == "12" else {"users": {server.user: 100}})
        self.put("m.room.join_rules", {"join_rule": "public"})
        self.extra: list[Pdu] = []
        server.on(f"{V1}/make_join", self._make_join)
        server.on(f"{V2}/send_join", self._send_join)

    @property
    def room(self) -> str:
        return self.view.room_id

    def put(self, type_: str, content: dict[str, Any], *, state_key: str = "", **unlike: Any) -> Pdu:
        pdu = self.server.event(self.view, content, type_=type_, state_key=state_key)
        pdu = {**pdu, **unlike}
        self.view.take(pdu)
        return pdu

    def _template(self, user: str) -> Pdu:
        view = self.view
        pdu = self.server.event(
            view, {"membership": "join"}, type_="m.room.member", state_key=user, sender=user
        )
        if view.version.room_id_is_create_hash:
            create = view.name(view.state["m.room.create", ""])
            pdu["auth_events"] = [id_ for id_ in pdu["auth_events"] if id_ != create]
        return pdu

    def _make_join(self, request: Any) -> tuple[int, Any]:
        user = request.path.partition("?")[0].rpartition("/")[2].replace("%40", "@").replace("%3A", ":")
        return 200, {"room_version": self.view.version.version, "event": self._template(user)}

    def _send_join(self, request: Any) -> tuple[int, Any]:
        state = list(self.view.state.values())
        return 200, {
            "state": [*state, *self.extra], "auth_chain": [*state, *self.extra],
            "event": orjson.loads(request.body), "members_omitted": False,
        }  # fmt: skip


@pytest.fixture
def evil(server: WholeServer) -> Adversary:
    return Adversary(server)


def join(person: Person, room: str, *via: str) -> str | None:
    """The error code, None for success."""
    query = "&".join(f"via={name}" for name in via)
    target = f"/_matrix/client/v3/join/{room}?{query}"
    pending = person.start_request("POST", target, {})
    for _ in range(400):
        if pending.is_done:
            break
        person.server.time.advance(0.5)
    return pending.answer.errcode


SPOILT: dict[str, dict[str, Any]] = {
    "no signature": {"signatures": {}},
    "a bad signature": {"signatures": {"evil.example": {"ed25519:evil": "A" * 86}}},
    "a key that nobody has": {"signatures": {"evil.example": {"ed25519:bogus": "A" * 86}}},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("spoilt", list(SPOILT))
def test_state_that_cannot_be_verified_does_not_keep_anybody_out(
    alice: Person, evil: Adversary, version: str, spoilt: str
) -> None:
    resident = Resident(evil, version)
    resident.put("m.room.topic", {"topic": "genuine"})
    resident.put("m.room.name", {"name": "made up"}, **SPOILT[spoilt])
    assert join(alice, resident.room, evil.name) is None
    assert alice.state_of(resident.room, "m.room.topic") == {"topic": "genuine"}
    alice.state_of(resident.room, "m.room.name", refused="M_NOT_FOUND")


@pytest.mark.parametrize("version", VERSIONS)
def test_state_that_rests_on_what_cannot_be_verified(alice: Person, evil: Adversary, version: str) -> None:
    resident, carol = Resident(evil, version), f"@carol:{evil.name}"
    spoilt = evil.event(
        resident.view, {"membership": "join"}, type_="m.room.member", state_key=carol, sender=carol
    )
    spoilt = {**spoilt, "signatures": SPOILT["a bad signature"]["signatures"]}
    resident.view.take(spoilt)
    resident.extra.append(spoilt)
    left = evil.event(
        resident.view, {"membership": "leave"}, type_="m.room.member", state_key=carol, sender=carol
    )
    assert resident.view.name(spoilt) in left["auth_events"]
    resident.view.take(left)
    resident.extra.clear()
    assert join(alice, resident.room, evil.name) is None
    assert alice.members(resident.room) == {alice.user_id: "join", evil.user: "join"}


def test_a_join_rests_on_what_can_be_verified_alone(alice: Person, evil: Adversary) -> None:
    resident = Resident(evil, "11")
    resident.put("m.room.join_rules", {"join_rule": "public"}, **SPOILT["no signature"])
    assert join(alice, resident.room, evil.name) is not None
    assert alice.joined_rooms() == set()


@pytest.mark.parametrize(
    "failure", [(502, {}), (500, b"<html>"), (404, {"errcode": "M_NOT_FOUND"}), (200, [])]
)
def test_the_next_server_is_asked_whatever_is_wrong_with_the_first(
    server: WholeServer, alice: Person, evil: Adversary, failure: Any
) -> None:
    broken = Adversary(server, "broken.example", seed=b"b")
    broken.on(f"{V1}/make_join", lambda _: failure)
    resident = Resident(evil, "12")
    assert join(alice, resident.room, broken.name, evil.name) is None
    assert broken.asked


def test_what_fails_after_the_template_is_tried_elsewhere_too(
    server: WholeServer, alice: Person, evil: Adversary
) -> None:
    resident = Resident(evil, "12")
    broken = Adversary(server, "broken.example", seed=b"b")
    broken.on(f"{V1}/make_join", resident._make_join)
    broken.on(f"{V2}/send_join", lambda _: (200, {"state": [], "auth_chain": []}))
    assert join(alice, resident.room, broken.name, evil.name) is None
    alice.send(resident.room)


def test_servers_that_are_likely_up_are_asked_first_and_the_others_after_all(
    server: WholeServer, alice: Person, evil: Adversary
) -> None:
    """Somebody who asks now does not care that a server was away an hour ago."""
    down = Adversary(server, "down.example", seed=b"d")
    resident, other = Resident(evil, "12"), Resident(down, "12")
    server.network.down.add(down.name)
    assert join(alice, other.room, down.name) == "M_NOT_FOUND"
    server.network.heal()
    down.asked.clear()
    assert join(alice, resident.room, down.name, evil.name) is None
    assert down.asked == []
    assert join(alice, other.room, down.name) is None


def test_a_server_that_says_nothing_is_not_waited_for_long(
    server: WholeServer, alice: Person, evil: Adversary
) -> None:
    resident = Resident(evil, "12")
    for name in ("silent.example", "mute.example"):
        Adversary(server, name, seed=name[:1].encode())
        server.network.silent.add(name)
    began = server.time.now_ms()
    assert join(alice, resident.room, "silent.example", "mute.example", evil.name) is None
    assert server.time.now_ms() - began <= 45_000


def test_the_most_telling_refusal_is_told(server: WholeServer, alice: Person, evil: Adversary) -> None:
    for name, status, body in (
        ("a.example", 404, {"errcode": "M_NOT_FOUND", "error": "never heard of it"}),
        ("b.example", 403, {"errcode": "M_FORBIDDEN", "error": "You are not invited"}),
        ("c.example", 500, {}),
    ):
        other = Adversary(server, name, seed=name[:1].encode())
        other.on(f"{V1}/make_join", lambda _, status=status, body=body: (status, body))
    room = "!somewhere:a.example"
    answer = alice.request("POST", f"/_matrix/client/v3/join/{room}?via=c.example&via=b.example", {})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert "not invited" in answer.json["error"]
    answer = alice.request("POST", path("join", room), {})
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    answer = alice.request("POST", path("join", "!somewhere:gone.example"), {})
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    assert "gone.example" in answer.json["error"]
