"""Rooms joined before all their members are known."""

from typing import Any

import pytest

from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.events import BadPdu
from homeserver.protocol.ids import RoomId
from homeserver.protocol.json_values import Json
from homeserver.protocol.signatures import BadSignature
from homeserver.runtime.http_client import Unreachable
from homeserver.services.rooms.receiving import CannotJudge
from homeserver.services.rooms.receiving.patience import Turn
from homeserver.services.rooms.writer import Proposal
from tests.support.federation import Federation
from tests.support.people import Person, path
from tests.support.running import Running, result
from tests.support.whole_server import WholeServer


def crowded(federation: Federation, count: int = 40) -> tuple[Person, Person, str]:
    """Alice's room on `one` with so many others; Bob of `two` is not in it yet."""
    one, two = federation.servers("one", "two")
    alice, bob = one.register("alice"), two.register("bob")
    room = alice.create_room(preset="public_chat")
    content: dict[str, Json] = {"membership": "join"}
    users = [f"@member{number}:one" for number in range(count)]
    proposals = [Proposal(MEMBER, user, content, state_key=user) for user in users]  # type: ignore[arg-type]
    result(one.services.rooms.writer.append(RoomId(room), proposals))
    return alice, bob, room


class Withheld:
    """`one` tells no state, until `tell`."""

    def __init__(self, federation: Federation) -> None:
        self.client: Any = federation.all["two"].services.rooms.receiving._intake._fetching._remote
        self.fetching: Any = federation.all["two"].services.rooms.receiving._intake._fetching
        federation.all["two"].services.rooms.receiving._partial._fetching = self
        self.is_open = False

    async def whole_state_before(self, room: Any, event_id: Any, server: Any, *, part: int) -> int:
        if not self.is_open:
            raise CannotJudge("not now")
        nid: int = await self.fetching.whole_state_before(room, event_id, server, part=part)
        return nid


def members(server: WholeServer, room: str) -> int:
    return len(result(server.services.rooms.rooms.load(RoomId(room))).joined)


def test_who_joins_may_speak_before_the_members_are_known(federation: Federation) -> None:
    alice, bob, room = crowded(federation)
    withheld = Withheld(federation)
    two = federation.all["two"]

    bob.request("POST", path("join", room), {}, via="one")

    assert two.services.rooms.receiving.is_partial(RoomId(room))
    assert members(two, room) < 10
    bob.send(room, "from bob")
    alice.send(room, "from alice")
    alice.set_state(room, "m.room.topic", {"topic": "new"})
    federation.settle()
    assert bob.sync().texts(room)[-2:] == ["from bob", "from alice"]

    withheld.is_open = True
    federation.time.advance(30)
    federation.settle()
    assert not two.services.rooms.receiving.is_partial(RoomId(room))
    assert members(two, room) == 42
    assert federation.state_of(room, "two") == federation.state_of(room, "one")
    news = bob.sync()
    assert len(news.members(room)) >= 30  # who was named in the answer to the join was known already
    federation.check_memory(room, "two")
    bob.send(room, "and on")
    federation.settle()
    assert alice.sync().texts(room)[-1] == "and on"


def test_a_member_who_was_not_known_yet_is_believed(federation: Federation) -> None:
    _, bob, room = crowded(federation)
    carol = federation.all["one"].register("carol")
    carol.join(room)
    withheld = Withheld(federation)
    bob.request("POST", path("join", room), {}, via="one")
    bob.sync()

    carol.send(room, "nobody told you about me")
    federation.settle()

    assert bob.sync().texts(room) == ["nobody told you about me"]
    withheld.is_open = True
    federation.time.advance(30)
    federation.settle()
    assert federation.state_of(room, "two") == federation.state_of(room, "one")


def test_completing_goes_on_after_a_restart(federation: Federation) -> None:
    alice, bob, room = crowded(federation)
    Withheld(federation)
    bob.request("POST", path("join", room), {}, via="one")
    bob.send(room, "before the restart")
    two = federation.all["two"]

    two.restart()
    federation.settle()

    assert not two.services.rooms.receiving.is_partial(RoomId(room))
    assert members(two, room) == 42
    alice.send(room, "after it")
    federation.settle()
    assert federation.state_of(room, "two") == federation.state_of(room, "one")
    federation.check_memory(room, "two")


