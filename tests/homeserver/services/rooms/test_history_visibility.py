"""Who sees what of the past, under each of the four settings.

https://spec.matrix.org/latest/client-server-api/#room-history-visibility
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.people import Person, path
from tests.support.whole_server import WholeServer

SETTINGS = ("world_readable", "shared", "invited", "joined")
VISIBILITY = "m.room.history_visibility"


def setting(value: Any) -> dict[str, Any]:
    return {"type": VISIBILITY, "content": {"history_visibility": value}}


def by_messages(person: Person, room: str) -> set[str]:
    answer = person.request("GET", path("rooms", room, "messages"), dir="b", limit=100)
    assert answer.errcode in (None, "M_FORBIDDEN")
    return {event["content"].get("body", "") for event in answer.json.get("chunk", ())} - {""}


def by_messages_forwards(person: Person, room: str) -> set[str]:
    answer = person.request("GET", path("rooms", room, "messages"), dir="f", limit=100)
    return {event["content"].get("body", "") for event in answer.json.get("chunk", ())} - {""}


def by_sync(person: Person, room: str) -> set[str]:
    wanted = {"room": {"include_leave": True, "timeline": {"limit": 100}}}
    return set(person.sync(since=None, filter=wanted).texts(room))


WAYS: dict[str, Callable[[Person, str], set[str]]] = {
    "messages": by_messages,
    "messages forwards": by_messages_forwards,
    "sync": by_sync,
}


@pytest.fixture(params=WAYS)
def sees(request: pytest.FixtureRequest) -> Callable[[Person, str], set[str]]:
    """The texts a person gets to see in a room, by each way of looking."""
    return WAYS[request.param]


def one_by_one(person: Person, room: str, ids: dict[str, str]) -> set[str]:
    return {text for text, event_id in ids.items() if person.sees(room, event_id)}


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [
        ("world_readable", {"before", "invited", "joined"}),
        ("shared", {"before", "invited", "joined"}),
        ("invited", {"invited", "joined"}),
        ("joined", {"joined"}),
    ],
)
def test_what_a_new_member_sees(
    alice: Person, bob: Person, sees: Callable[[Person, str], set[str]], visibility: str, expected: set[str]
) -> None:
    room = alice.create_room(initial_state=[setting(visibility)])
    ids = {"before": alice.send(room, "before")}
    alice.invite(room, bob)
    ids["invited"] = alice.send(room, "invited")
    bob.join(room)
    ids["joined"] = alice.send(room, "joined")
    assert sees(bob, room) == expected
    assert one_by_one(bob, room, ids) == expected


@pytest.mark.parametrize("visibility", SETTINGS)
def test_what_was_said_while_away(
    alice: Person, bob: Person, sees: Callable[[Person, str], set[str]], visibility: str
) -> None:
    room = alice.create_room(preset="public_chat", initial_state=[setting(visibility)], members=[bob])
    alice.send(room, "there")
    bob.leave(room)
    alice.send(room, "away")
    bob.join(room)
    alice.send(room, "back")
    hidden = {"away"} if visibility in ("invited", "joined") else set()
    assert sees(bob, room) == {"there", "away", "back"} - hidden


@pytest.mark.parametrize("visibility", SETTINGS)
def test_who_left_sees_what_was_said_while_there(
    alice: Person, bob: Person, sees: Callable[[Person, str], set[str]], visibility: str
) -> None:
    room = alice.create_room(initial_state=[setting(visibility)], members=[bob])
    alice.send(room, "there")
    bob.leave(room)
    alice.send(room, "away")
    expected = {"there"}
    if visibility == "world_readable" and sees is not by_sync:
        expected.add("away")
    assert sees(bob, room) == expected


@pytest.mark.parametrize("visibility", SETTINGS)
def test_strangers_see_rooms_open_to_the_world_only(alice: Person, bob: Person, visibility: str) -> None:
    room = alice.create_room(preset="public_chat", initial_state=[setting(visibility)])
    event_id = alice.send(room, "hello")
    open_to_all = visibility == "world_readable"
    assert bob.sees(room, event_id) is open_to_all
    for what in (("messages",), ("state",), ("members",), ("context", event_id)):
        answer = bob.request("GET", path("rooms", room, *what), dir="b")
        assert answer.errcode == (None if open_to_all else "M_FORBIDDEN")
    assert by_sync(bob, room) == set()


@pytest.mark.parametrize("visibility", SETTINGS)
def test_the_invited_see_nothing_before_they_join(alice: Person, bob: Person, visibility: str) -> None:
    room = alice.create_room(initial_state=[setting(visibility)], invite=[bob.user_id])
    event_id = alice.send(room, "hello")
    open_to_all = visibility == "world_readable"
    assert (by_messages(bob, room) == {"hello"}) is open_to_all
    assert bob.sees(room, event_id) is open_to_all


@pytest.mark.parametrize("visibility", SETTINGS)
def test_who_turned_the_invite_down_sees_nothing(alice: Person, bob: Person, visibility: str) -> None:
    room = alice.create_room(initial_state=[setting(visibility)], invite=[bob.user_id])
    alice.set_state(room, "m.room.name", {"name": "secret"})
    bob.leave(room)
    answer = bob.sync(since=None, filter={"room": {"include_leave": True, "timeline": {"limit": 1}}})
    assert answer.timeline(room)[-1]["content"] == {"membership": "leave"}
    assert answer.state(room) == {}
    assert bob.request("GET", path("rooms", room, "state")).errcode == (
        None if visibility == "world_readable" else "M_FORBIDDEN"
    )


def test_a_setting_counts_from_its_event_on(
    alice: Person, bob: Person, sees: Callable[[Person, str], set[str]]
) -> None:
    room = alice.create_room(preset="public_chat", initial_state=[setting("joined")])
    alice.send(room, "under joined")
    alice.set_state(room, VISIBILITY, {"history_visibility": "shared"})
    alice.send(room, "under shared")
    alice.set_state(room, VISIBILITY, {"history_visibility": "invited"})
    alice.send(room, "under invited")
    alice.set_state(room, VISIBILITY, {"history_visibility": "world_readable"})
    alice.send(room, "under world_readable")
    alice.set_state(room, VISIBILITY, {"history_visibility": "joined"})
    alice.send(room, "joined again")
    bob.join(room)
    assert sees(bob, room) == {"under shared", "under world_readable"}


@pytest.mark.parametrize("value", [None, "everybody", 1, ["shared"]])
def test_unknown_settings_mean_shared(alice: Person, bob: Person, value: Any) -> None:
    room = alice.create_room(initial_state=[setting(value)])
    event_id = alice.send(room, "before")
    alice.invite(room, bob)
    bob.join(room)
    assert bob.sees(room, event_id)


def test_settings_survive_a_restart(each_server: WholeServer) -> None:
    alice, bob = each_server.register("alice"), each_server.register("bob")
    room = alice.create_room(preset="public_chat", initial_state=[setting("joined")])
    before = alice.send(room, "before")
    bob.join(room)
    after = alice.send(room, "after")
    each_server.restart()
    assert (bob.sees(room, before), bob.sees(room, after)) == (False, True)
    assert by_messages(bob, room) == {"after"}


def test_a_rejoin_brings_back_the_first_stay(
    alice: Person, bob: Person, sees: Callable[[Person, str], set[str]]
) -> None:
    room = alice.create_room(preset="public_chat", initial_state=[setting("joined")])
    for text in ("one", "two", "three"):
        bob.join(room)
        alice.send(room, text)
        bob.leave(room)
        alice.send(room, "without bob")
    bob.join(room)
    assert sees(bob, room) == {"one", "two", "three"}


@pytest.mark.parametrize("visibility", SETTINGS)
def test_one_sees_ones_own_coming_and_going(alice: Person, bob: Person, visibility: str) -> None:
    room = alice.create_room(initial_state=[setting(visibility)])
    alice.invite(room, bob)
    invite = alice.state_of(room, "m.room.member", bob.user_id, format="event")["event_id"]
    bob.join(room)
    join = alice.state_of(room, "m.room.member", bob.user_id, format="event")["event_id"]
    alice.kick(room, bob)
    kick = alice.state_of(room, "m.room.member", bob.user_id, format="event")["event_id"]
    assert bob.sees(room, join)
    assert bob.sees(room, kick)
    assert bob.sees(room, invite) is (visibility != "joined")


def test_pages_of_hidden_history_end(alice: Person, bob: Person) -> None:
    room = alice.create_room(initial_state=[setting("joined")])
    alice.send_many(room, map(str, range(50)))
    alice.invite(room, bob)
    bob.join(room)
    page, seen = bob.messages(room, limit=5), []
    while page.end is not None:
        seen += page.texts
        page = bob.messages(room, limit=5, start=page.end)
    assert seen == []


def test_a_changed_setting_is_seen_under_the_laxer_one(alice: Person, bob: Person) -> None:
    room = alice.create_room(preset="public_chat", initial_state=[setting("joined")])
    opened = alice.set_state(room, VISIBILITY, {"history_visibility": "shared"})
    closed = alice.set_state(room, VISIBILITY, {"history_visibility": "joined"})
    bob.join(room)
    assert bob.sees(room, opened)
    assert bob.sees(room, closed)
