"""Events of a room's state whose signatures nobody could check when the room was joined."""

from typing import Any

import pytest

from homeserver.protocol.events import parse_pdu
from homeserver.protocol.ids import RoomId
from homeserver.services.rooms.receiving.checking import Checked
from homeserver.services.rooms.receiving.ports import Unproven
from homeserver.services.rooms.receiving.unproven import MOST_BEFORE_GAPS
from homeserver.storage.unproven_events import OF_JOINED_STATE
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.homeserver.services.rooms.receiving.test_partial_joins import crowded, members
from tests.support.federation import Federation
from tests.support.people import path
from tests.support.running import result

DAY_S = 86_400
COUNT = 40
"""Members, with which rooms are joined in part."""


class Away:
    """Alice's crowded room on `one`, with Carol of `three`; Bob of `two` comes in while `three` is down."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.alice, self.bob, self.room = crowded(federation, count=COUNT)
        (three,) = federation.servers("three")
        self.carol = three.register("carol")
        self.derek = federation.all["one"].register("derek")
        self.derek.join(self.room)
        federation.join(self.carol, self.room, via="one")
        federation.settle()

    def come_in(self) -> None:
        self.federation.network.down.add("three")
        self.bob.ask("POST", path("join", self.room), {}, via="one")
        self.federation.settle()
        self.federation.time.advance(120)
        self.federation.settle()
        assert not self.federation.all["two"].services.rooms.receiving.is_partial(RoomId(self.room))
        assert members(self.federation.all["two"], self.room) == COUNT + 3
        self.bob.sync()

    def come_back(self) -> None:
        """And `two` did not ask for its keys in vain a moment ago."""
        self.federation.network.heal()
        self.federation.all["two"].services.rooms.receiving._checking._keys._asked.clear()

    def pass_time(self) -> None:
        """Enough for what is on its way, and not for `two` to look again of itself."""
        for _ in range(60):
            self.federation.time.advance(0.5)

    def has_carol(self) -> bool:
        return ("m.room.member", self.carol.user_id) in self.federation.state_of(self.room, "two")

    def waiting(self) -> int:
        """How many events of the room nobody could verify yet."""
        sql = "SELECT COUNT(*) FROM unproven_events WHERE LENGTH(raw) > 0"
        count: int = self.federation.read(self.federation.all["two"], lambda txn: txn.value(sql))
        return count

    def check(self) -> None:
        federation, room = self.federation, self.room
        assert federation.state_of(room, "two") == federation.state_of(room, "one")
        federation.check_memory(room, "two")

    def by_carol(self, type_: str, content: dict[str, Any], **more: Any) -> Any:
        return made(self.federation, "three", self.room, type_, self.carol.user_id, content, **more)


@pytest.fixture
def away(federation: Federation) -> Away:
    return Away(federation)


def test_who_could_not_be_checked_is_a_member_once_their_server_is_back(away: Away) -> None:
    away.come_in()
    away.bob.send(away.room, "who is here?")
    away.alice.set_state(away.room, "m.room.topic", {"topic": "new"})
    away.federation.settle()
    assert not away.has_carol()

    away.federation.heal(after_s=3_600)

    away.check()
    assert away.bob.membership_of(away.room, away.carol) == "join"
    assert away.carol.user_id in away.bob.sync().members(away.room)
    away.bob.send(away.room, "hello Carol")
    away.federation.settle()
    assert "hello Carol" in away.carol.sync().texts(away.room)


@pytest.mark.parametrize("version", ["1", "10", "12"])
def test_the_same_where_the_state_came_with_the_answer_to_the_join(
    federation: Federation, version: str
) -> None:
    one, two, three = federation.servers("one", "two", "three")
    alice, bob, carol = one.register("alice"), two.register("bob"), three.register("carol")
    room = alice.create_room(preset="public_chat", room_version=version)
    federation.join(carol, room, via="one")
    federation.settle()
    federation.network.down.add("three")
    federation.join(bob, room, via="one")
    assert ("m.room.member", carol.user_id) not in federation.state_of(room, "two")

    federation.heal(after_s=3_600)

    assert federation.state_of(room, "two") == federation.state_of(room, "one")
    federation.check_memory(room, "two")


def test_what_they_say_first_is_not_lost(away: Away) -> None:
    away.come_in()
    away.come_back()

    first = away.carol.send(away.room, "I am back")  # her server has not heard of Bob yet
    away.pass_time()
    second = away.carol.send(away.room, "who is here?")
    away.pass_time()

    assert away.bob.sync().texts(away.room) == ["I am back", "who is here?"]
    assert {first, second} <= away.federation.accepted(away.room, "two")
    away.check()


def test_nor_what_follows_something_older(away: Away) -> None:
    away.come_in()
    heads = away.federation.heads_of(away.room, "two")
    for number in range(3):
        away.bob.send(away.room, f"meanwhile {number}")
    away.alice.set_state(away.room, "m.room.topic", {"topic": "meanwhile"})
    away.federation.settle()
    away.come_back()
    said = away.by_carol("m.room.message", {"msgtype": "m.text", "body": "late"}, prev=heads, depth=60)

    assert receive(away.federation, "two", away.room, [said], origin="three") == {said.event_id: None}

    assert away.bob.sync().texts(away.room)[-1] == "late"
    assert away.has_carol()
    away.federation.check_memory(away.room, "two")


def test_it_is_not_forgotten_over_a_restart(away: Away) -> None:
    away.come_in()
    away.federation.all["two"].restart()
    away.federation.settle()
    assert not away.has_carol()

    away.federation.heal(after_s=3_600)

    away.check()


def test_a_ban_that_could_not_be_checked_counts_after_all(away: Away) -> None:
    levels = away.alice.state_of(away.room, "m.room.power_levels")
    users = {**levels.get("users", {}), away.carol.user_id: 50}
    away.alice.set_state(away.room, "m.room.power_levels", {**levels, "users": users})
    away.federation.settle()
    away.carol.ask("POST", path("rooms", away.room, "ban"), {"user_id": away.derek.user_id})
    away.federation.settle()
    federation, derek = away.federation, away.derek.user_id
    federation.network.down.add("three")
    away.bob.ask("POST", path("join", away.room), {}, via="one")
    federation.settle()
    is_v12 = not away.room.partition(":")[2]
    named = [("m.room.power_levels", ""), ("m.room.join_rules", "")]
    again = made(
        federation, "one", away.room, "m.room.member", derek, {"membership": "join"}, state_key=derek,
        auth=named if is_v12 else [("m.room.create", ""), *named],
    )  # fmt: skip
    assert receive(federation, "two", away.room, [again], origin="one") == {again.event_id: None}
    assert away.bob.membership_of(away.room, away.derek) == "join"

    federation.heal(after_s=3_600)

    assert away.bob.membership_of(away.room, away.derek) == "ban"
    state = federation.state_of(away.room, "one")
    assert federation.state_of(away.room, "two")["m.room.member", derek] == state["m.room.member", derek]


def test_what_rests_on_it_comes_too(federation: Federation) -> None:
    """Dave was invited by Carol: his join is good only if her invite and her join are."""
    one, two, three = federation.servers("one", "two", "three")
    alice, bob, carol, dave = (
        one.register("alice"), two.register("bob"), three.register("carol"), one.register("dave")
    )  # fmt: skip
    room = alice.create_room(preset="private_chat", invite=[carol.user_id])
    federation.settle()
    federation.join(carol, room, via="one")
    federation.settle()
    carol.invite(room, dave)
    federation.settle()
    dave.join(room)
    alice.invite(room, bob)
    federation.settle()
    federation.network.down.add("three")
    federation.join(bob, room, via="one")
    assert ("m.room.member", dave.user_id) not in federation.state_of(room, "two")

    federation.heal(after_s=3_600)

    assert federation.state_of(room, "two") == federation.state_of(room, "one")


def test_who_came_while_we_were_away_and_is_gone_again(federation: Federation) -> None:
    """Carol's join lies in a gap, and the state after that is asked for."""
    one, two, three = federation.servers("one", "two", "three")
    alice, bob, carol = one.register("alice"), two.register("bob"), three.register("carol")
    room = alice.create_room(preset="public_chat")
    federation.join(bob, room, via="one")
    federation.settle()
    federation.part("two")
    federation.join(carol, room, via="one")
    federation.settle()
    federation.network.down.add("three")
    federation.network.cuts.clear()
    federation.time.advance(7_200)
    alice.send(room, "after the gap")
    federation.settle()
    assert bob.sync().texts(room)[-1] == "after the gap"
    assert ("m.room.member", carol.user_id) not in federation.state_of(room, "two")

    federation.heal(after_s=3_600)

    assert federation.state_of(room, "two") == federation.state_of(room, "one")
    federation.check_memory(room, "two")


