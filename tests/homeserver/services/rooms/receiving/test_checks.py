"""The checks on receipt of an event, in the specification's order."""

import pytest

from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import BadPdu, Event
from homeserver.protocol.signatures import BadSignature, SigningKey, sign_event
from homeserver.services.rooms.receiving import NotInRoomHere
from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive

ACCEPTED, REJECTED, SOFT_FAILED = 0, 1, 2


def message(shared: Shared, body: str = "hello", **how) -> Event:
    content = {"msgtype": "m.text", "body": body}
    return made(shared.federation, "two", shared.room, "m.room.message", shared.bob.user_id, content, **how)


def status(shared: Shared, event: Event) -> int | None:
    kept = shared.federation.events_of(shared.room, "one").get(event.event_id)
    return None if kept is None else kept.status


def test_a_good_event_is_accepted_once(shared: Shared) -> None:
    event = message(shared)

    for _ in range(2):
        assert receive(shared.federation, "one", shared.room, [event, event], origin="two") == {
            event.event_id: None
        }

    assert shared.alice.sync().texts(shared.room) == ["hello"]


def test_an_event_without_form_harms_no_other(shared: Shared) -> None:
    good, bad = message(shared), dict(message(shared, "bad").pdu)
    del bad["depth"]

    outcome = receive(shared.federation, "one", shared.room, [bad, {}, good], origin="two")

    assert outcome[good.event_id] is None
    assert {type(error) for error in outcome.values() if error} == {BadPdu}


@pytest.mark.parametrize("count", [21])
def test_too_many_prev_events_are_no_event(shared: Shared, count: int) -> None:
    event = message(shared, prev=[f"$missing{number}" for number in range(count)])

    assert isinstance(
        receive(shared.federation, "one", shared.room, [event], origin="two")[event.event_id], BadPdu
    )
    assert status(shared, event) is None


def test_an_event_of_another_room_is_refused(shared: Shared) -> None:
    other = shared.bob.create_room(preset="public_chat")
    event = made(shared.federation, "two", other, "m.room.message", shared.bob.user_id, {"body": "x"})

    assert isinstance(
        receive(shared.federation, "one", shared.room, [event], origin="two")[event.event_id], BadPdu
    )


def test_a_forged_signature_is_refused(shared: Shared) -> None:
    event = message(shared)
    pdu = {**event.pdu, "signatures": {}}
    forged = sign_event(event.version, pdu, "two", SigningKey("a_forged", b"\1" * 32))

    outcome = receive(shared.federation, "one", shared.room, [forged], origin="two")[event.event_id]

    assert outcome is not None
    assert isinstance(outcome, BadSignature) or outcome.status == 503
    assert status(shared, event) is None


def test_altered_content_is_kept_redacted(shared: Shared) -> None:
    event = message(shared, "the original")
    altered = {**event.pdu, "content": {**event.content, "body": "altered"}}

    assert receive(shared.federation, "one", shared.room, [altered], origin="two") == {event.event_id: None}

    assert shared.federation.pdu(event.event_id, "one")["content"] == {}
    assert shared.alice.sync().timeline(shared.room)[-1]["content"] == {}


def test_the_wrong_auth_events_reject_it(shared: Shared) -> None:
    event = message(shared, auth=[("m.room.power_levels", ""), ("m.room.member", shared.alice.user_id)])

    outcome = receive(shared.federation, "one", shared.room, [event], origin="two")[event.event_id]

    assert isinstance(outcome, AuthFailure)
    assert status(shared, event) == REJECTED
    assert shared.federation.heads_of(shared.room, "one") != [event.event_id]


