"""The end of an invite, told by another server to one that is not in the room: what is believed of whom."""

from typing import Any

import pytest

from homeserver.protocol.hashes import content_hash
from homeserver.protocol.room_versions import room_version
from tests.support.adversary import V1, V2, Adversary, Pdu, View, event_path
from tests.support.people import Person
from tests.support.whole_server import WholeServer

NOT_HERE = "Nobody of this server is in"


@pytest.fixture
def evil(server: WholeServer) -> Adversary:
    return Adversary(server)


@pytest.fixture
def third(server: WholeServer) -> Adversary:
    return Adversary(server, "third.example", seed=b"3")


def invited(evil: Adversary, alice: Person, version: str = "11", **unlike: Any) -> View:
    """A room of the adversary's to which they have invited Alice."""
    view = View(f"!room{version}:{evil.name}", room_version(version))
    view.heads, view.depth = ["$create"], 5
    described = [
        {"type": "m.room.create", "state_key": "", "sender": evil.user, "content": {}},
        {"type": "m.room.name", "state_key": "", "sender": "@mod:third.example", "content": {"name": "Den"}},
    ]
    pdu = evil.event(
        view, {"membership": "invite"}, type_="m.room.member", state_key=alice.user_id,
        auth_events=["$create"], **unlike,
    )  # fmt: skip
    answer = evil.request(
        "PUT", f"{V2}/invite{event_path(view.room_id, view.name(pdu))}",
        {"room_version": version, "event": pdu, "invite_room_state": described},
    )  # fmt: skip
    assert answer.status == 200, answer.json
    view.take(pdu)
    assert view.room_id in alice.sync().invites
    return view


def ending(server: Adversary, view: View, alice: Person, membership: str = "leave", **unlike: Any) -> Pdu:
    """Somebody of the server turns Alice away."""
    return server.event(
        view, {"membership": membership}, type_="m.room.member", state_key=alice.user_id,
        auth_events=["$create"], **unlike,
    )  # fmt: skip


def is_invited(alice: Person, view: View) -> bool:
    return view.room_id in alice.sync(since=None).invites


def answer_to(server: Adversary, view: View, pdu: Pdu) -> dict[str, Any]:
    """What the transaction is answered for the one event in it."""
    answer = server.send([pdu])
    assert answer.status == 200, answer.json
    (result,) = answer.json["pdus"].values()
    outcome: dict[str, Any] = result
    return outcome


@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_an_invite_ends_by_the_word_of_who_invited(alice: Person, evil: Adversary, membership: str) -> None:
    view = invited(evil, alice)
    held = alice.start_sync()
    pdu = ending(evil, view, alice, membership)
    assert answer_to(evil, view, pdu) == {}
    (event,) = held.answer.timeline(view.room_id)
    assert (event["event_id"], event["content"]["membership"]) == (view.name(pdu), membership)
    assert not is_invited(alice, view)
    assert alice.ask("GET", "/notifications")["notifications"] == []
    assert NOT_HERE in answer_to(evil, view, pdu)["error"]  # there is nothing left to end


def test_an_invite_ends_by_the_word_of_a_server_that_it_named(
    alice: Person, evil: Adversary, third: Adversary
) -> None:
    view = invited(evil, alice)
    assert answer_to(third, view, ending(third, view, alice, sender="@mod:third.example")) == {}
    assert not is_invited(alice, view)


def test_who_is_told_hears_it_after_a_restart_too(
    server: WholeServer, alice: Person, evil: Adversary
) -> None:
    view = invited(evil, alice)
    server.restart()
    assert answer_to(evil, view, ending(evil, view, alice)) == {}
    server.restart()
    assert not is_invited(alice, view)


FORGED: dict[str, dict[str, Any]] = {
    "of another room": {"room_id": "!other:evil.example"},
    "about somebody else": {"state_key": "@bob:test"},
    "in the name of the invited": {"sender": "@alice:test"},
    "in the name of another server": {"sender": "@mod:third.example"},
    "a join": {"content": {"membership": "join"}},
    "a message": {"type": "m.room.message"},
    "no membership": {"content": {}},
    "odd": {"content": {"membership": ["leave"]}},
}


