"""What other servers ask about users, aliases, public rooms and spaces."""

from typing import Any

import pytest

from tests.support.adversary import V1, Adversary, event_path
from tests.support.people import Person
from tests.support.whole_server import WholeServer


@pytest.fixture
def peer(server: WholeServer) -> Adversary:
    return Adversary(server, "peer.example", seed=b"p")


def get(peer: Adversary, path: str, refused: str | None = None) -> Any:
    answer = peer.request("GET", f"{V1}{path}")
    assert answer.errcode == refused, answer.json
    return answer.json


def test_an_alias_leads_to_its_room(alice: Person, peer: Adversary) -> None:
    room = alice.create_room(preset="public_chat", room_alias_name="den")
    assert get(peer, "/query/directory?room_alias=%23den:test") == {"room_id": room, "servers": ["test"]}
    peer.join(room)
    assert get(peer, "/query/directory?room_alias=%23den:test")["servers"] == ["test", "peer.example"]
    get(peer, "/query/directory?room_alias=%23none:test", "M_NOT_FOUND")
    get(peer, "/query/directory?room_alias=%23den:else.example", "M_NOT_FOUND")
    get(peer, "/query/directory?room_alias=den", "M_INVALID_PARAM")
    get(peer, "/query/directory", "M_MISSING_PARAM")


def test_profiles_of_local_users(alice: Person, peer: Adversary) -> None:
    alice.ask("PUT", f"/profile/{alice.user_id}/displayname", {"displayname": "Alice"})
    path = f"/query/profile?user_id={alice.user_id}"
    assert get(peer, path)["displayname"] == "Alice"
    assert get(peer, f"{path}&field=displayname") == {"displayname": "Alice"}
    assert get(peer, f"{path}&field=avatar_url") == {}
    get(peer, "/query/profile?user_id=@nobody:test", "M_NOT_FOUND")
    get(peer, "/query/profile?user_id=@x:else.example", "M_NOT_FOUND")
    for malformed in ("alice", "@alice:test:http", "@user:localhost:http", ""):
        get(peer, f"/query/profile?user_id={malformed}&field=displayname", "M_INVALID_PARAM")


def test_queries_of_other_kinds_are_not_known(peer: Adversary) -> None:
    get(peer, "/query/horoscope?of=me", "M_NOT_FOUND")


def test_public_rooms_are_listed_as_for_clients(alice: Person, peer: Adversary) -> None:
    rooms = [alice.create_room(visibility="public", name=f"Room {n}") for n in range(3)]
    alice.create_room(name="Hidden")
    page = get(peer, "/publicRooms?limit=2")
    assert page["total_room_count_estimate"] == 3
    rest = get(peer, f"/publicRooms?limit=2&since={page['next_batch']}")
    assert {room["room_id"] for room in (*page["chunk"], *rest["chunk"])} == set(rooms)
    body = {"filter": {"generic_search_term": "room 1"}}
    found = peer.request("POST", f"{V1}/publicRooms", body).json["chunk"]
    assert [room["name"] for room in found] == ["Room 1"]
    typed = peer.request("POST", f"{V1}/publicRooms", {"filter": {"room_types": ["m.space"]}}).json
    assert typed["chunk"] == []


def test_users_have_no_keys_yet(alice: Person, peer: Adversary) -> None:
    devices = get(peer, f"/user/devices{event_path(alice.user_id)}")
    assert devices["user_id"] == alice.user_id
    assert devices["devices"] == []
    assert isinstance(devices["stream_id"], int)
    get(peer, "/user/devices/@nobody:test", "M_NOT_FOUND")
    query = {"device_keys": {alice.user_id: [], "@x:else.example": []}}
    assert peer.request("POST", f"{V1}/user/keys/query", query).json == {"device_keys": {alice.user_id: {}}}
    claim = {"one_time_keys": {alice.user_id: {"DEVICE": "signed_curve25519"}}}
    assert peer.request("POST", f"{V1}/user/keys/claim", claim).json == {"one_time_keys": {}}
    assert peer.request("POST", f"{V1}/user/keys/claim", {}).errcode == "M_BAD_JSON"
    claim = {"one_time_keys": {alice.user_id: {"DEVICE": 3}}}
    assert peer.request("POST", f"{V1}/user/keys/claim", claim).errcode == "M_BAD_JSON"
    assert peer.request("POST", f"{V1}/user/keys/query", {"device_keys": []}).errcode == "M_BAD_JSON"


