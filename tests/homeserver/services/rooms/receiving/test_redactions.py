"""Redactions by other servers: whether they may, and in which order they come."""

import pytest

from tests.homeserver.services.rooms.receiving.conftest import Shared, share
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.support.federation import Federation


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
def test_ones_own_message(federation: Federation, version: str) -> None:
    shared = share(federation, room_version=version)
    said = shared.bob.send(shared.room, "oops")
    federation.settle()
    shared.alice.sync()

    shared.bob.redact(shared.room, said)
    federation.settle()

    assert federation.pdu(said, "one")["content"] == {}
    assert shared.alice.sync().timeline(shared.room)[-1]["redacts"] == said


def test_of_others_only_with_the_power(shared: Shared) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    said = shared.alice.send(room, "stays")
    federation.settle()
    redaction = made(federation, "two", room, "m.room.redaction", bob, {}, redacts=said)

    assert receive(federation, "one", room, [redaction], origin="two") == {redaction.event_id: None}

    assert federation.pdu(said, "one")["content"]["body"] == "stays"


def test_that_comes_before_what_it_redacts(shared: Shared) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    heads = federation.heads_of(room, "two")
    said = made(federation, "two", room, "m.room.message", bob, {"body": "late"}, prev=heads)
    redaction = made(federation, "two", room, "m.room.redaction", bob, {}, redacts=said.event_id, prev=heads)

    receive(federation, "one", room, [redaction], origin="two")
    receive(federation, "one", room, [said], origin="two")

    assert federation.pdu(said.event_id, "one")["content"] == {}
    shown = [event for event in shared.alice.sync().timeline(room) if event["event_id"] == said.event_id]
    assert [event["content"] for event in shown] == [{}]
