"""Events and state for other servers: who gets what, and what is redacted for whom."""

from typing import Any

import orjson
import pytest

from tests.support.adversary import V1, Adversary, View, event_path
from tests.support.people import Person
from tests.support.whole_server import WholeServer


@pytest.fixture
def peer(server: WholeServer) -> Adversary:
    return Adversary(server, "peer.example", seed=b"p")


@pytest.fixture
def stranger(server: WholeServer) -> Adversary:
    return Adversary(server, "stranger.example", seed=b"s")


def get(peer: Adversary, path: str) -> Any:
    return peer.request("GET", f"{V1}{path}")


def backfill(peer: Adversary, room: str, *event_ids: str, limit: int = 100) -> list[dict[str, Any]]:
    query = "&".join(f"v={event_path(event_id)[1:]}" for event_id in event_ids)
    answer = get(peer, f"/backfill{event_path(room)}?{query}&limit={limit}")
    assert answer.status == 200, answer.json
    assert answer.json["origin"] == "test"
    pdus: list[dict[str, Any]] = answer.json["pdus"]
    return pdus


def texts(pdus: list[dict[str, Any]]) -> list[str | None]:
    """Of the messages; None for one that was redacted."""
    return [pdu["content"].get("body") for pdu in pdus if pdu["type"] == "m.room.message"]