def test_what_turns_out_to_be_forged_is_dropped(away: Away) -> None:
    away.come_in()
    two, key = away.federation.all["two"], ("m.room.test", "")
    good = away.by_carol(*key[:1], {"body": "hers"}, state_key="")
    forged = parse_pdu(good.version, {**good.pdu, "origin_server_ts": 1})
    room = result(two.services.rooms.rooms.load(RoomId(away.room)))
    noted = two.services.rooms.receiving._unproven.note(
        (room.room_id, room.nid), [Checked([], {forged.event_id: Unproven(forged, "no key")})], {},
        [forged.event_id], OF_JOINED_STATE,
    )  # fmt: skip
    result(noted)

    away.federation.heal(after_s=3_600)

    away.check()
    assert key not in away.federation.state_of(away.room, "two")
    assert away.waiting() == 0


def test_what_anybody_can_make_up_does_not_fill_the_disk(away: Away) -> None:
    away.come_in()
    two = away.federation.all["two"]
    room = result(two.services.rooms.rooms.load(RoomId(away.room)))
    unproven = two.services.rooms.receiving._unproven
    made_up = [away.by_carol("m.room.message", {"body": f"{n}"}) for n in range(MOST_BEFORE_GAPS + 10)]

    result(unproven.note_gap((room.room_id, room.nid), made_up))
    assert away.waiting() == MOST_BEFORE_GAPS

    result(unproven.note_gap((room.room_id, room.nid), made_up))
    assert away.waiting() == MOST_BEFORE_GAPS


