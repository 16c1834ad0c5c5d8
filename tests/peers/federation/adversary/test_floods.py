"""Much at once: forks, gaps without end, lists made to be slow."""

import time as wall_clock
from typing import Any

import pytest

from tests.peers.federation.adversary.hostile import still_works
from tests.support.adversary import V1, Adversary, Pdu, View
from tests.support.clock import FakeClock
from tests.support.people import Person
from tests.support.whole_server import limiting


def test_a_flood_of_forks(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Hundreds of events that follow the same one: heads are bounded, an own event names few, all in time."""
    began = wall_clock.process_time()
    for batch in range(8):
        mallory.send([mallory.event(view, f"fork {batch} {number}") for number in range(50)])
    mine = alice.send(room, "enough")
    mallory.settle()
    sent = next(pdu for pdu in mallory.received if view.name(pdu) == mine)
    assert len(sent["prev_events"]) <= 20
    spent = wall_clock.process_time() - began
    assert spent < 20, f"{spent:.1f} s"
    assert still_works(alice, room, view, mallory)


def test_a_flood_of_forks_of_the_state(alice: Person, mallory: Adversary) -> None:
    """Each fork sets the same name otherwise: every one is a resolution of states."""
    override = {"users": {alice.user_id: 100, mallory.user: 50}}
    room = alice.create_room(preset="public_chat", room_version="11", power_level_content_override=override)
    view = mallory.join(room)
    began = wall_clock.process_time()
    for batch in range(4):
        mallory.send(
            [
                mallory.event(view, {"name": f"{batch} {number}"}, type_="m.room.name", state_key="")
                for number in range(50)
            ]
        )
    assert alice.state_of(room, "m.room.name")["name"]
    spent = wall_clock.process_time() - began
    assert spent < 20, f"{spent:.1f} s"
    assert still_works(alice, room, view, mallory)


def test_missing_events_without_end(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Each answer names yet another event that is missing: the victim stops asking."""
    made = [mallory.event(view, "0", prev_events=["$" + "A" * 43])]

    def more(_: Any) -> tuple[int, Any]:
        unknown = f"${len(made):043d}"
        made.append(mallory.event(view, f"{len(made)}", prev_events=[unknown]))
        return 200, {"events": [made[-1]]}

    mallory.on(f"{V1}/get_missing_events", more)
    mallory.on(f"{V1}/event/", lambda _: (404, {"errcode": "M_NOT_FOUND"}))
    mallory.on(f"{V1}/state", lambda _: (404, {"errcode": "M_NOT_FOUND"}))
    mallory.send([made[0]])
    mallory.settle(20)
    assert len(mallory.asked) < 100, f"{len(mallory.asked)} requests for one event"
    assert still_works(alice, room, view, mallory)


def test_an_auth_chain_without_end(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2024-31208 and its kind: each auth event rests on another that must be fetched first."""
    made: dict[str, Pdu] = {}

    def link(number: int) -> Pdu:
        content = {"membership": "join", "displayname": f"{number}"}
        auth = [view.name(view.state["m.room.create", ""]), f"${number + 1:043d}"]
        return mallory.event(view, content, type_="m.room.member", state_key=mallory.user, auth_events=auth)

    def event(_: Any) -> tuple[int, Any]:
        pdu = link(len(made))
        made[view.name(pdu)] = pdu
        return 200, {"pdus": [pdu]}

    mallory.on(f"{V1}/event/", event)
    mallory.on(f"{V1}/event_auth", lambda _: (200, {"auth_chain": [link(number) for number in range(500)]}))
    mallory.send([mallory.event(view, "deep roots", auth_events=[f"${0:043d}"])])
    mallory.settle(20)
    assert len(mallory.asked) < 100, f"{len(mallory.asked)} requests for one event"
    assert still_works(alice, room, view, mallory)


def test_pages_full_of_what_nobody_may_see(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2026-45076: paging goes on beyond events that were refused."""
    before = alice.send(room, "before")
    mallory.settle()
    mallory.catch_up(view)
    for batch in range(3):
        mallory.send(
            [
                mallory.event(view, {"name": f"{batch} {number}"}, type_="m.room.name", state_key="")
                for number in range(50)
            ]
        )
    alice.send(room, "after")
    found, start = [], None
    for _ in range(20):
        page = alice.messages(room, limit=10, start=start)
        found += page.ids
        if page.end is None:
            break
        start = page.end
    assert before in found
    assert alice.state(room)["m.room.create", ""]["event_id"] in found


@pytest.mark.parametrize("glob", ["*" * 200 + "b", "*a" * 100 + "b", "?*" * 100, "*" + "?" * 200])
def test_access_control_lists_made_to_be_slow(alice: Person, mallory: Adversary, glob: str) -> None:
    """CVE-2023-45129."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(preset="public_chat", room_version="11", power_level_content_override=override)
    view = mallory.join(room)
    began = wall_clock.process_time()
    for number in range(5):
        mallory.say(
            view,
            {"allow": ["*"], "deny": [f"{glob}{number}{extra}" for extra in range(100)]},
            type_="m.room.server_acl",
            state_key="",
        )
    mallory.say(view, "hello")
    assert wall_clock.process_time() - began < 10


@pytest.mark.parametrize("settings", [limiting("federation_requests", burst=60, per_second=1)], ids=["60"])
def test_large_states_again_and_again(time: FakeClock, mallory: Adversary, room: str, view: View) -> None:
    """A question costs its asker more than another that is cheaply answered."""
    time.advance(300)
    state = f"{V1}/state/{room}?event_id={view.heads[0]}"
    statuses = [mallory.request("GET", state).status for _ in range(30)]
    assert statuses[:3] == [200] * 3
    assert set(statuses) == {200, 429}
    time.advance(300)
    assert mallory.request("GET", state).status == 200