def test_an_openid_token_tells_whose_it_is(server: WholeServer, alice: Person) -> None:
    token = alice.ask("POST", f"/user/{alice.user_id}/openid/request_token", {})["access_token"]
    path = f"{V1}/openid/userinfo"
    assert server.request("GET", path, access_token=token).json == {"sub": alice.user_id}
    assert server.request("GET", path, access_token="none").errcode == "M_UNKNOWN_TOKEN"
    assert server.request("GET", path).errcode == "M_MISSING_TOKEN"
    server.time.advance(3601)
    assert server.request("GET", path, access_token=token).errcode == "M_UNKNOWN_TOKEN"


def space_of(alice: Person, *children: str, **content: Any) -> str:
    space = alice.create_room(preset="public_chat", creation_content={"type": "m.space"}, name="Space")
    for child in children:
        alice.set_state(space, "m.space.child", {"via": ["test"], **content}, state_key=child)
    return space


def test_a_space_is_told_with_the_rooms_that_the_server_could_enter(alice: Person, peer: Adversary) -> None:
    open_room = alice.create_room(preset="public_chat", name="Open")
    hidden = alice.create_room(name="Hidden")
    invited = alice.create_room(name="Invited", room_version="11")
    club = alice.create_room(preset="public_chat", room_version="11")
    members = alice.create_room(name="Members", room_version="11")
    allow = [{"type": "m.room_membership", "room_id": club}]
    alice.set_state(members, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    space = space_of(alice, open_room, hidden, invited, members, "!elsewhere:else.example")
    path = f"/hierarchy{event_path(space)}"

    answer = get(peer, path)
    assert answer["room"]["room_type"] == "m.space"
    assert answer["room"]["room_version"] == "12"
    assert len(answer["room"]["children_state"]) == 5
    assert {"type", "state_key", "sender", "content", "origin_server_ts"} == set(
        answer["room"]["children_state"][0]
    )
    assert [child["room_id"] for child in answer["children"]] == [open_room]
    assert set(answer["inaccessible_children"]) == {hidden, invited, members}

    peer.join(club)
    found = {child["room_id"]: child for child in get(peer, path)["children"]}
    assert set(found) == {open_room, members}
    assert found[members]["allowed_room_ids"] == [club]
    assert found[members]["join_rule"] == "restricted"


def test_only_suggested_rooms_where_that_was_asked_for(alice: Person, peer: Adversary) -> None:
    one = alice.create_room(preset="public_chat")
    two = alice.create_room(preset="public_chat")
    space = space_of(alice, one, suggested=True)
    alice.set_state(space, "m.space.child", {"via": ["test"]}, state_key=two)
    alice.set_state(space, "m.space.child", {"via": "nonsense"}, state_key="!bad:test")
    answer = get(peer, f"/hierarchy{event_path(space)}?suggested_only=true")
    assert [child["room_id"] for child in answer["children"]] == [one]
    assert len(get(peer, f"/hierarchy{event_path(space)}")["children"]) == 2


def test_closed_and_unknown_spaces_are_alike(alice: Person, peer: Adversary) -> None:
    closed = alice.create_room(creation_content={"type": "m.space"})
    get(peer, f"/hierarchy{event_path(closed)}", "M_NOT_FOUND")
    get(peer, "/hierarchy/!none:test", "M_NOT_FOUND")
