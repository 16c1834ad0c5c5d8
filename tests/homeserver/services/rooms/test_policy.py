"""Rooms that use a policy server: nothing is said there that it has not signed."""

from typing import NamedTuple

import pytest

from homeserver.protocol.signatures import SigningKey
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.support.adversary import Adversary, View
from tests.support.federation import Federation
from tests.support.people import Person
from tests.support.policy_server import POLICY, SIGN, Guard

SOFT_FAILED = 2


class Guarded(NamedTuple):
    federation: Federation
    alice: Person
    bob: Person
    room: str
    guard: Guard
    view: View

    def status(self, event_id: str, name: str = "one") -> int:
        return self.federation.events_of(self.room, name)[event_id].status


def guarded_room(federation: Federation, version: str = "12") -> Guarded:
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat", room_version=version)
    federation.join(bob, room, via="one")
    adversary = Adversary(one, POLICY)
    view = adversary.join(room)
    guard = Guard(adversary, version)
    alice.set_state(room, "m.room.policy", guard.content)
    assert guard.asked == 0
    federation.settle()
    return Guarded(federation, alice, bob, room, guard, view)


@pytest.fixture
def guarded(federation: Federation) -> Guarded:
    return guarded_room(federation)


@pytest.mark.parametrize("version", ["3", "10", "12"])
def test_what_it_signs_is_sent_with_its_signature(federation: Federation, version: str) -> None:
    guarded = guarded_room(federation, version)
    said = guarded.alice.send(guarded.room, "fine")
    federation.settle()

    for name in ("one", "two"):
        assert guarded.status(said, name) == 0
        assert set(federation.pdu(said, name)["signatures"]) == {"one", POLICY}
        federation.check_memory(guarded.room, name)
    assert guarded.guard.asked == 1


def test_what_it_refuses_is_not_sent(guarded: Guarded) -> None:
    before = guarded.federation.events_of(guarded.room, "one")
    guarded.alice.send(guarded.room, "spam", refused="M_FORBIDDEN")
    assert guarded.federation.events_of(guarded.room, "one") == before
    guarded.alice.send(guarded.room, "fine")


def test_state_and_memberships_are_asked_about_too(guarded: Guarded) -> None:
    guarded.alice.set_state(guarded.room, "m.room.topic", {"topic": "t"})
    guarded.alice.set_state(guarded.room, "m.room.policy", {}, state_key="other")
    guarded.alice.invite(guarded.room, guarded.federation.all["two"].register("carol"))
    assert guarded.guard.asked == 3


def test_when_it_cannot_be_reached_only_the_policy_can_change(guarded: Guarded) -> None:
    guarded.federation.network.down.add(POLICY)
    guarded.alice.send(guarded.room, "fine", refused="M_CONNECTION_FAILED")
    guarded.alice.set_state(guarded.room, "m.room.policy", {})
    guarded.alice.send(guarded.room, "free")


def test_a_forged_signature_is_none(guarded: Guarded) -> None:
    guarded.guard.signs_with = SigningKey("policy_server", b"x" * 32)
    guarded.alice.send(guarded.room, "fine", refused="M_FORBIDDEN")


def test_a_server_without_members_in_the_room_is_not_asked(guarded: Guarded) -> None:
    guarded.alice.kick(guarded.room, guarded.guard.server.user)
    asked = guarded.guard.asked
    guarded.alice.send(guarded.room, "spam")
    assert guarded.guard.asked == asked


@pytest.mark.parametrize(("text", "status"), [("fine", 0), ("spam", SOFT_FAILED)])
def test_a_remote_event_without_signature_is_asked_about(guarded: Guarded, text: str, status: int) -> None:
    federation, room = guarded.federation, guarded.room
    event = made(federation, "two", room, "m.room.message", guarded.bob.user_id, {"body": text})

    assert receive(federation, "one", room, [event], origin="two") == {event.event_id: None}

    assert guarded.status(event.event_id) == status
    assert (POLICY in federation.pdu(event.event_id, "one")["signatures"]) is (status == 0)
    assert guarded.guard.asked == 1
    guarded.alice.send(room, "after it")


def test_a_remote_event_with_a_forged_signature_is_asked_about(guarded: Guarded) -> None:
    federation, room = guarded.federation, guarded.room
    event = made(federation, "two", room, "m.room.message", guarded.bob.user_id, {"body": "spam"})
    guarded.guard.signs_with = SigningKey("policy_server", b"x" * 32)

    receive(federation, "one", room, [guarded.guard.signed(dict(event.pdu))], origin="two")

    assert guarded.status(event.event_id) == SOFT_FAILED
    assert guarded.guard.asked == 1


def test_a_remote_event_is_soft_failed_while_nobody_can_be_asked(guarded: Guarded) -> None:
    federation, room = guarded.federation, guarded.room
    event = made(federation, "two", room, "m.room.message", guarded.bob.user_id, {"body": "fine"})
    federation.network.down.add(POLICY)
    receive(federation, "one", room, [event], origin="two")
    assert guarded.status(event.event_id) == SOFT_FAILED


def test_events_of_the_policy_server_itself_keep_both_signatures(guarded: Guarded) -> None:
    federation, server = guarded.federation, guarded.guard.server
    server.catch_up(guarded.view)
    pdu = guarded.guard.signed(server.event(guarded.view, "rules"))
    server.send([pdu])
    event_id = guarded.view.name(pdu)
    assert guarded.status(event_id) == 0
    assert len(federation.pdu(event_id, "one")["signatures"][POLICY]) == 2
    assert guarded.guard.asked == 0


def test_a_room_that_names_us_is_one_without_a_policy_server(federation: Federation) -> None:
    """Whatever signs in our name is another program's: others ask it about our events, we cannot."""
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat")
    federation.join(bob, room, via="one")
    key = SigningKey("policy_server", b"p" * 32).verify_key.to_base64()
    alice.set_state(room, "m.room.policy", {"via": "one", "public_keys": {"ed25519": key}})
    sent = alice.send(room, "hello")
    event = made(federation, "two", room, "m.room.message", bob.user_id, {"body": "hello"})
    receive(federation, "one", room, [event], origin="two")
    assert federation.events_of(room, "one")[event.event_id].status == 0
    assert alice.sees(room, sent)


def test_we_are_no_policy_server(guarded: Guarded) -> None:
    server = guarded.guard.server
    answer = server.request("POST", SIGN, {"type": "m.room.message"})
    assert (answer.status, answer.json["errcode"]) == (404, "M_UNRECOGNIZED")
    answer = server.request("POST", SIGN, raw=b"{")
    assert (answer.status, answer.json["errcode"]) in ((400, "M_NOT_JSON"), (401, "M_UNAUTHORIZED"))
    found = guarded.federation.all["one"].request("GET", "/.well-known/matrix/policy_server")
    assert (found.status, found.json["errcode"]) == (404, "M_NOT_FOUND")