def test_what_the_state_before_it_forbids_is_rejected_and_never_seen(shared: Shared) -> None:
    room, federation = shared.room, shared.federation
    bob = shared.bob.user_id
    event = made(federation, "two", room, "m.room.name", bob, {"name": "Bob's"}, state_key="")

    outcome = receive(federation, "one", room, [event], origin="two")[event.event_id]

    assert isinstance(outcome, AuthFailure)
    assert status(shared, event) == REJECTED
    assert ("m.room.name", "") not in federation.state_of(room, "one")
    assert event.event_id not in shared.alice.sync().ids(room)
    again = receive(federation, "one", room, [event], origin="two")[event.event_id]
    assert isinstance(again, AuthFailure)


def test_what_follows_a_rejected_event_is_judged_without_it(shared: Shared) -> None:
    room, federation, bob = shared.room, shared.federation, shared.bob.user_id
    power = {"users": {shared.alice.user_id: 100, bob: 100}}
    grab = made(federation, "two", room, "m.room.power_levels", bob, power, state_key="")
    after = message(shared, "after", prev=[grab.event_id])

    outcome = receive(federation, "one", room, [grab, after], origin="two")

    assert isinstance(outcome[grab.event_id], AuthFailure)
    assert outcome[after.event_id] is None
    assert federation.state_of(room, "one") == federation.state_of(room, "two")
    assert shared.alice.sync().texts(room) == ["after"]


def test_an_event_from_before_a_ban_is_soft_failed(shared: Shared) -> None:
    room, federation = shared.room, shared.federation
    heads = federation.heads_of(room, "two")
    federation.part("one", "two")
    shared.alice.ban(room, shared.bob)
    late = message(shared, "I was never banned", prev=heads)

    assert receive(federation, "one", room, [late], origin="two") == {late.event_id: None}

    assert status(shared, late) == SOFT_FAILED
    assert federation.heads_of(room, "one") != [late.event_id]
    assert len(federation.heads_of(room, "one")) == 1
    assert "I was never banned" not in shared.alice.sync().texts(room)
    answer = shared.alice.request("GET", f"/rooms/{room}/event/{late.event_id}")
    assert answer.status == 404


def test_a_room_we_are_not_in_takes_nothing(shared: Shared) -> None:
    other = shared.bob.create_room(preset="public_chat")
    event = made(shared.federation, "two", other, "m.room.message", shared.bob.user_id, {"body": "x"})
    with pytest.raises(NotInRoomHere):
        receive(shared.federation, "one", other, [event], origin="two")


def test_state_from_another_server_moves_the_room(shared: Shared) -> None:
    room, federation = shared.room, shared.federation
    shared.alice.sync()
    shared.alice.set_state(room, "m.room.power_levels", {"users": {shared.bob.user_id: 60}})
    federation.settle()
    topic = made(
        federation, "two", room, "m.room.topic", shared.bob.user_id, {"topic": "Bob's"}, state_key=""
    )

    assert receive(federation, "one", room, [topic], origin="two") == {topic.event_id: None}

    assert shared.alice.state_of(room, "m.room.topic")["topic"] == "Bob's"
    assert shared.alice.sync().ids(room)[-1] == topic.event_id
    federation.check_memory(room, "one")


def test_an_event_that_follows_nothing_is_refused(shared: Shared) -> None:
    event = message(shared, prev=[])
    outcome = receive(shared.federation, "one", shared.room, [event], origin="two")[event.event_id]
    assert isinstance(outcome, BadPdu)
    assert status(shared, event) is None


def test_the_greatest_depth_does_not_stop_the_room(shared: Shared) -> None:
    deepest = message(shared, "from the bottom", depth=2**53 - 1)
    assert receive(shared.federation, "one", shared.room, [deepest], origin="two") == {deepest.event_id: None}

    said = shared.alice.send(shared.room, "below it")
    shared.federation.settle()

    assert shared.federation.pdu(said, "one")["depth"] == 2**53 - 1
    assert shared.bob.sync().texts(shared.room)[-1] == "below it"
    shared.alice.send(shared.room, "and below that")
    assert shared.alice.messages(shared.room, limit=3).texts == [
        "and below that",
        "below it",
        "from the bottom",
    ]