def test_history_goes_back_from_the_events_named(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    ids = alice.send_many(room, [f"message {n}" for n in range(8)])
    view = peer.join(room)
    found = backfill(peer, room, ids[5], limit=4)
    assert texts(found) == ["message 5", "message 4", "message 3", "message 2"]
    assert [view.name(pdu) for pdu in found] == [ids[5], ids[4], ids[3], ids[2]]
    whole = backfill(peer, room, ids[5])
    assert whole[-1]["type"] == "m.room.create"
    assert len(whole) == len({view.name(pdu) for pdu in whole})
    assert backfill(peer, room, "$unknown") == []
    assert backfill(peer, room, ids[5], limit=0) == []


def test_what_is_missing_lies_between_what_is_known_and_what_was_sent(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    peer.join(room)
    ids = alice.send_many(room, [f"message {n}" for n in range(8)])
    body = {"earliest_events": [ids[2]], "latest_events": [ids[6]], "limit": 10}
    path = f"{V1}/get_missing_events{event_path(room)}"
    assert texts(peer.request("POST", path, body).json["events"]) == ["message 3", "message 4", "message 5"]
    nearest = peer.request("POST", path, {**body, "limit": 2}).json["events"]
    assert texts(nearest) == ["message 4", "message 5"]
    depth = nearest[-1]["depth"]
    assert texts(peer.request("POST", path, {**body, "min_depth": depth}).json["events"]) == ["message 5"]
    assert peer.request("POST", path, {**body, "latest_events": ["$x"]}).json["events"] == []
    assert peer.request("POST", path, {"latest_events": []}).errcode == "M_BAD_JSON"


def test_state_is_that_before_the_event(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view = peer.join(room)
    before = alice.set_state(room, "m.room.topic", {"topic": "first"})
    changed = alice.set_state(room, "m.room.topic", {"topic": "second"})
    answer = get(peer, f"/state{event_path(room)}?event_id={changed}").json
    state = {(pdu["type"], pdu["state_key"]): view.name(pdu) for pdu in answer["pdus"]}
    assert state["m.room.topic", ""] == before
    ids = get(peer, f"/state_ids{event_path(room)}?event_id={changed}").json
    assert set(ids["pdu_ids"]) == set(state.values())
    assert set(ids["auth_chain_ids"]) == {view.name(pdu) for pdu in answer["auth_chain"]}
    assert get(peer, f"/state{event_path(room)}?event_id=%24x").errcode == "M_NOT_FOUND"
    assert get(peer, f"/state{event_path(room)}").errcode == "M_MISSING_PARAM"


def test_what_authorised_an_event(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view = peer.join(room)
    sent = alice.send(room)
    chain = get(peer, f"/event_auth{event_path(room, sent)}").json["auth_chain"]
    assert {pdu["type"] for pdu in chain} == {"m.room.create", "m.room.member", "m.room.power_levels"}
    assert sent not in {view.name(pdu) for pdu in chain}
    other = alice.create_room(preset="public_chat", room_version="11")
    peer.join(other)
    assert get(peer, f"/event_auth{event_path(other, sent)}").errcode == "M_NOT_FOUND"
    assert get(peer, f"/state_ids{event_path(other)}?event_id={sent}").errcode == "M_NOT_FOUND"


def test_the_auth_chain_is_that_of_the_event_and_holds_nothing_else(alice: Person, peer: Adversary) -> None:
    """Also where the room has much state, and the user has come and gone."""
    room = alice.create_room(preset="public_chat", room_version="11", name="Den")
    members = []
    for _ in range(3):
        view = peer.join(room)
        alice.kick(room, peer.user)
        members += [view.heads[0], alice.state(room)["m.room.member", peer.user]["event_id"]]
    view = peer.join(room)
    rules = alice.set_state(room, "m.room.join_rules", {"join_rule": "invite"})
    last = view.name(view.state["m.room.member", peer.user])
    for event_id, expected in ((rules, set()), (last, set(members))):
        chain = get(peer, f"/event_auth{event_path(room, event_id)}").json["auth_chain"]
        found = {view.name(pdu): pdu for pdu in chain}
        assert len(found) == len(chain)
        assert expected == {id_ for id_, pdu in found.items() if pdu.get("state_key") == peer.user}
        reached = set(get(peer, f"/event{event_path(event_id)}").json["pdus"][0]["auth_events"])
        while reached != (wider := reached.union(*(found[one]["auth_events"] for one in reached))):
            reached = wider
        assert found.keys() == reached


def test_the_creation_authorises_also_where_nobody_names_it(alice: Person, peer: Adversary) -> None:
    """From version 12 on no event names it; servers look for it in the auth chain all the same."""
    room = alice.create_room(preset="public_chat", room_version="12")
    view = peer.join(room)
    create = "$" + room[1:]
    sent = alice.set_state(room, "m.room.topic", {"topic": "here"})
    chain = get(peer, f"/event_auth{event_path(room, sent)}").json["auth_chain"]
    assert [view.name(pdu) for pdu in chain].count(create) == 1
    ids = get(peer, f"/state_ids{event_path(room)}?event_id={sent}").json
    assert create in ids["pdu_ids"]
    assert create in ids["auth_chain_ids"]
    assert get(peer, f"/event_auth{event_path(room, create)}").json["auth_chain"] == []


def test_one_event_and_the_one_nearest_to_a_time(alice: Person, peer: Adversary, server: WholeServer) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    peer.join(room)
    sent = alice.send(room, "here")
    assert texts(get(peer, f"/event{event_path(sent)}").json["pdus"]) == ["here"]
    assert get(peer, "/event/%24unknown").errcode == "M_NOT_FOUND"
    path = f"/timestamp_to_event{event_path(room)}"
    now = server.time.now_ms()
    assert get(peer, f"{path}?ts={now}&dir=b").json["event_id"] == sent
    assert get(peer, f"{path}?ts={now + 1}&dir=f").errcode == "M_NOT_FOUND"
    assert get(peer, f"{path}?ts=x&dir=f").errcode == "M_INVALID_PARAM"
    assert get(peer, f"{path}?ts=1").errcode == "M_MISSING_PARAM"


def test_servers_that_are_not_in_the_room_get_nothing(alice: Person, stranger: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    sent = alice.send(room)
    paths = [
        f"/backfill{event_path(room)}?v={sent}&limit=5",
        f"/event{event_path(sent)}",
        f"/state{event_path(room)}?event_id={sent}",
        f"/state_ids{event_path(room)}?event_id={sent}",
        f"/event_auth{event_path(room, sent)}",
        f"/timestamp_to_event{event_path(room)}?ts=0&dir=f",
    ]
    assert [get(stranger, path).errcode for path in paths] == ["M_FORBIDDEN"] * 6
    body = {"earliest_events": [], "latest_events": [sent]}
    path = f"{V1}/get_missing_events{event_path(room)}"
    assert stranger.request("POST", path, body).errcode == "M_FORBIDDEN"
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    open_to_all = alice.send(room, "for all")
    assert texts(get(stranger, f"/event{event_path(open_to_all)}").json["pdus"]) == ["for all"]
    assert texts(get(stranger, f"/event{event_path(sent)}").json["pdus"]) == [None]
    assert get(stranger, f"/state{event_path(room)}?event_id={sent}").errcode == "M_FORBIDDEN"


def with_visibility(alice: Person, setting: str) -> str:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(room, "m.room.history_visibility", {"history_visibility": setting})
    return room


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ("world_readable", ["before", "invited", "joined"]),
        ("shared", ["before", "invited", "joined"]),
        ("invited", [None, "invited", "joined"]),
        ("joined", [None, None, "joined"]),
    ],
)
def test_what_none_of_its_users_could_see_comes_redacted(
    alice: Person, peer: Adversary, setting: str, seen: list[str | None]
) -> None:
    peer.on("/_matrix/federation/v2/invite/", lambda request: (200, _signed(peer, request.body)))
    room = with_visibility(alice, setting)
    first = alice.send(room, "before")
    alice.invite(room, peer.user)
    alice.send(room, "invited")
    peer.join(room)
    last = alice.send(room, "joined")
    assert texts(backfill(peer, room, last))[::-1] == seen
    body = {"earliest_events": [], "latest_events": [alice.send(room, "and this")], "limit": 20}
    missing = peer.request("POST", f"{V1}/get_missing_events{event_path(room)}", body).json["events"]
    assert texts(missing) == seen
    assert texts(get(peer, f"/event{event_path(first)}").json["pdus"]) == seen[:1]


def test_a_redacted_event_is_still_the_same_event(alice: Person, peer: Adversary) -> None:
    room = with_visibility(alice, "joined")
    hidden = alice.send(room, "before")
    view = peer.join(room)
    (pdu,) = get(peer, f"/event{event_path(hidden)}").json["pdus"]
    assert pdu["content"] == {}
    assert view.name(pdu) == hidden


def test_a_user_who_left_sees_no_more(alice: Person, peer: Adversary, stranger: Adversary) -> None:
    room = with_visibility(alice, "joined")
    view = peer.join(room)
    second = peer.join(room, user="@other:peer.example")
    alice.send(room, "both are here")
    alice.kick(room, "@other:peer.example")
    alice.kick(room, peer.user)
    gone = alice.send(room, "both are gone")
    assert get(peer, f"/event{event_path(gone)}").errcode == "M_FORBIDDEN"
    back = peer.join(room)
    last = alice.send(room, "one is back")
    assert texts(backfill(peer, room, last)) == ["one is back", None, "both are here"]
    assert isinstance(view, View)
    assert {second.room_id, back.room_id} == {room}


def test_what_was_redacted_here_goes_out_redacted(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    peer.join(room)
    sent = alice.send(room, "oh no")
    alice.redact(room, sent)
    assert texts(get(peer, f"/event{event_path(sent)}").json["pdus"]) == [None]


def test_forked_history_is_told_whole(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    view = peer.join(room)
    heads = list(view.heads)
    branches = []
    for n in range(3):
        view.heads = heads
        pdu = peer.event(view, f"branch {n}")
        branches.append(view.name(pdu))
        peer.send([pdu])
    last = alice.send(room, "together")
    found = backfill(peer, room, last, limit=5)
    assert texts(found)[0] == "together"
    assert {view.name(pdu) for pdu in found[1:4]} == set(branches)


def test_large_answers_are_sent_in_pieces(server: WholeServer, alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    peer.join(room)
    for n in range(20):
        last = alice.send(room, f"{n} " + "x" * 40_000)
    found = backfill(peer, room, last)
    assert len(texts(found)) == 20
    assert server.services.answering.large_answers.held == 0


def _signed(peer: Adversary, body: bytes | None) -> dict[str, Any]:
    event = orjson.loads(body or b"{}")["event"]
    return {"event": event}
