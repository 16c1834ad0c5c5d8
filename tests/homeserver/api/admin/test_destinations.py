"""What operators see of other servers, and what they can do."""

from typing import Any

import pytest

from tests.support.destinations import FEDERATING, Destination, join_from
from tests.support.people import Person
from tests.support.whole_server import WholeServer

DESTINATIONS = "/_postroom/admin/v1/federation/destinations"


@pytest.fixture
def settings() -> str:
    return FEDERATING


@pytest.fixture
def far(server: WholeServer, alice: Person) -> Destination:
    destination = Destination("far")
    server.network.add("far", destination)
    return destination


@pytest.fixture
def room(server: WholeServer, alice: Person, far: Destination) -> str:
    made = alice.create_room()
    join_from(server, made, ["far"])
    return made


def shown(root: Person, name: str = "far") -> dict[str, Any]:
    answer: dict[str, Any] = root.ask("GET", f"{DESTINATIONS}/{name}")
    return answer


def test_only_administrators_may_look_and_touch(alice: Person, room: str) -> None:
    alice.ask("GET", DESTINATIONS, refused="M_FORBIDDEN")
    alice.ask("GET", f"{DESTINATIONS}/far", refused="M_FORBIDDEN")
    alice.ask("POST", f"{DESTINATIONS}/far/reset", refused="M_FORBIDDEN")
    alice.ask("PUT", f"{DESTINATIONS}/far/block", {"blocked": True}, refused="M_FORBIDDEN")


def test_a_server_that_does_well(server: WholeServer, alice: Person, root: Person, room: str) -> None:
    alice.send(room)
    sent_at = server.time.now_ms()
    server.time.advance(3)
    assert shown(root) == {
        "destination": "far", "blocked": False, "waiting_events": 0, "waiting_edus": 0,
        "incoming_events": 0,
        "last_success_ts": sent_at, "last_failure_ts": None, "failing_since_ts": None, "failures": 0,
        "retry_ts": None, "last_error": None,
    }  # fmt: skip


def test_a_server_that_does_not_answer(server: WholeServer, alice: Person, root: Person, room: str) -> None:
    server.network.down.add("far")
    alice.send_many(room, ["a", "b"])
    server.time.advance(0.1)
    failed_at = server.time.now_ms()
    view = shown(root)
    assert view["waiting_events"] == 2
    assert view["failures"] == 1
    assert failed_at - 100 <= view["failing_since_ts"] == view["last_failure_ts"] <= failed_at
    assert view["retry_ts"] > failed_at
    assert "far" in view["last_error"]


def test_the_list_has_pages_and_can_be_narrowed_to_trouble(
    server: WholeServer, alice: Person, root: Person, room: str
) -> None:
    names = ["a.example", "b.example", "c.example"]
    join_from(server, room, names)
    for name in names[:2]:
        server.network.add(name, Destination(name))
    alice.send(room)
    server.time.advance(3)
    first = root.ask("GET", DESTINATIONS, limit=3)
    assert [one["destination"] for one in first["destinations"]] == names
    rest = root.ask("GET", DESTINATIONS, **{"limit": 3, "from": first["next"]})
    assert [one["destination"] for one in rest["destinations"]] == ["far"]
    assert "next" not in rest
    trouble = root.ask("GET", DESTINATIONS, trouble="true")
    assert [one["destination"] for one in trouble["destinations"]] == ["c.example"]


def test_a_reset_makes_it_try_at_once(
    server: WholeServer, alice: Person, root: Person, room: str, far: Destination
) -> None:
    server.network.down.add("far")
    alice.send(room, "hello")
    server.time.advance(4 * 3600)
    server.network.heal()
    root.ask("POST", f"{DESTINATIONS}/far/reset")
    server.time.advance(1)
    assert far.texts == ["hello"]
    assert shown(root)["failures"] == 0


def test_a_blocked_server_gets_nothing_until_it_is_unblocked_even_after_a_restart(
    server: WholeServer, alice: Person, root: Person, room: str, far: Destination
) -> None:
    root.ask("PUT", f"{DESTINATIONS}/far/block", {"blocked": True})
    alice.send(room, "hello")
    server.time.advance(10)
    server.restart()
    alice.send(room, "again")
    server.time.advance(10)
    assert far.attempts == 0
    view = shown(root)
    assert (view["blocked"], view["waiting_events"]) == (True, 2)
    root.ask("PUT", f"{DESTINATIONS}/far/block", {"blocked": False})
    server.time.advance(1)
    assert far.texts == ["hello", "again"]


def test_a_server_that_was_blocked_for_long_gets_the_newest_event_of_each_room(
    server: WholeServer, alice: Person, root: Person, room: str, far: Destination
) -> None:
    root.ask("PUT", f"{DESTINATIONS}/far/block", {"blocked": True})
    alice.send_many(room, ["old", "older than new", "new"])
    server.time.advance(7 * 86_400)
    root.ask("PUT", f"{DESTINATIONS}/far/block", {"blocked": False})
    server.time.advance(1)
    assert far.texts == ["new"]
    alice.send(room, "next")
    server.time.advance(1)
    assert far.texts == ["new", "next"]


def test_a_server_nobody_shared_a_room_with_is_not_found(root: Person, server: WholeServer) -> None:
    root.ask("GET", f"{DESTINATIONS}/stranger.example", refused="M_NOT_FOUND")
    root.ask("POST", f"{DESTINATIONS}/stranger.example/reset", refused="M_NOT_FOUND")
    root.ask("GET", f"{DESTINATIONS}/no_server_name", refused="M_INVALID_PARAM")


def test_a_server_that_is_only_asked_things_can_be_asked_again_at_once(
    server: WholeServer, alice: Person, root: Person, far: Destination
) -> None:
    """Nothing is sent to it, so it stands in no list; but people wait until it is no longer left alone."""
    server.network.down.add("far")
    alice.ask("GET", "/directory/room/%23den:far", refused="M_NOT_FOUND")
    view = shown(root)
    assert (view["failures"], view["waiting_events"]) == (1, 0)
    assert view["retry_ts"] > server.time.now_ms()
    server.network.down.clear()
    asked = len(server.network.sent)
    alice.ask("GET", "/directory/room/%23other:far", refused="M_NOT_FOUND")
    assert len(server.network.sent) == asked
    root.ask("POST", f"{DESTINATIONS}/far/reset")
    alice.ask("GET", "/directory/room/%23third:far", refused="M_NOT_FOUND")
    assert len(server.network.sent) > asked
    root.ask("GET", f"{DESTINATIONS}/far", refused="M_NOT_FOUND")
    assert root.ask("GET", DESTINATIONS)["destinations"] == []