def test_who_asks_for_the_members_waits_for_them(federation: Federation) -> None:
    _, bob, room = crowded(federation)
    withheld = Withheld(federation)
    bob.request("POST", path("join", room), {}, via="one")

    asked = bob.start_request("GET", path("rooms", room, "joined_members"))
    federation.time.advance(1)
    assert not asked.is_done
    withheld.is_open = True
    federation.time.advance(10)

    assert len(asked.answer.json["joined"]) == 42


def test_and_gets_what_is_known_when_it_takes_too_long(federation: Federation) -> None:
    _, bob, room = crowded(federation)
    Withheld(federation)
    bob.request("POST", path("join", room), {}, via="one")

    asked = bob.start_request("GET", path("rooms", room, "joined_members"))
    federation.time.advance(30)

    assert bob.user_id in asked.answer.json["joined"]


def test_history_is_not_fetched_before_the_state_is_whole(federation: Federation) -> None:
    _, bob, room = crowded(federation)
    Withheld(federation)
    bob.request("POST", path("join", room), {}, via="one")
    receiving = federation.all["two"].services.rooms.receiving

    running = Running(receiving.backfilled(RoomId(room), [], origin="one"))  # type: ignore[arg-type]

    with pytest.raises(CannotJudge):
        running.result()


class Losing:
    """On the way from `one` to `two` some answers get lost: so many, of a path that holds this."""

    def __init__(self, federation: Federation, part: str, count: int) -> None:
        self.count = count
        real = federation.network.find

        def find(origin: str, host: str) -> Any:
            asked = federation.network.sent[-1][1].path if federation.network.sent else ""
            if origin == "two" and self.count and part in asked:
                self.count -= 1
                raise Unreachable("lost on the way")
            return real(origin, host)

        federation.network.find = find  # type: ignore[method-assign]


def test_a_state_that_is_lost_on_the_way_is_asked_for_again(federation: Federation) -> None:
    _, bob, room = crowded(federation)
    losing = Losing(federation, "/federation/v1/state/", 3)
    bob.request("POST", path("join", room), {}, via="one")
    federation.settle()
    federation.heal(after_s=1_200)

    assert not losing.count
    assert federation.state_of(room, "two") == federation.state_of(room, "one")
    assert members(federation.all["two"], room) == 42


def test_members_that_are_only_out_of_reach_are_not_left_out(federation: Federation) -> None:
    """One answer gets lost: the state is not taken for whole without the event that was in it."""
    _, bob, room = crowded(federation, count=20)
    withheld = Withheld(federation)
    bob.request("POST", path("join", room), {}, via="one")
    partly = result(federation.all["two"].services.rooms.rooms.load(RoomId(room)))
    losing = Losing(federation, "/federation/v1/event/", 1)

    running = Running(withheld.fetching.state_before(partly, partly.heads[0], "one", Turn()))
    federation.settle()

    with pytest.raises(CannotJudge):
        running.result()
    assert not losing.count


def test_what_is_wrong_with_few_of_many_events_is_found(federation: Federation) -> None:
    """They are looked at beside one another, the first of them with keys that are not known yet."""
    alice, _, room = crowded(federation, count=450)
    one, two = federation.all["one"], federation.all["two"]
    shown = alice.ask("GET", path("rooms", room, "members"))["chunk"]
    signed = result(one.services.rooms.events.signed([event["event_id"] for event in shown]))
    by_user = {str(event.state_key): dict(event.pdu) for event in signed.values()}
    by_user["@member300:one"]["origin_server_ts"] = 1  # changes its ID, so nobody has signed it
    by_user["@member310:one"]["content"] = {"membership": "join", "displayname": "altered"}
    by_user["@member320:one"]["depth"] = "deep"
    version = result(one.services.rooms.rooms.load(RoomId(room))).version

    checking = two.services.rooms.receiving._checking
    running = Running(checking.check(version, RoomId(room), [by_user[user] for user in sorted(by_user)]))
    federation.settle()

    checked = running.result()
    found = {event.state_key: event for event in checked.events}
    assert by_user.keys() - found.keys() == {"@member300:one", "@member320:one"}
    assert found["@member310:one"].content == {"membership": "join"}
    assert {type(problem) for problem in checked.problems.values()} == {BadSignature, BadPdu}
