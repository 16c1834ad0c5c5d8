"""Events that only close forks: part of history for servers, nothing to clients."""

import pytest

from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.homeserver.services.rooms.receiving.test_forks import fork

DUMMY = "org.matrix.dummy_event"


def dummies(shared: Shared, name: str) -> set[str]:
    events = shared.federation.events_of(shared.room, name)
    return {id_ for id_ in events if shared.federation.pdu(id_, name)["type"] == DUMMY}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_ours_are_shown_to_nobody(shared: Shared, *, is_restarted: bool) -> None:
    fork(shared, 25)
    shared.alice.sync()
    said = [shared.alice.send(shared.room, f"after all {number}") for number in range(3)]
    ours = dummies(shared, "one")
    if is_restarted:
        shared.federation.all["one"].restart()

    assert ours
    assert shared.alice.sync().ids(shared.room) == said
    assert not ours & set(shared.alice.sync(since=None).ids(shared.room))
    assert not ours & set(shared.alice.messages(shared.room, limit=100).ids)
    assert not any(shared.alice.sees(shared.room, event_id) for event_id in ours)
    around = shared.alice.context(shared.room, said[0], limit=40)
    shown = {event["event_id"] for event in (*around["events_before"], *around["events_after"])}
    assert shown
    assert not ours & shown


def test_paging_goes_on_past_them(shared: Shared) -> None:
    branches = fork(shared, 25)
    shared.alice.send(shared.room, "after all")
    page = shared.alice.messages(shared.room, limit=2)
    seen = page.ids
    while page.end is not None and len(seen) < 100:
        page = shared.alice.messages(shared.room, limit=2, start=page.end)
        seen += page.ids

    assert len(seen) == len(set(seen))
    assert set(branches) < set(seen)
    assert not dummies(shared, "one") & set(seen)


def test_those_of_others_are_not_shown_and_wake_nobody_with_news(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    shared.alice.sync()
    theirs = made(federation, "two", room, DUMMY, shared.bob.user_id, {"body": f"for {shared.alice}"})
    waiting = shared.alice.start_sync(timeout_ms=30_000)

    assert receive(federation, "one", room, [theirs], origin="two") == {theirs.event_id: None}

    federation.time.advance(0.5)
    assert not waiting.is_done or waiting.answer.ids(room) == []
    federation.time.advance(31)
    assert waiting.answer.ids(room) == []
    assert not shared.alice.sees(room, theirs.event_id)
    assert federation.heads_of(room, "one") == [theirs.event_id]
    said = shared.alice.send(room, "next")
    assert federation.pdu(said, "one")["prev_events"] == [theirs.event_id]
    assert shared.alice.sync().ids(room) == [said]


def test_other_servers_get_them(shared: Shared) -> None:
    fork(shared, 25)
    said = shared.alice.send(shared.room, "after all")
    shared.federation.heal()

    assert dummies(shared, "one") <= shared.federation.accepted(shared.room, "two")
    assert said in shared.bob.sync().ids(shared.room)
    assert not dummies(shared, "one") & set(shared.bob.messages(shared.room, limit=100).ids)


def test_an_event_of_that_type_notifies_nobody(shared: Shared) -> None:
    shared.alice.request("PUT", f"/pushrules/global/room/{shared.room}", {"actions": ["notify"]})
    theirs = made(shared.federation, "two", shared.room, DUMMY, shared.bob.user_id, {"body": "alice"})
    receive(shared.federation, "one", shared.room, [theirs], origin="two")

    assert shared.alice.sync().unread(shared.room) == (0, 0)
