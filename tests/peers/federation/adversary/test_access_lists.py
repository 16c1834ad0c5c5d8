"""Who is shut out stays out."""

import pytest

from tests.peers.federation.adversary.hostile import is_hidden
from tests.support.adversary import V1, VERSIONS, Adversary, View, event_path
from tests.support.people import Person
from tests.support.whole_server import WholeServer


@pytest.mark.parametrize("name", ["evil.example", "EVIL.example", "Evil.Example"])
def test_who_is_shut_out_stays_out_in_any_case(server: WholeServer, alice: Person, name: str) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    lists = {"allow": ["*"], "deny": ["eVil.eXample"]}
    alice.set_state(room, "m.room.server_acl", lists)
    mallory = Adversary(server, name)
    answer = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}")
    assert answer.status == 403, answer.json


def test_who_was_shut_out_later(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Nothing of theirs comes in, and nothing is handed out to them."""
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": ["*.Example"]})
    pdu = mallory.event(view, "still here")
    mallory.send([pdu])
    assert is_hidden(alice, room, view, pdu)
    head = view.heads[0]
    for door in (
        f"{V1}/state/{room}?event_id={head}",
        f"{V1}/state_ids/{room}?event_id={head}",
        f"{V1}/backfill/{room}?v={head}&limit=10",
        f"{V1}/event_auth/{room}/{head}",
        f"{V1}/make_leave{event_path(room, mallory.user)}",
        f"{V1}/make_knock{event_path(room, mallory.user)}?{VERSIONS}",
    ):
        assert mallory.request("GET", door).status == 403, door
    body = {"earliest_events": [], "latest_events": [head], "limit": 10}
    assert mallory.request("POST", f"{V1}/get_missing_events/{room}", body).status == 403


def test_a_list_names_addresses(server: WholeServer, alice: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False})
    for name in ("10.0.0.9", "10.0.0.9:8448", "[2001:db8::1]", "[2001:db8::1]:8448"):
        mallory = Adversary(server, name)
        answer = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}")
        assert answer.status == 403, name


@pytest.mark.parametrize("name", ["evil.example.", "evil.example:8448", "EVIL.example.:1", "a.evil.example."])
def test_other_spellings_of_a_host_are_shut_out_with_it(
    server: WholeServer, alice: Person, name: str
) -> None:
    """They lead to the same server, with the same certificate."""
    room = alice.create_room(preset="public_chat", room_version="11")
    lists = {"allow": ["*"], "deny": ["evil.example", "*.evil.example"]}
    alice.set_state(room, "m.room.server_acl", lists)
    mallory = Adversary(server, name)
    answer = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}")
    assert answer.status == 403, answer.json


@pytest.mark.parametrize(
    "name", ["10.0.0.9.", "2130706433", "0x7f.1", "127.1", "0x7f000001:8448", "1.2.3.0x4."]
)
def test_other_spellings_of_addresses_are_addresses(server: WholeServer, alice: Person, name: str) -> None:
    """What a resolver takes for an address: no domain ends in a number."""
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False})
    mallory = Adversary(server, name)
    answer = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}")
    assert answer.status == 403, name


def test_only_the_spelling_that_is_let_in_is(server: WholeServer, alice: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(room, "m.room.server_acl", {"allow": ["test", "good.example", "s1.example"]})
    for name, status in (("good.example", 200), ("s1.example", 200), ("good.example.", 403)):
        other = Adversary(server, name)
        answer = other.request("GET", f"{V1}/make_join{event_path(room, other.user)}?{VERSIONS}")
        assert answer.status == status, name
