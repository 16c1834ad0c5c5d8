"""A hostile server whose room our users join, and one that tells us history."""

from itertools import pairwise
from typing import Any

import pytest

from homeserver.protocol.ids import RoomId
from homeserver.protocol.room_versions import room_version
from tests.peers.federation.adversary.hostile import host, join_hosted, still_works
from tests.support.adversary import V1, V2, Adversary, View
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer


def test_a_resident_server_that_invents_the_state(
    server: WholeServer, alice: Person, mallory: Adversary
) -> None:
    """It answers send_join with events it had no right to make: none of them is believed."""
    view = View("!lair:evil.example", room_version("11"))
    create = mallory.event(
        view, {"room_version": "11"}, type_="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    view.take(create)
    for type_, key, content in (
        ("m.room.member", mallory.user, {"membership": "join"}),
        ("m.room.power_levels", "", {"users": {mallory.user: 100}}),
        ("m.room.join_rules", "", {"join_rule": "public"}),
    ):
        view.take(mallory.event(view, content, type_=type_, state_key=key))
    forged = mallory.event(
        view, {"membership": "join"}, type_="m.room.member", state_key="@bob:test", sender="@bob:test"
    )
    self_made = mallory.event(
        view, {"topic": "by somebody who is not here"}, type_="m.room.topic", state_key="",
        sender="@x:innocent.example",
    )  # fmt: skip

    def make_join(_: Any) -> tuple[int, Any]:
        template = mallory.event(
            view, {"membership": "join"}, type_="m.room.member", state_key=alice.user_id, sender=alice.user_id
        )
        return 200, {"room_version": "11", "event": template}

    def send_join(request: Any) -> tuple[int, Any]:
        state = [*view.state.values(), forged, self_made]
        return 200, {
            "state": state,
            "auth_chain": list(view.state.values()),
            "members_omitted": False,
            "origin": mallory.name,
            "servers_in_room": [mallory.name],
        }

    mallory.on(f"{V1}/make_join", make_join)
    mallory.on(f"{V2}/send_join", send_join)
    pending = alice.start_request("POST", path("join", view.room_id), {}, server_name=mallory.name)
    mallory.settle(5)
    answer = pending.answer
    if answer.status == 200:
        state = alice.state(view.room_id)
        assert ("m.room.member", "@bob:test") not in state
        assert ("m.room.topic", "") not in state
    else:
        assert answer.status < 500
        assert alice.joined_rooms() == set()


@pytest.mark.parametrize(
    "lie", ["other room", "other user", "no create", "other version", "nonsense", "endless"]
)
def test_a_resident_server_that_lies_about_a_join(
    server: WholeServer, alice: Person, mallory: Adversary, lie: str
) -> None:
    view = View("!lair:evil.example", room_version("11"))
    create = mallory.event(
        view, {"room_version": "11"}, type_="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    view.take(create)
    mine = alice.create_room()

    def make_join(_: Any) -> tuple[int, Any]:
        template = mallory.event(
            view, {"membership": "join"}, type_="m.room.member", state_key=alice.user_id, sender=alice.user_id
        )
        if lie == "other room":
            template["room_id"] = mine
        if lie == "other user":
            template["sender"] = template["state_key"] = "@bob:test"
        return 200, {"room_version": "99" if lie == "other version" else "11", "event": template}

    def send_join(_: Any) -> tuple[int, Any]:
        if lie == "nonsense":
            return 200, {"state": [5, None, {}], "auth_chain": "x"}
        if lie == "endless":
            return 200, b'{"state":[' + b"[" * 100_000
        return 200, {"state": [], "auth_chain": []}

    mallory.on(f"{V1}/make_join", make_join)
    mallory.on(f"{V2}/send_join", send_join)
    pending = alice.start_request("POST", path("join", view.room_id), {}, server_name=mallory.name)
    mallory.settle(10)
    assert 400 <= pending.answer.status < 600
    assert pending.answer.json["errcode"]
    assert alice.joined_rooms() == {mine}
    sent = mallory.requests_to(f"{V2}/send_join")
    assert not any(
        b"@bob:test" in (request.body or b"") or mine.encode() in (request.body or b"") for request in sent
    )


def test_backfill_never_changes_the_present(alice: Person, mallory: Adversary) -> None:
    """Old state that a server makes up is no state of today."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version="11", power_level_content_override=override, name="Today"
    )
    view = mallory.join(room)
    old = mallory.event(
        view,
        {"name": "Yesterday"},
        type_="m.room.name",
        state_key="",
        depth=2,
        prev_events=[view.name(view.state["m.room.create", ""])],
    )
    mallory.on(f"{V1}/backfill", lambda _: (200, {"origin": mallory.name, "pdus": [old]}))
    mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": [old]}))
    alice.messages(room, limit=1000)
    mallory.settle()
    assert alice.state_of(room, "m.room.name")["name"] == "Today"


def test_an_event_that_follows_itself(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Two that name each other cannot exist with hashes; one that names an unknown one can, and waits."""
    pdu = mallory.event(view, "loop", prev_events=["$" + "L" * 43])
    mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": [pdu]}))
    mallory.on(f"{V1}/event/", lambda _: (200, {"pdus": [pdu]}))
    mallory.send([pdu])
    mallory.settle(20)
    assert len(mallory.asked) < 100
    assert still_works(alice, room, view, mallory)


def test_one_more_chain(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Sent backwards in one transaction, honest events still come in order."""
    chain = []
    for number in range(20):
        pdu = mallory.event(view, f"link {number}")
        view.take(pdu)
        chain.append(pdu)
    mallory.send(chain[::-1])
    mallory.settle(5)
    ids = [event["event_id"] for event in alice.messages(room, limit=100).events][::-1]
    places = [ids.index(view.name(pdu)) for pdu in chain]
    assert all(one < other for one, other in pairwise(places))


def test_a_resident_that_names_servers_without_end(
    server: WholeServer, alice: Person, mallory: Adversary
) -> None:
    """Everybody it names would be told what is said until the members are known."""
    view = host(mallory)
    state = list(view.state.values())
    names = [f"victim{number}.example" for number in range(30_000)]
    nonsense = ["", "..", "a b", "x" * 300, "evil.example/path", "\x00", "test"]
    mallory.on(
        f"{V2}/send_join",
        lambda _: (
            200,
            {
                "state": state,
                "auth_chain": state,
                "members_omitted": True,
                "servers_in_room": [*nonsense, *names, *names],
            },
        ),
    )
    assert join_hosted(alice, mallory, view).status == 200
    room = server.services.rooms.rooms.find(RoomId(view.room_id))
    assert room is not None
    assert 1_000 < len(room.partial_servers) <= 20_001
    assert not set(nonsense) & set(room.partial_servers)
