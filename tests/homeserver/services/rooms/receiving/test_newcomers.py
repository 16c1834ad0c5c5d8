"""A server that comes in, or is let in again, learns what was said beside that, before anybody speaks."""

from typing import NamedTuple

import pytest

from tests.support.federation import Federation
from tests.support.people import Person

ACL = "m.room.server_acl"
HIDDEN = 4


class House(NamedTuple):
    """Alice's room on `one`, with Bob of `two`; Carol of `three` is not in it yet."""

    federation: Federation
    alice: Person
    bob: Person
    carol: Person
    room: str

    def dummies(self) -> int:
        """How many there are that nobody is shown."""
        return sum(one.status == HIDDEN for one in self.federation.events_of(self.room, "one").values())

    def quiet(self) -> None:
        """Long enough for all to be sent and fetched; nobody says a word."""
        self.federation.heal(after_s=600)

    def heard_by_carol(self) -> list[str]:
        """After a quiet time: one event that nobody is shown has told her, and all have the same."""
        self.quiet()
        self.check()
        assert self.dummies() == 1
        return self.carol.sync().texts(self.room)

    def fork_once_all_know_carol(self) -> None:
        """Bob and Alice speak at the same time; nobody says anything after that."""
        self.federation.join(self.carol, self.room, via="one")
        self.federation.settle()
        self.federation.part("two")
        self.bob.send(self.room, "here")
        self.alice.set_state(self.room, "m.room.topic", {"topic": "there"})
        self.federation.settle()
        self.quiet()

    def check(self) -> None:
        """All have the same room, up to its last events."""
        names = list(self.federation.all)
        self.federation.check_agreement(self.room, *names)
        assert len({frozenset(self.federation.heads_of(self.room, name)) for name in names}) == 1
        for name in names:
            self.federation.check_memory(self.room, name)


@pytest.fixture
def house(federation: Federation) -> House:
    one, two, three = federation.servers("one", "two", "three")
    alice, bob, carol = one.register("alice"), two.register("bob"), three.register("carol")
    room = alice.create_room(preset="public_chat")
    federation.join(bob, room, via="one")
    federation.settle()
    return House(federation, alice, bob, carol, room)


def test_what_was_said_behind_a_cut_line_while_a_server_came_in(house: House) -> None:
    house.federation.part("two")
    house.bob.send(house.room, "alone on an island")
    house.federation.join(house.carol, house.room, via="one")
    house.federation.settle()

    assert "alone on an island" in house.heard_by_carol()


def test_what_was_said_by_many_on_the_same_side(house: House) -> None:
    (four,) = house.federation.servers("four")
    dora = four.register("dora")
    house.federation.join(dora, house.room, via="one")
    house.federation.settle()
    for island in ("two", "four"):
        for other in ("one", "three"):
            house.federation.network.cut(island, other)
    house.bob.send(house.room, "first")
    house.federation.settle()
    dora.send(house.room, "second")
    house.federation.settle()
    house.federation.join(house.carol, house.room, via="one")
    house.federation.settle()

    house.quiet()

    assert {"first", "second"} <= set(house.carol.sync().texts(house.room))
    house.check()
    assert house.dummies() == 1


def test_what_a_server_said_while_it_was_shut_out(house: House) -> None:
    house.federation.join(house.carol, house.room, via="one")
    house.federation.settle()
    house.alice.set_state(house.room, ACL, {"allow": ["*"], "deny": ["two"]})
    house.federation.settle()
    house.bob.send(house.room, "do you hear me?")
    house.federation.settle()
    house.alice.set_state(house.room, ACL, {"allow": ["*"], "deny": []})

    house.quiet()

    assert "do you hear me?" in house.alice.sync().texts(house.room)
    house.check()


def test_nothing_is_written_where_the_newcomer_follows_all_that_was_said(house: House) -> None:
    house.bob.send(house.room, "hello")
    house.federation.settle()
    house.federation.join(house.carol, house.room, via="one")
    house.carol.send(house.room, "hello")

    house.quiet()

    house.check()
    assert house.dummies() == 0


def test_nothing_is_written_for_a_fork_of_those_who_know_each_other(house: House) -> None:
    house.fork_once_all_know_carol()

    house.check()
    assert house.dummies() == 0


def test_nothing_is_written_where_somebody_has_spoken_after_both(house: House) -> None:
    federation = house.federation
    federation.network.cut("one", "two")
    house.bob.send(house.room, "alone on an island")
    federation.join(house.carol, house.room, via="one")
    federation.network.heal()
    for _ in range(600):
        federation.time.advance(0.5)
        if all(len(federation.heads_of(house.room, name)) == 2 for name in ("one", "two")):
            break
    house.alice.send(house.room, "I hear you")
    federation.time.advance(0.5)
    assert len(federation.heads_of(house.room, "two")) == 1

    federation.part("two")
    house.bob.send(house.room, "alone again")
    house.alice.send(house.room, "we, too")

    house.quiet()

    house.check()
    assert house.dummies() == 0


class TestServersThatDoNothingThemselves:
    """Bob may not send dummy events: it is for Alice's server to see that his words were not heard."""

    @pytest.fixture(autouse=True)
    def only_alice_may(self, house: House) -> None:
        levels = house.alice.state_of(house.room, "m.room.power_levels")
        only_alice = {**levels, "events": {**levels["events"], "org.matrix.dummy_event": 100}}
        house.alice.set_state(house.room, "m.room.power_levels", only_alice)
        house.federation.settle()

    def test_what_was_said_before_the_server_heard_of_the_newcomer(self, house: House) -> None:
        house.federation.network.cut("one", "two")
        house.federation.join(house.carol, house.room, via="one")
        house.federation.settle()
        house.bob.send(house.room, "alone on an island")

        assert "alone on an island" in house.heard_by_carol()

    def test_what_nobody_could_verify_when_it_was_told_of(self, house: House) -> None:
        """Carol's server has no keys of Bob's, and lets that be for a while after it could not reach it."""
        house.federation.part("two")
        house.federation.join(house.carol, house.room, via="one")
        house.federation.settle()
        house.bob.send(house.room, "alone on an island")

        assert "alone on an island" in house.heard_by_carol()

    def test_what_was_there_before_the_newcomer_was_told_of(self, house: House) -> None:
        house.federation.network.cut("one", "two")
        house.bob.send(house.room, "alone on an island")
        house.federation.join(house.carol, house.room, via="one")
        house.federation.settle()

        assert "alone on an island" in house.heard_by_carol()

    def test_nothing_is_written_for_a_fork_of_those_who_know_the_newcomer(self, house: House) -> None:
        house.fork_once_all_know_carol()

        house.check()
        assert house.dummies() == 0
