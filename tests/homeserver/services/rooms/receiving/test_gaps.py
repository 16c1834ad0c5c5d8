"""What lies between is fetched; what cannot be is left open, told, and filled when somebody looks."""

from homeserver.protocol.ids import ServerName
from homeserver.services.rooms.receiving import CannotJudge
from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import receive
from tests.support.running import result


def quietly(shared: Shared, count: int) -> list[str]:
    """Bob says things that his server does not send to `one`, though it answers."""
    destinations = shared.federation.all["two"].services.traffic.destinations
    result(destinations.block(ServerName("one"), is_blocked=True))
    return [shared.bob.send(shared.room, f"unheard {number}") for number in range(count)]


def pdus(shared: Shared, ids: list[str]) -> list[dict]:
    return [shared.federation.pdu(event_id, "two") for event_id in ids]


def test_missing_events_are_fetched_and_shown_in_order(shared: Shared) -> None:
    shared.alice.sync()
    said = quietly(shared, 7)
    shared.federation.network.sent.clear()

    outcome = receive(shared.federation, "one", shared.room, pdus(shared, said[-1:]), origin="two")

    assert outcome == {said[-1]: None}
    assert not any("/state" in request.path for _, request in shared.federation.network.sent)
    assert shared.alice.sync().ids(shared.room) == said
    assert shared.federation.heads_of(shared.room, "one") == said[-1:]


def test_a_gap_of_hundreds_is_closed(shared: Shared) -> None:
    said = quietly(shared, 300)

    receive(shared.federation, "one", shared.room, pdus(shared, said[-1:]), origin="two")

    assert set(said) <= shared.federation.accepted(shared.room, "one")


def test_nothing_is_kept_while_the_other_server_is_away(shared: Shared) -> None:
    said = quietly(shared, 3)
    last = pdus(shared, said[-1:])
    shared.federation.part("one", "two")

    outcome = receive(shared.federation, "one", shared.room, last, origin="two")

    assert isinstance(outcome[said[-1]], CannotJudge)
    assert said[-1] not in shared.federation.events_of(shared.room, "one")
    shared.federation.heal()
    assert receive(shared.federation, "one", shared.room, last, origin="two") == {said[-1]: None}


def without_missing_events(shared: Shared) -> None:
    """`two` does not answer get_missing_events any more."""

    async def refuse(*_: object, **__: object) -> list[object]:
        return []

    one = shared.federation.all["one"].services.rooms.receiving
    one._intake._fetching.missing_events = refuse


