"""Memberships that are handed in by name: joins, leaves and invites that are something else."""

from typing import Any

import pytest

from tests.peers.federation.adversary.hostile import half_joined, host, invite, join_hosted, still_works
from tests.support.adversary import V1, V2, VERSIONS, Adversary, View, event_path
from tests.support.people import Person


def test_a_join_sent_to_another_room(alice: Person, room: str, mallory: Adversary) -> None:
    """CVE-2020-26257: the path names one room, the event another."""
    secret = alice.create_room(preset="private_chat", room_version="11")
    view, template = half_joined(mallory, room)
    pdu = mallory.finish(view, template)
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(secret, view.name(pdu))}", pdu)
    assert answer.status == 400
    assert mallory.user not in alice.state_of(secret, "m.room.member", mallory.user, refused="M_NOT_FOUND")


def test_a_join_under_another_event_id(alice: Person, room: str, mallory: Adversary) -> None:
    view, template = half_joined(mallory, room)
    pdu = mallory.finish(view, template)
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(room, '$' + 'A' * 43)}", pdu)
    assert answer.status == 400


@pytest.mark.parametrize(
    "change",
    [
        {"type": "m.room.name"},
        {"content": {"membership": "invite"}},
        {"content": {"membership": "leave"}},
        {"content": {}},
        {"state_key": "@other:evil.example"},
        {"state_key": "@alice:test"},
        {"sender": "@alice:test", "state_key": "@alice:test"},
        {"sender": "@x:innocent.example", "state_key": "@x:innocent.example"},
        {"state_key": None},
        {"room_id": "!other:test"},
        {"auth_events": []},
        {"prev_events": []},
        {"depth": -1},
        {"depth": "1"},
        {"origin_server_ts": None},
    ],
)
def test_a_join_that_is_something_else(
    alice: Person, room: str, mallory: Adversary, change: dict[str, Any]
) -> None:
    before = alice.state(room).keys()
    view, template = half_joined(mallory, room)
    pdu = mallory.finish(view, {**template, **change})
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(room, view.name(pdu))}", pdu)
    assert answer.status == (403 if change == {"auth_events": []} else 400), answer.json
    assert alice.state(room).keys() == before


@pytest.mark.parametrize("what", ["make_join", "make_leave", "make_knock"])
def test_templates_for_users_of_other_servers(
    alice: Person, room: str, mallory: Adversary, what: str
) -> None:
    for user in (alice.user_id, "@x:innocent.example", "nonsense", "@:evil.example:80"):
        answer = mallory.request("GET", f"{V1}/{what}{event_path(room, user)}?{VERSIONS}")
        assert 400 <= answer.status < 500, (user, answer.json)


def test_a_leave_that_is_a_kick(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    kick = mallory.event(view, {"membership": "leave"}, type_="m.room.member", state_key=alice.user_id)
    answer = mallory.request("PUT", f"{V2}/send_leave{event_path(room, view.name(kick))}", kick)
    assert 400 <= answer.status < 500
    assert room in alice.joined_rooms()


def test_an_honest_invite(alice: Person, mallory: Adversary) -> None:
    answer = invite(mallory, alice.user_id)
    assert answer.status == 200, answer.json
    assert "test" in answer.json["event"]["signatures"]
    assert alice.sync(since=None).invites


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": "@alice:test"},
        {"sender": "@x:innocent.example"},
        {"state_key": "@x:evil.example"},
        {"state_key": "@nobody:test:8448"},
        {"type": "m.room.name"},
        {"content": {"membership": "join"}},
        {"content": {"membership": "ban"}},
        {"room_id": "!other:evil.example"},
    ],
)
def test_invites_that_are_none(alice: Person, mallory: Adversary, fields: dict[str, Any]) -> None:
    answer = invite(mallory, alice.user_id, **fields)
    assert 400 <= answer.status < 500, answer.json
    assert not alice.sync(since=None).invites


