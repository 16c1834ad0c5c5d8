"""Invites to rooms of other servers: whom they notify, and what ends them."""

from typing import Any

import pytest

from homeserver.protocol.errors import BadState
from homeserver.protocol.ids import RoomId
from homeserver.protocol.room_versions import room_version
from tests.support.adversary import Adversary, View
from tests.support.federation import Federation
from tests.support.people import Person, path
from tests.support.running import Running, result


def notified(person: Person) -> list[Any]:
    listed: list[Any] = person.ask("GET", "/notifications")["notifications"]
    return listed


def test_an_invite_from_elsewhere_notifies(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    for _ in range(2):
        (entry,) = notified(bob)
        event = entry["event"]
        assert (entry["room_id"], entry["read"], entry["actions"][0]) == (room, False, "notify")
        assert (event["room_id"], event["type"], event["state_key"]) == (room, "m.room.member", bob.user_id)
        assert (event["sender"], event["content"]["membership"]) == (alice.user_id, "invite")
        federation.all["two"].restart()
    assert entry["ts"] == event["origin_server_ts"]


def test_the_newest_invite_comes_first_among_other_notifications(
    federation: Federation, alice: Person, bob: Person
) -> None:
    dave = federation.all["two"].register("dave")
    here = dave.create_room(members=[bob])
    first, second = dave.send(here, "first"), alice.create_room()
    alice.invite(second, bob)
    dave.send(here, "last")
    kinds = [entry["event"]["content"].get("body") for entry in notified(bob)]
    assert kinds[:3] == ["last", None, "first"]
    page = bob.ask("GET", "/notifications", limit=2)
    rest = bob.ask("GET", "/notifications", **{"from": page["next_token"]})
    assert rest["notifications"][0]["event"]["event_id"] == first


@pytest.mark.parametrize("end", ["refused", "taken back", "refused alone", "accepted"])
def test_an_invite_that_has_ended_notifies_no_more(
    federation: Federation, alice: Person, bob: Person, end: str
) -> None:
    room = alice.create_room()
    alice.invite(room, bob)
    bob.sync()
    if end == "taken back":
        alice.kick(room, bob)
    elif end == "accepted":
        bob.join(room)
    else:
        if end == "refused alone":
            federation.part("one", "two")
        bob.leave(room)
    federation.settle()
    assert notified(bob) == []
    assert room not in bob.sync(since=None).invites
    federation.heal()
    if end == "accepted":
        return
    alice.invite(room, bob)
    assert len(notified(bob)) == 1


def test_an_invite_to_a_room_that_was_left(federation: Federation, alice: Person, bob: Person) -> None:
    room = alice.create_room()
    for _ in range(2):
        alice.invite(room, bob)
        assert [entry["event"]["content"]["membership"] for entry in notified(bob)] == ["invite"]
        bob.join(room)
        federation.settle()
        bob.leave(room)
        federation.settle()


def test_who_does_not_want_to_hear_of_it_does_not(federation: Federation, alice: Person, bob: Person) -> None:
    rule = "/pushrules/global/override/.m.rule.invite_for_me/enabled"
    bob.ask("PUT", rule, {"enabled": False})
    alice.invite(alice.create_room(), bob)
    bob.ask("PUT", rule, {"enabled": True})
    bob.ignore(alice)
    room = alice.create_room()
    alice.invite(room, bob)
    assert notified(bob) == []
    assert room not in bob.sync().invites


def test_an_invite_that_comes_while_somebody_joins_changes_nothing(
    federation: Federation, alice: Person, bob: Person
) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    two = federation.all["two"]
    evil = Adversary(two)
    view = View(room, room_version("11"), heads=["$elsewhere"], depth=50)
    pdu = evil.event(
        view, {"membership": "invite"}, type_="m.room.member", state_key=bob.user_id,
        auth_events=["$elsewhere"],
    )  # fmt: skip
    two.database.hold_writes()
    joining = bob.start_request("POST", path("join", room), {}, via="one")
    for _ in range(50):
        if alice.members(room).get(bob.user_id) == "join" and two.database.held:
            break
        two.database.release(1)
        federation.time.advance(0)
    taking = Running(
        two.services.rooms.receiving.accept_outside(RoomId(room), view.version, pdu, stripped=())
    )
    two.database.release()
    federation.settle(2)
    assert joining.answer.status == 200
    with pytest.raises(BadState):
        taking.result()
    assert bob.joined_rooms() == {room}
    two.restart()
    assert (bob.joined_rooms(), bob.sync(since=None).invites) == ({room}, {})


def test_an_invite_that_is_told_twice_does_not_come_back_after_it_was_refused(
    federation: Federation, alice: Person, bob: Person
) -> None:
    """A server whose first request was answered too late for it sends it again."""
    room = alice.create_room(room_version="11")
    alice.invite(room, bob)
    pdu = federation.pdu(federation.state_of(room, "one")["m.room.member", bob.user_id], "one")
    bob.leave(room)
    two = federation.all["two"].services.rooms.receiving
    result(two.accept_outside(RoomId(room), room_version("11"), pdu, stripped=()))
    assert bob.sync(since=None).invites == {}
    assert notified(bob) == []
    alice.invite(room, bob)
    assert room in bob.sync(since=None).invites