def test_a_gap_that_stays_is_told_and_filled_by_paging_back(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    shared.alice.sync()
    said = quietly(shared, 5)
    without_missing_events(shared)

    receive(federation, "one", room, pdus(shared, said[-1:]), origin="two")

    news = shared.alice.sync()
    assert news.ids(room) == said[-1:]
    assert news.is_limited(room)
    assert said[0] not in federation.events_of(room, "one")
    page = shared.alice.messages(room, start=news.prev_batch(room), limit=4)
    federation.settle(1)
    assert page.ids == said[-2::-1]
    again = shared.alice.sync(since=None)
    assert again.ids(room)[-1:] == said[-1:]
    assert said[-1] in federation.heads_of(room, "one")
    closing = shared.alice.send(room, "no more heads than this")
    assert federation.heads_of(room, "one") == [closing]
    federation.check_memory(room, "one")


def test_what_comes_after_its_followers_is_shown_and_nobody_follows_it_again(shared: Shared) -> None:
    """Servers that lack it as well would refuse what names it: they cannot know the state before it."""
    federation, room = shared.federation, shared.room
    said = quietly(shared, 3)
    without_missing_events(shared)
    receive(federation, "one", room, pdus(shared, said[-1:]), origin="two")
    before = federation.heads_of(room, "one")
    shared.alice.sync()

    assert receive(federation, "one", room, pdus(shared, [said[1]]), origin="two") == {said[1]: None}

    assert federation.heads_of(room, "one") == before
    assert shared.alice.sync().ids(room) == [said[1]]
    federation.check_memory(room, "one")
    receive(federation, "one", room, pdus(shared, [said[0]]), origin="two")
    assert federation.heads_of(room, "one") == said[-1:]
    assert federation.state_of(room, "one") == federation.state_of(room, "two")


def test_the_event_that_a_join_followed_does_not_become_the_newest(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    join = federation.state_of(room, "two")["m.room.member", shared.bob.user_id]
    (before,) = federation.pdu(join, "two")["prev_events"]
    heads = federation.heads_of(room, "two")

    receive(federation, "two", room, [federation.pdu(before, "one")], origin="one")

    assert before in federation.accepted(room, "two")
    assert federation.heads_of(room, "two") == heads


def test_history_is_looked_for_again_soon_after_an_outage(shared: Shared) -> None:
    """A reader need not wait a minute because nobody could be reached the last time."""
    federation, room = shared.federation, shared.room
    start = shared.bob.sync(since=None).prev_batch(room)
    federation.part("one")
    assert shared.bob.messages(room, start=start, limit=50).events == []

    federation.network.heal()
    federation.time.advance(6)

    assert shared.bob.messages(room, start=start, limit=50).events[-1]["type"] == "m.room.create"


def test_history_from_before_the_join_is_fetched_and_changes_nothing(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    before = federation.state_of(room, "two")
    news = shared.bob.sync(since=None)
    assert news.is_limited(room)

    page = shared.bob.messages(room, start=news.prev_batch(room), limit=50)

    assert page.events[-1]["type"] == "m.room.create"
    assert federation.accepted(room, "two") == federation.accepted(room, "one")
    assert federation.state_of(room, "two") == before
    federation.check_memory(room, "two")
    kept = federation.events_of(room, "two")
    assert kept[page.ids[-1]].nid < 0


def test_state_that_was_fetched_finds_its_place_when_it_comes(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    shared.alice.set_state(room, "m.room.power_levels", {"users": {shared.bob.user_id: 60}})
    federation.settle()
    shared.alice.sync()
    destinations = federation.all["two"].services.traffic.destinations
    result(destinations.block(ServerName("one"), is_blocked=True))
    topic = shared.bob.set_state(room, "m.room.topic", {"topic": "Bob's"})
    shared.bob.send(room, "between")
    last = shared.bob.send(room, "last")
    without_missing_events(shared)

    receive(federation, "one", room, pdus(shared, [last]), origin="two")
    outlier = federation.events_of(room, "one")[topic]
    news = shared.alice.sync()
    receive(federation, "one", room, pdus(shared, [topic]), origin="two")

    assert outlier.status == 3
    assert outlier.nid < 0
    assert news.state(room)["m.room.topic", ""]["event_id"] == topic
    kept = federation.events_of(room, "one")[topic]
    assert (kept.status, kept.nid) == (0, outlier.nid)
    assert shared.alice.state_of(room, "m.room.topic")["topic"] == "Bob's"
    federation.check_memory(room, "one")
    shared.alice.send(room, "and on")
    assert len(federation.heads_of(room, "one")) == 1
    assert federation.state_of(room, "one") == federation.state_of(room, "two")


def test_what_was_before_a_join_is_no_news_though_it_is_told_with_what_is_missing(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    shared.bob.sync()
    own = quietly(shared, 1)[0]  # `one` does not know where `two` is, and tells all that it has
    before = federation.events_of(room, "two")
    result(federation.all["one"].services.traffic.destinations.block(ServerName("two"), is_blocked=True))
    said = [shared.alice.send(room, body) for body in ("missed", "heard")]
    last = federation.pdu(said[-1], "one")

    assert receive(federation, "two", room, [last], origin="one") == {said[-1]: None}

    after = federation.events_of(room, "two")
    assert after.keys() - before.keys() == set(said)
    assert {event_id: after[event_id].status for event_id in before} == {
        event_id: one.status for event_id, one in before.items()
    }
    assert shared.bob.sync().ids(room) == [own, *said]
    assert set(federation.heads_of(room, "two")) == {own, said[-1]}