ODD_STATES: list[Any] = [
    [5], "x", {"a": 1}, [{}], [{"type": 5, "content": []}], [None],
    [{"type": "m.room.name", "state_key": "", "sender": "@x:y", "content": {"name": "x" * 1000}}] * 3000,
    [{"type": "m.room.member", "state_key": 5, "sender": None, "content": None}],
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ODD_STATES)))
def test_invites_with_odd_state(alice: Person, mallory: Adversary, number: int) -> None:
    """CVE-2023-32323 and CVE-2024-52815: huge or malformed, it breaks neither sync nor federation."""
    answer = invite(mallory, alice.user_id, state=ODD_STATES[number])
    assert answer.status < 500, answer.json
    synced = alice.sync(since=None)
    assert len(str(synced.json)) < 1_000_000
    if synced.invites:
        alice.leave("!lair:evil.example")
    assert alice.sync(since=None).next_batch


@pytest.mark.parametrize("version", ["1", "5", "11"])
@pytest.mark.parametrize("number", [2**64, -(2**70), 1.5])
def test_numbers_in_what_describes_a_room(
    alice: Person, mallory: Adversary, number: Any, version: str
) -> None:
    content = {"name": "Lair", "number": number, "deep": [number]}
    odd = {"type": "m.room.name", "state_key": "", "sender": mallory.user, "content": content}
    answer = invite(mallory, alice.user_id, version=version, state=[odd])
    assert answer.status < 500, answer.json
    for _ in range(2):
        assert alice.sync(since=None).next_batch
        alice.server.restart()


def nested(depth: int) -> Any:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    return deep


@pytest.mark.parametrize("depth", [100, 260, 900])
def test_deep_nesting_in_what_describes_a_room(alice: Person, mallory: Adversary, depth: int) -> None:
    """As deep as some readers bear, and some do not."""
    content = {"name": "Lair", "deep": nested(depth)}
    odd = {"type": "m.room.name", "state_key": "", "sender": mallory.user, "content": content}
    pdu_body = invite(mallory, alice.user_id, state=[odd])
    assert pdu_body.status < 500, pdu_body.json
    for _ in range(2):
        assert alice.sync(since=None).next_batch
        alice.server.restart()


@pytest.mark.parametrize("depth", [260, 900])
@pytest.mark.parametrize("version", ["5", "11"])
def test_deep_nesting_in_a_room_that_is_joined(
    alice: Person, mallory: Adversary, version: str, depth: int
) -> None:
    """In the state, in an answer that fills a gap, and in an event that is sent."""
    view = host(mallory, version)
    deep = mallory.event(view, {"name": "Deep"}, type_="m.room.name", state_key="")
    deep["content"]["deep"] = nested(depth)
    view.state["m.room.name", ""] = deep
    assert join_hosted(alice, mallory, view).status in (200, 403, 502)
    if alice.joined_rooms():
        del view.state["m.room.name", ""]
        mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": [deep]}))
        mallory.on(f"{V1}/event/", lambda _: (200, {"pdus": [deep]}))
        mallory.send([mallory.event(view, "follows", prev_events=["$" + "A" * 43])])
        assert still_works(alice, view.room_id, view, mallory)
    assert alice.sync(since=None).next_batch


@pytest.mark.parametrize("what", ["leave", "knock"])
@pytest.mark.parametrize("sender", ["@alice:test", "@x:innocent.example", "@x:evil.example"])
def test_leaving_and_knocking_for_others(
    alice: Person, mallory: Adversary, room: str, view: View, what: str, sender: str
) -> None:
    before = {key: event["event_id"] for key, event in alice.state(room).items()}
    for key in {sender, alice.user_id} - ({sender} if sender == mallory.user else set()):
        pdu = mallory.event(view, {"membership": what}, type_="m.room.member", state_key=key, sender=sender)
        version = V2 if what == "leave" else V1
        answer = mallory.request("PUT", f"{version}/send_{what}{event_path(room, view.name(pdu))}", pdu)
        if sender != key or sender != "@x:evil.example":
            assert 400 <= answer.status < 500, (sender, key, answer.json)
    assert {key: event["event_id"] for key, event in alice.state(room).items()} == before
