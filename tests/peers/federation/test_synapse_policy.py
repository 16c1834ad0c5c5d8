"""Postroom and Synapse in a room that a policy server guards: neither says what it does not sign."""

from collections.abc import Iterator

import pytest

from tests.peers.federation.conftest import Start
from tests.peers.federation.guard import Guard
from tests.peers.federation.people import Outside
from tests.peers.federation.servers import Peer
from tests.peers.federation.sides import Sides, same_history, same_state

pytestmark = [pytest.mark.xdist_group("synapse people"), pytest.mark.slow]

VERSION = "11"


@pytest.fixture(scope="module")
def third(start: Start) -> Outside:
    """The Postroom behind the policy server."""
    return start("postroom", proxied=True)


@pytest.fixture(scope="module")
def guard(third: Outside) -> Iterator[Guard]:
    assert isinstance(third.process, Peer)
    made = Guard(third.process, VERSION)
    yield made
    made.stop()


def test_what_the_policy_server_refuses_is_not_said(sides: Sides, third: Outside, guard: Guard) -> None:
    anna, bela, room = sides.shared_room(room_version=VERSION)
    warden = third.register(f"warden{sides.host.kind}")
    warden.join_from(room, sides.host.name)
    for person in (anna, bela):
        person.sees_member_soon(room, warden, "join")
    policy = anna.set_state(room, "m.room.policy", guard.policy)
    bela.reads(room, policy)
    guard.asked.clear()
    said = []
    for one, other in ((anna, bela), (bela, anna)):
        said.append(one.send(room, f"fine words of {one}"))
        (event,) = other.reads(room, said[-1])
        assert event["content"]["body"] == f"fine words of {one}"
        refused = one.request("PUT", f"/rooms/{room}/send/m.room.message/{one.user_id}",
                              {"msgtype": "m.text", "body": "buy spam"})  # fmt: skip
        assert (refused.status, refused.errcode) in ((403, "M_FORBIDDEN"), (400, "M_FORBIDDEN"))
    assert {pdu["sender"] for pdu in guard.asked} == {anna.user_id, bela.user_id}
    for person in (anna, bela):
        assert not any("spam" in str(event["content"]) for event in person.history(room))
    topic = anna.set_state(room, "m.room.topic", {"topic": "guarded"})
    bela.reads(room, topic)
    same_state(room, anna, bela)


def test_the_policy_server_lets_its_own_people_speak(sides: Sides, third: Outside, guard: Guard) -> None:
    anna, bela, room = sides.shared_room(room_version=VERSION)
    warden = third.register(f"guide{sides.host.kind}")
    warden.join_from(room, sides.host.name)
    for person in (anna, bela):
        person.sees_member_soon(room, warden, "join")
    policy = anna.set_state(room, "m.room.policy", guard.policy)
    bela.reads(room, policy)
    warden.reads(room, policy)
    for one in (warden, anna, bela):
        sent = one.send(room, f"fine words of {one}")
        for other in (anna, bela, warden):
            other.reads(room, sent)
    same_history(room, anna, bela, warden)
    same_state(room, anna, bela, warden)