@pytest.mark.parametrize("case", list(FORGED))
def test_what_does_not_end_this_invite(alice: Person, bob: Person, evil: Adversary, case: str) -> None:
    view = invited(evil, alice)
    pdu = evil.finish(view, {**ending(evil, view, alice), **FORGED[case]})
    assert NOT_HERE in answer_to(evil, view, pdu)["error"]
    assert is_invited(alice, view)


def test_strangers_end_no_invites(
    server: WholeServer, alice: Person, evil: Adversary, third: Adversary
) -> None:
    fourth = Adversary(server, "fourth.example", seed=b"4")
    view = invited(evil, alice)
    for pdu in (
        ending(fourth, view, alice),
        ending(fourth, view, alice, sender=evil.user),
        fourth.finish(view, ending(evil, view, alice)),
        ending(evil, view, alice),  # genuine, and passed on by somebody who was not asked to
    ):
        assert NOT_HERE in answer_to(fourth, view, pdu)["error"]
    assert is_invited(alice, view)


def test_what_was_altered_or_not_signed_ends_no_invite(
    alice: Person, evil: Adversary, third: Adversary
) -> None:
    view = invited(evil, alice)
    genuine = ending(evil, view, alice)
    other = {**genuine, "content": {"membership": "ban"}}
    rehashed = {**other, "hashes": {"sha256": content_hash(other, strict=False)}}
    signed_by_third = third.finish(view, genuine, name=evil.name)
    for pdu in (other, rehashed, {**genuine, "signatures": {}}, signed_by_third):
        assert NOT_HERE in answer_to(evil, view, pdu)["error"]
    assert is_invited(alice, view)
    assert answer_to(evil, view, genuine) == {}


def test_a_knock_is_turned_down(server: WholeServer, alice: Person, evil: Adversary) -> None:
    room_id, version = f"!knock:{evil.name}", room_version("11")
    view = View(room_id, version)
    template = {
        "type": "m.room.member", "room_id": room_id, "sender": alice.user_id, "state_key": alice.user_id,
        "content": {"membership": "knock"}, "prev_events": ["$a"], "auth_events": ["$b"], "depth": 5,
    }  # fmt: skip
    create = {"type": "m.room.create", "state_key": "", "sender": evil.user, "content": {}}
    evil.on(f"{V1}/make_knock", lambda _: (200, {"room_version": "11", "event": template}))
    evil.on(f"{V1}/send_knock", lambda _: (200, {"knock_room_state": [create]}))
    alice.knock(room_id)
    assert room_id in alice.sync().knocks
    view.heads, view.depth = ["$a"], 6
    assert answer_to(evil, view, ending(evil, view, alice)) == {}
    assert room_id in alice.sync().left
    assert room_id not in alice.sync(since=None).knocks


def test_who_invites_to_a_room_that_was_thought_empty_is_asked_to_let_in(
    alice: Person, evil: Adversary
) -> None:
    """Our server was the last in it, as far as it knew. The invite says otherwise."""
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.leave(room)
    view = View(room, room_version("11"), heads=["$elsewhere"], depth=50)
    pdu = evil.event(
        view, {"membership": "invite"}, type_="m.room.member", state_key=alice.user_id,
        auth_events=["$elsewhere"],
    )  # fmt: skip
    body = {"room_version": "11", "event": pdu, "invite_room_state": []}
    path = f"{V2}/invite{event_path(room, view.name(pdu))}"
    assert evil.request("PUT", path, body).status == 200
    assert room in alice.sync().invites
    alice.join(room, refused="M_NOT_FOUND")
    assert evil.requests_to(f"{V1}/make_join")
    assert alice.joined_rooms() == set()
    alice.leave(room)
    assert evil.requests_to(f"{V1}/make_leave")
    assert not is_invited(alice, view)
    alice.join(room)
    assert alice.joined_rooms() == {room}
