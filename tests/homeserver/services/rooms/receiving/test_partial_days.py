"""What goes on in a room whose members are not all known yet, and after."""

import json
from typing import Any

import pytest

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import RoomId
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.homeserver.services.rooms.receiving.partly_known import PartlyKnown
from tests.support.federation import Federation
from tests.support.people import path
from tests.support.running import Running

LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}})


class Days(PartlyKnown):
    """Carol of `one` and Zoe of `three` are in the room; Bob, who comes, knows neither."""

    def __init__(self, federation: Federation) -> None:
        super().__init__(federation)
        one, three = federation.servers("one", "three")
        self.carol, self.zoe = one.register("carol"), three.register("zoe")
        self.carol.join(self.room)
        federation.join(self.zoe, self.room, via="one")
        federation.settle()
        self.come_in()
        known = self.two.services.rooms.rooms.find(RoomId(self.room))
        assert known is not None
        assert not known.joined & {self.carol.user_id, self.zoe.user_id}

    def complete(self) -> None:
        super().complete()
        assert self.federation.state_of(self.room, "two") == self.federation.state_of(self.room, "one")


@pytest.fixture
def days(federation: Federation) -> Days:
    return Days(federation)


def test_members_not_known_yet_type_and_read(days: Days) -> None:
    said = days.bob.send(days.room, "hello")
    days.federation.settle()
    days.carol.start_typing(days.room)
    days.carol.read(days.room, said)
    days.federation.time.advance(2)
    answer = days.bob.sync()
    assert answer.typing(days.room) == {days.carol.user_id}
    assert days.carol.user_id in answer.receipts(days.room)[said]["m.read"]


@pytest.mark.parametrize("known", ["none", "half", "half of those before"])
def test_events_come_whose_past_is_missing(days: Days, known: str) -> None:
    """The state before them is asked for; what is missing may come later."""
    federation, room, alice = days.federation, days.room, days.alice.user_id
    heads = federation.heads_of(room, "one")

    def message(text: str, prev: list[str], depth: int) -> Any:
        body = {"body": text, "msgtype": "m.text"}
        event = made(federation, "one", room, "m.room.message", alice, body, prev=prev, depth=depth + 1_000)
        receive(federation, "one", room, [event], origin="one")
        return event

    lost = message("lost", heads, 1)
    seen = message("seen", heads, 1)
    between = message("between", [lost.event_id] + [seen.event_id] * (known == "half of those before"), 2)
    prev = {"none": [lost], "half": [lost, seen], "half of those before": [between]}[known]
    last = message("last", [event.event_id for event in prev], 3)
    receive(federation, "two", room, [seen], origin="one")
    outcome = receive(federation, "two", room, [last], origin="one")
    assert outcome == {last.event_id: None}
    assert last.event_id in days.bob.sync().ids(room)

    receive(federation, "two", room, [lost], origin="one")
    days.complete()
    days.bob.send(room, "and on")
    federation.settle()
    assert days.alice.sync().texts(room)[-1] == "and on"


def test_another_server_completes_when_the_first_does_not(days: Days) -> None:
    """Any that is in the room can tell, if it knows the event after which somebody of ours came."""
    days.federation.settle()
    days.federation.network.cut("one", "two")
    days.withheld.is_open = True
    days.federation.time.advance(1_300)
    days.federation.settle()
    assert not days.is_partial
    assert days.federation.state_of(days.room, "two") == days.federation.state_of(days.room, "three")


def test_what_we_say_reaches_servers_whose_members_are_not_known(days: Days) -> None:
    days.bob.send(days.room, "meanwhile")
    days.federation.settle()
    assert days.zoe.sync().texts(days.room)[-1] == "meanwhile"
    days.complete()
    days.bob.send(days.room, "afterwards")
    days.federation.settle()
    assert days.zoe.sync().texts(days.room)[-1] == "afterwards"


def test_who_waits_is_woken_when_the_members_are_known(days: Days) -> None:
    held = days.bob.start_sync()
    days.withheld.is_open = True
    days.federation.time.advance(20)
    assert held.is_done
    assert days.carol.user_id in held.answer.members(days.room)


def test_lazy_syncs_bring_the_sender_s_membership(days: Days) -> None:
    days.carol.send(days.room, "from carol")
    days.federation.settle()
    for since in (None, days.bob.next_batch):
        answer = days.bob.sync(since=since, filter=LAZY)
        assert answer.texts(days.room)[-1] == "from carol"
        assert days.carol.user_id in answer.members(days.room)


def test_a_gap_after_all_is_known_brings_the_senders(days: Days) -> None:
    days.bob.sync(since=None, filter=LAZY)
    days.complete()
    days.carol.send(days.room, "one")
    days.carol.send(days.room, "two")
    days.federation.settle()
    answer = days.bob.sync(filter=LAZY)
    assert answer.texts(days.room) == ["two"]
    assert days.carol.user_id in answer.members(days.room)


def test_aliases_are_made_told_and_removed(days: Days) -> None:
    alias = path("directory", "room", "#hall:two")
    days.bob.ask("PUT", alias, {"room_id": days.room})
    found = days.bob.ask("GET", alias)
    assert found["room_id"] == days.room
    assert {"one", "two"} <= set(found["servers"])
    days.bob.ask("DELETE", alias)
    days.bob.ask("GET", alias, refused="M_NOT_FOUND")


def test_nobody_is_told_a_state_that_is_not_whole(days: Days) -> None:
    one: Any = days.federation.all["one"].services.remote
    joined = days.federation.heads_of(days.room, "two")[0]

    for ask in (one.state_ids, one.state):
        asking = Running(ask("two", days.room, joined))
        days.federation.time.advance(30)
        with pytest.raises(MatrixError):
            asking.result()
    days.complete()
    asking = Running(one.state_ids("two", days.room, joined))
    days.federation.time.advance(1)
    assert len(asking.result().pdu_ids) == len(days.federation.state_of(days.room, "one")) - 1