def test_a_server_that_never_returns_is_asked_less_and_less(away: Away) -> None:
    away.come_in()
    asked: list[str] = []
    real = away.federation.network.find

    def find(origin: str, host: str) -> Any:
        asked.append(f"{origin} asks {host}")
        return real(origin, host)

    away.federation.network.find = find  # type: ignore[method-assign]
    for _ in range(10):
        away.federation.time.advance(DAY_S)
    attempts = asked.count("two asks three")
    assert attempts >= 5
    for _ in range(5):
        away.federation.time.advance(DAY_S)
    assert asked.count("two asks three") == attempts


def test_who_leaves_waits_for_nobody(away: Away) -> None:
    away.come_in()
    away.bob.leave(away.room)
    away.federation.settle()
    away.federation.heal(after_s=3_600)

    assert away.waiting() == 0
    away.federation.join(away.bob, away.room, via="one")
    away.federation.heal(after_s=600)
    away.check()


def test_a_member_who_left_meanwhile_does_not_come_back(away: Away) -> None:
    away.come_in()
    away.alice.ask("POST", path("rooms", away.room, "kick"), {"user_id": away.carol.user_id})
    away.federation.settle()
    away.federation.heal(after_s=3_600)

    assert away.bob.membership_of(away.room, away.carol) == "leave"
    away.check()
