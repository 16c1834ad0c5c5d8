"""Events without a place in the room: what authorises others, and what another server calls the state."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pytest

from homeserver.runtime.http_client import HttpRequest
from tests.support.adversary import V1, Adversary, Pdu, View, event_path
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer

REJECTED = 1
CREATE, LEVELS, RULES = ("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")


@pytest.fixture
def peer(server: WholeServer) -> Adversary:
    return Adversary(server, "peer.example", seed=b"p")


@pytest.fixture
def room(alice: Person) -> str:
    return alice.create_room(preset="public_chat", room_version="11")


@pytest.fixture
def view(peer: Adversary, room: str) -> View:
    return peer.join(room)


def status(server: WholeServer, event_id: str) -> int | None:
    """How the event is kept, if it is."""
    found: int | None = result(
        server.database.read(
            lambda txn: txn.value("SELECT status FROM events WHERE event_id = %s", (event_id,))
        )
    )
    return found


def give(peer: Adversary, view: View, pdus: Sequence[Pdu]) -> None:
    """These events can be asked for one by one."""
    by_id = {view.name(pdu): pdu for pdu in pdus}

    def answer(request: HttpRequest) -> tuple[int, Any]:
        pdu = by_id.get(unquote(request.path).rpartition("/")[2])
        return (404, {"errcode": "M_NOT_FOUND"}) if pdu is None else (200, {"pdus": [pdu]})

    peer.on(f"{V1}/event/", answer)


def grab(peer: Adversary, view: View) -> Pdu:
    """All power, for a user who has none to give."""
    content = {"users": {peer.user: 100}}
    return peer.event(view, content, type_="m.room.power_levels", state_key="")


def renamed(peer: Adversary, view: View, name: str, **fields: Any) -> Pdu:
    """The peer's user, still in the room, under another name."""
    content = {"membership": "join", "displayname": name}
    return peer.event(view, content, type_="m.room.member", state_key=peer.user, **fields)


def named(view: View, *events: tuple[str, str] | Pdu) -> list[str]:
    return [view.name(view.state[one] if isinstance(one, tuple) else one) for one in events]


@pytest.mark.parametrize("place", ["after all heads", "beside them"])
def test_what_is_authorised_by_a_rejected_event_is_rejected(
    server: WholeServer, alice: Person, peer: Adversary, room: str, view: View, place: str
) -> None:
    """It would be allowed by the state, and by what it names if that counted."""
    refused, before = grab(peer, view), list(view.heads)
    peer.send([refused])
    if place == "beside them":
        peer.say(view, "the room goes on")
    pdu = peer.event(
        view, "by that", auth_events=named(view, CREATE, refused, ("m.room.member", peer.user)),
        prev_events=before,
    )  # fmt: skip
    peer.send([pdu])
    assert [status(server, view.name(one)) for one in (refused, pdu)] == [REJECTED] * 2
    said = peer.say(view, "honest")
    assert alice.sync().ids(room)[-1] == said
    assert not alice.sees(room, view.name(pdu))


@pytest.mark.parametrize("told", ["whole", "one by one"])
@pytest.mark.parametrize("fault", ["is forbidden", "rests on what is forbidden"])
def test_what_is_fetched_to_authorise_an_event_is_judged_too(
    server: WholeServer, alice: Person, peer: Adversary, room: str, view: View, told: str, fault: str
) -> None:
    refused, member = grab(peer, view), view.state["m.room.member", peer.user]
    outlier, auth = refused, named(view, CREATE, refused, member)
    if fault == "rests on what is forbidden":
        peer.send([refused])
        outlier = renamed(peer, view, "Fetched", auth_events=[*auth, *named(view, RULES)])
        auth = named(view, CREATE, LEVELS, outlier)
    pdu = peer.event(view, "by what must be fetched", auth_events=auth)
    chain = [view.state[CREATE], view.state[LEVELS], view.state[RULES], member, refused, outlier]
    if told == "whole":
        peer.on(f"{V1}/event_auth/", lambda _: (200, {"auth_chain": chain}))
    give(peer, view, chain)
    peer.send([pdu])
    assert [status(server, view.name(one)) for one in (outlier, pdu)] == [REJECTED] * 2
    said = peer.say(view, "honest")
    assert alice.sync().ids(room)[-1] == said
    assert not any(alice.sees(room, view.name(one)) for one in (outlier, pdu))
    assert "displayname" not in alice.state_of(room, "m.room.member", peer.user)


