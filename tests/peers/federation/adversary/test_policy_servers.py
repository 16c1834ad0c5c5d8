"""Rooms with a policy server, when it, or somebody beside it, is hostile.

https://spec.matrix.org/latest/server-server-api/#policy-servers
"""

from typing import Any

import orjson
import pytest

from homeserver.protocol.signatures import SigningKey
from tests.peers.federation.adversary.hostile import is_hidden
from tests.support.adversary import V2, Adversary, View, event_path
from tests.support.people import Person
from tests.support.policy_server import POLICY, Guard
from tests.support.whole_server import WholeServer


@pytest.fixture
def guard(server: WholeServer, alice: Person, room: str, view: View) -> Guard:
    """The room's policy server: a server of its own, with a member in the room. Mallory was there before."""
    policy = Adversary(server, POLICY, seed=b"p")
    policy.join(room)
    guard = Guard(policy, "11")
    alice.set_state(room, "m.room.policy", guard.content)
    return guard


def other(pdu: Any) -> Any:
    return {**pdu, "origin_server_ts": pdu["origin_server_ts"] + 1}


LIES: dict[str, Any] = {
    "nothing": lambda guard, pdu: {},
    "another event": lambda guard, pdu: guard.signature(other(pdu)),
    "under another name": lambda guard, pdu: {"evil.example": guard.signature(pdu)[POLICY]},
    "with another key's name": lambda guard, pdu: {
        POLICY: {"ed25519:policy": guard.signature(pdu)[POLICY]["ed25519:policy_server"]}
    },
    "garbage": lambda guard, pdu: {POLICY: {"ed25519:policy_server": "A" * 86}},
    "numbers": lambda guard, pdu: {POLICY: {"ed25519:policy_server": 5}},
    "a list": lambda guard, pdu: {POLICY: [guard.signature(pdu)]},
    "the whole event": lambda guard, pdu: guard.signed(pdu),
    "no object": lambda guard, pdu: [],
    "no JSON": lambda guard, pdu: b"<html>",
    "too much": lambda guard, pdu: {POLICY: {"ed25519:policy_server": "A" * 1_000_000}},
    "its published key": lambda guard, pdu: {POLICY: {guard.server.key.key_id: "A" * 86}},
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_no_signature(
    alice: Person, room: str, view: View, mallory: Adversary, guard: Guard, lie: str
) -> None:
    """Neither do our events go out, nor others' come in; nothing fails but that."""
    guard.answer = lambda request: (200, LIES[lie](guard, orjson.loads(request.body or b"")))
    answer = alice.request(
        "PUT", f"/rooms/{room}/send/m.room.message/lie", {"msgtype": "m.text", "body": "x"}
    )
    assert answer.status in (403, 502), answer.json
    mallory.catch_up(view)
    theirs = mallory.event(view, "theirs")
    mallory.send([theirs])
    mallory.settle(5)
    assert is_hidden(alice, room, view, theirs)
    assert alice.sync(since=None).next_batch


@pytest.mark.parametrize(
    ("status", "errcode"),
    [(400, "M_FORBIDDEN"), (401, "M_UNKNOWN_TOKEN"), (404, "M_UNRECOGNIZED"), (500, "M_X")],
)
def test_errors_that_are_meant_for_somebody_else(
    alice: Person, room: str, guard: Guard, status: int, errcode: str
) -> None:
    """What it says reaches the client; that it could end the client's session does not."""
    body = {"errcode": errcode, "error": "x" * 100_000, "soft_logout": True}
    guard.answer = lambda _: (status, body)
    answer = alice.request("PUT", f"/rooms/{room}/send/m.room.message/e", {"msgtype": "m.text", "body": "x"})
    assert answer.status in (403, 502)
    assert answer.errcode in ("M_FORBIDDEN", "M_UNKNOWN", "M_CONNECTION_FAILED")
    assert "soft_logout" not in answer.json
    assert len(answer.body) < 10_000
    assert alice.sync(since=None).next_batch


def test_a_server_that_claims_to_have_been_recommended(
    alice: Person, room: str, view: View, mallory: Adversary, guard: Guard
) -> None:
    """By a key of its own, or by the signature of another event."""
    mallory.catch_up(view)
    good = mallory.event(view, "good")
    spam = mallory.event(view, "spam")
    forger = Guard(Adversary(mallory.victim, "forger.example"), "11")
    forger.signs_with = SigningKey("policy_server", b"f" * 32)
    borrowed = guard.signature(good)
    for signature in ({POLICY: forger.signature(spam)["forger.example"]}, borrowed):
        pdu = {**spam, "signatures": {**spam["signatures"], **signature}}
        mallory.send([pdu])
        mallory.settle(5)
    assert is_hidden(alice, room, view, spam)
    mallory.send([{**good, "signatures": {**good["signatures"], **borrowed}}])
    assert alice.sees(room, view.name(good))


def test_who_is_hostile_names_a_policy_server_elsewhere(
    server: WholeServer, alice: Person, room: str, view: View, mallory: Adversary, guard: Guard
) -> None:
    """Only who may change the state of a room chooses its policy server, and that has to be in the room."""
    mallory.catch_up(view)
    mine = {**guard.content, "via": mallory.name}
    takeover = mallory.event(view, mine, type_="m.room.policy", state_key="")
    mallory.send([takeover])
    assert is_hidden(alice, room, view, takeover)
    other_room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(other_room, "m.room.policy", guard.content)  # which has nobody there
    asked = guard.asked
    alice.send(other_room, "spam")
    assert guard.asked == asked


@pytest.mark.parametrize(
    "content",
    [
        {}, {"via": POLICY}, {"via": POLICY, "public_keys": []},
        {"via": POLICY, "public_keys": {"ed25519": 5}},
        {"via": 5, "public_keys": {"ed25519": "A" * 43}}, {"via": "", "public_keys": {"ed25519": "A" * 43}},
        {"via": "../..", "public_keys": {"ed25519": "A" * 43}},
        {"via": "elsewhere.example", "public_keys": {"ed25519": "A" * 43}},
    ],
)  # fmt: skip
def test_policies_that_are_none(alice: Person, room: str, guard: Guard, content: dict[str, Any]) -> None:
    alice.set_state(room, "m.room.policy", content)
    asked = guard.asked
    alice.send(room, "spam")
    assert guard.asked == asked


@pytest.mark.parametrize("key", ["A" * 43, "not base64!", "AAAA", ""])
def test_keys_that_are_none(alice: Person, room: str, guard: Guard, key: str) -> None:
    """The room uses a policy server that cannot sign: then nothing is signed, as long as that stands."""
    alice.set_state(room, "m.room.policy", {**guard.content, "public_keys": {"ed25519": key}})
    alice.send(room, "fine", refused="M_FORBIDDEN")
    alice.set_state(room, "m.room.policy", {})
    alice.send(room, "fine")


def test_nobody_is_held_in_a_room(alice: Person, bob: Person, room: str, guard: Guard) -> None:
    """A policy server that is hostile, or gone, keeps nobody from leaving."""
    bob.join(room)
    guard.answer = lambda _: (400, {"errcode": "M_FORBIDDEN", "error": "Stay"})
    bob.send(room, "let me out", refused="M_FORBIDDEN")
    alice.request("POST", f"/rooms/{room}/kick", {"user_id": bob.user_id})
    assert room in bob.joined_rooms()  # that is not leaving
    bob.leave(room)
    assert room not in bob.joined_rooms()
    guard.server.victim.network.down.add(POLICY)
    alice.leave(room)
    assert room not in alice.joined_rooms()


def test_a_join_that_it_refuses(alice: Person, room: str, third: Adversary, guard: Guard) -> None:
    guard.answer = lambda _: (400, {"errcode": "M_FORBIDDEN", "error": "Not you"})
    target = f"/_matrix/federation/v1/make_join{event_path(room, third.user)}?ver=11"
    template = third.request("GET", target).json
    view = View(room, guard.version)
    pdu = third.finish(view, template["event"])
    answer = third.request("PUT", f"{V2}/send_join{event_path(room, view.name(pdu))}", pdu)
    assert answer.status == 403, answer.json
    assert third.user not in str(alice.state(room).keys())


def test_an_event_that_fits_only_without_the_signature(
    alice: Person, room: str, view: View, mallory: Adversary, guard: Guard
) -> None:
    """It is recommended, and stays as others know it: no larger than an event may be."""
    mallory.catch_up(view)
    size = len(orjson.dumps(mallory.event(view, "")))
    full = mallory.event(view, "x" * (65_536 - size))
    assert 65_500 < len(orjson.dumps(full)) <= 65_536
    mallory.send([full])
    mallory.settle(5)
    assert alice.sees(room, view.name(full))
    answer = mallory.request("GET", f"/_matrix/federation/v1/event/{view.name(full)}")
    assert len(orjson.dumps(answer.json["pdus"][0])) <= 65_536


def test_the_policy_server_as_a_participant(alice: Person, room: str, guard: Guard) -> None:
    """Its own members' events need its recommendation, too, and its own events are no recommendation."""
    server = guard.server
    view = View(room, guard.version)
    head = alice.send(room, "fine")
    answer = server.request("GET", f"/_matrix/federation/v1/state/{room}?event_id={head}")
    view.state = {(pdu["type"], pdu["state_key"]): pdu for pdu in answer.json["pdus"]}
    view.heads = [head]
    fine, spam = server.event(view, "fine"), server.event(view, "spam")
    for pdu in (fine, spam):
        server.send([pdu])
        server.settle(5)
    assert alice.sees(room, view.name(fine))
    assert is_hidden(alice, room, view, spam)


def test_one_that_was_away_is_asked_as_soon_as_somebody_speaks(
    alice: Person, room: str, guard: Guard
) -> None:
    """However long it was away: without it nobody can say anything there."""
    down = guard.server.victim.network.down
    down.add(POLICY)
    for _ in range(5):
        alice.send(room, "fine", refused="M_CONNECTION_FAILED")
        guard.server.settle(3600)
    down.clear()
    alice.send(room, "fine")
