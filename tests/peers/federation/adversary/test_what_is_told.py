"""What a server that asks is not told."""

from tests.support.adversary import V1, Adversary, View
from tests.support.people import Person


def test_rooms_that_a_server_is_not_in(alice: Person, mallory: Adversary, third: Adversary) -> None:
    """CVE-2022-39335, CVE-2021-39164: neither events, nor members, nor names."""
    room = alice.create_room(preset="private_chat", room_version="11", name="Secret")
    head = alice.send(room, "secret")
    doors = (
        f"{V1}/state/{room}?event_id={head}",
        f"{V1}/state_ids/{room}?event_id={head}",
        f"{V1}/backfill/{room}?v={head}&limit=10",
        f"{V1}/event/{head}",
        f"{V1}/event_auth/{room}/{head}",
        f"{V1}/timestamp_to_event/{room}?ts=0&dir=f",
        f"{V1}/hierarchy/{room}",
    )
    for door in doors:
        answer = mallory.request("GET", door)
        assert answer.status in (403, 404), (door, answer.json)
        assert b"Secret" not in answer.body
        assert b"secret" not in answer.body
    body = {"earliest_events": [], "latest_events": [head], "limit": 10}
    assert mallory.request("POST", f"{V1}/get_missing_events/{room}", body).status in (403, 404)


def test_history_from_before_a_server_came(alice: Person, mallory: Adversary) -> None:
    """`joined` history is not for servers that came later: at most the skeleton."""
    setting = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "joined"},
    }
    room = alice.create_room(preset="public_chat", room_version="11", initial_state=[setting])
    head = alice.send(room, "before anybody came")
    view = mallory.join(room)
    for door in (f"{V1}/backfill/{room}?v={view.heads[0]}&limit=50", f"{V1}/event/{head}"):
        assert b"before anybody came" not in mallory.request("GET", door).body
    body = {"earliest_events": [], "latest_events": view.heads, "limit": 50}
    answer = mallory.request("POST", f"{V1}/get_missing_events/{room}", body)
    assert b"before anybody came" not in answer.body


def test_history_from_after_a_server_left(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    alice.kick(room, mallory.user)
    after = alice.send(room, "now that they are gone")
    mallory.settle()
    assert not any(view.name(pdu) == after for pdu in mallory.received)
    for door in (f"{V1}/event/{after}", f"{V1}/backfill/{room}?v={after}&limit=5"):
        answer = mallory.request("GET", door)
        assert b"now that they are gone" not in answer.body