def test_a_chain_with_a_missing_link_authorises_nothing_after_it(
    server: WholeServer, alice: Person, peer: Adversary, room: str, view: View
) -> None:
    """The other server tells a state with the end of the chain; it counts when all of it can be had."""
    known = list(view.state.values())
    chain: list[Pdu] = []
    for name in "ABCDE":
        server.time.advance(1)
        chain.append(renamed(peer, view, name))
        view.take(chain[-1])
    pdus = [peer.event(view, "unheard")]
    view.take(pdus[0])
    pdus.append(peer.event(view, "sent"))
    told = [pdu for pdu in known if pdu.get("state_key") != peer.user] + chain[-1:]
    state = {"pdu_ids": named(view, *told), "auth_chain_ids": named(view, *known, *chain[:-1])}
    peer.on(f"{V1}/state_ids/", lambda _: (200, state))
    holed = [*known, *chain[:1], *chain[2:]]
    peer.on(f"{V1}/event_auth/", lambda _: (200, {"auth_chain": holed}))
    give(peer, view, [*holed, pdus[0]])
    peer.send(pdus[1:])
    peer.settle(30)
    assert [status(server, view.name(pdu)) for pdu in (*chain[2:], *pdus)] == [None] * 5
    assert "displayname" not in alice.state_of(room, "m.room.member", peer.user)

    holed.insert(0, chain[1])
    give(peer, view, [*holed, pdus[0]])
    peer.settle(600)
    assert alice.sync().ids(room)[-1] == view.name(pdus[1])
    assert alice.state_of(room, "m.room.member", peer.user)["displayname"] == "E"


@pytest.mark.parametrize("lie", ["a rejected event", "an event of another room", "no creation"])
def test_what_another_server_calls_the_state_is_looked_at(
    server: WholeServer, alice: Person, peer: Adversary, room: str, view: View, lie: str
) -> None:
    """It says that before a message, which anybody may send, the room had another name; or no beginning."""
    levels = {"users": {alice.user_id: 100, peer.user: 100}}
    wishes = {"preset": "public_chat", "room_version": "11", "power_level_content_override": levels}
    place = peer.join(alice.create_room(**wishes)) if lie == "an event of another room" else view
    name = peer.event(place, {"name": "Mine"}, type_="m.room.name", state_key="")
    peer.send([name])
    assert status(server, view.name(name)) == (REJECTED if place is view else 0)
    before = {key: event["event_id"] for key, event in alice.state(room).items()}
    true, create = named(view, *view.state), view.name(view.state[CREATE])
    told = [one for one in true if one != create] if lie == "no creation" else [*true, view.name(name)]
    state = {"auth_chain_ids": true, "pdu_ids": told}
    peer.on(f"{V1}/state_ids/", lambda _: (200, state))
    view.take(peer.event(view, "never told"))
    message = peer.event(view, "after it")
    peer.send([message])
    peer.settle(30)
    assert status(server, view.name(message)) == (None if lie == "no creation" else 0)
    state["pdu_ids"] = true
    peer.settle(600)
    answer = peer.request("GET", f"{V1}/state_ids{event_path(room)}?event_id={view.name(message)}")
    assert set(answer.json["pdu_ids"]) == set(true)
    assert {key: event["event_id"] for key, event in alice.state(room).items()} == before


@pytest.mark.parametrize(
    "fields",
    [
        {"content": {"body": "odd", "number": 1.5}},
        {"content": {}, "type_": "org.example", "state_key": "😀" * 70},  # some count characters
    ],
    ids=["a fraction", "280 bytes"],
)
def test_what_is_no_event_in_an_answer_leaves_a_gap_and_harms_nothing(
    server: WholeServer, alice: Person, peer: Adversary, room: str, view: View, fields: dict[str, Any]
) -> None:
    """Without its state nobody can say what follows; the next event makes the server ask for all again."""
    alice.sync()
    heads = list(view.heads)
    odd = peer.event(view, **fields)
    view.take(odd)
    pdus = [peer.event(view, "after it")]
    view.take(pdus[0])
    peer.on(f"{V1}/get_missing_events/", lambda _: (200, {"events": [odd, pdus[0]]}))
    for body in ("the last", "the very last"):
        pdus.append(peer.event(view, body))
        view.take(pdus[-1])
        peer.send(pdus[-1:])
        assert alice.sync().is_empty
        assert f'"earliest_events":["{heads[0]}"]'.encode() in (
            peer.requests_to(f"{V1}/get_missing_events")[-1].body or b""
        )
    peer.on(
        f"{V1}/state_ids/",
        lambda _: (200, {"pdu_ids": named(view, *view.state.values()), "auth_chain_ids": []}),
    )
    peer.settle(600)
    assert alice.sync().ids(room) == [view.name(pdu) for pdu in pdus]
    assert status(server, view.name(odd)) is None
