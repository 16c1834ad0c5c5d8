"""Servers that lose sight of one another, stop, and are killed: in the end all have the same room.

In CI a few of everything. POSTROOM_FEDERATION=full: a Synapse in the room too, 5,000 events missed by one
server, twenty kills, and 200 histories in memory (`python -m tests.peers.federation.scenarios` runs those
alone, quicker).
"""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.peers.conftest import missing
from tests.peers.federation.people import Neighbour, Outside
from tests.peers.federation.proxies import Proxies
from tests.peers.federation.scenarios import in_memory
from tests.peers.federation.servers import Peer, PostroomPeer, SynapsePeer
from tests.peers.federation.synapse import NoSynapse, synapse_python
from tests.support.certificates import Authority
from tests.support.database import Databases

IS_FULL = os.environ.get("POSTROOM_FEDERATION") == "full"
HISTORIES = 200 if IS_FULL else 10
MISSED = 5_000 if IS_FULL else 300
KILLS = 20 if IS_FULL else 4
PATIENCE_S = 120

pytestmark = pytest.mark.slow


@dataclass
class Village:
    """Servers behind proxies, a person on each, all in one room. `said`: events the servers said yes to."""

    proxies: Proxies
    servers: list[Outside]
    people: list[Neighbour] = field(default_factory=list)
    room: str = ""
    said: list[str] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    @property
    def peers(self) -> list[Peer]:
        return [server.process for server in self.servers]  # type: ignore[misc]

    def meet(self, **wishes: Any) -> None:
        """Everybody comes into one room."""
        self.people = [server.register(f"p{number}") for number, server in enumerate(self.servers)]
        first, *others = self.people
        power = {person.user_id: 100 for person in self.people}
        wishes = {"preset": "public_chat", "room_version": "11", **wishes}
        self.room = first.create_room(power_level_content_override={"users": power}, **wishes)
        for person in others:
            person.join_from(self.room, self.servers[0].name)
        for person in self.people:
            for other in self.people:
                person.sees_member_soon(self.room, other, "join")

    def say(self, person: Neighbour, text: str) -> None:
        self.said.append(person.send(self.room, text))
        self.texts.add(text)

    def is_one_again(self, *, within: float = PATIENCE_S) -> None:
        """After a word from each, all have the same state, and everything that was said, once."""
        for person in self.people:
            self.say(person, f"{person} is here {len(self.said)}")
        words = self.said[-len(self.people) :]
        deadline = time.monotonic() + within
        for person in self.people:
            person.sees_soon(self.room, *words, within=max(5.0, deadline - time.monotonic()))
        for person in self.people:
            left = max(5.0, deadline - time.monotonic())
            person.soon(partial(self.has_seen_all, person), "everything said", every=3, within=left)
        for person in self.people:
            person.soon(partial(self.has_same_state, person), "the same state", every=1, within=30)
            shown = [event["event_id"] for event in person.history(self.room)]
            assert len(shown) == len(set(shown)), "an event is there twice"
            bodies = [event["content"].get("body") for event in person.history(self.room)]
            said = [body for body in bodies if body in self.texts]
            assert len(said) == len(set(said)), "something was said once and is there twice"

    def has_seen_all(self, person: Neighbour) -> bool:
        unseen = set(self.said) - {event["event_id"] for event in person.history(self.room)}
        assert not unseen, f"{len(unseen)} of {len(self.said)} events are not there"
        return True

    def has_same_state(self, person: Neighbour) -> bool:
        mine, first = person.state_ids(self.room), self.people[0].state_ids(self.room)
        differing = {key for key in mine.keys() | first.keys() if mine.get(key) != first.get(key)}
        assert not differing, f"{person} differs in {differing}"
        return True


@pytest.fixture
def village(tmp_path: Path, authority: Authority) -> Iterator[Village]:
    """Three Postrooms; with POSTROOM_FEDERATION=full a Synapse besides."""
    proxies = Proxies()
    kinds: list[type[Peer]] = [PostroomPeer] * 3
    if IS_FULL:
        try:
            synapse_python()
            kinds.append(SynapsePeer)
        except NoSynapse as error:
            missing(str(error))
    peers = [
        kind(tmp_path / f"server{number}", authority, f"127.0.0.{number + 11}", proxied=True)
        for number, kind in enumerate(kinds)
    ]
    try:
        for peer in peers:
            proxies.add(peer)
            peer.start()
        yield Village(proxies, [Outside(peer) for peer in peers])
    finally:
        for peer in peers:
            peer.end()
        proxies.stop()
    for peer in peers:
        if isinstance(peer, PostroomPeer):
            assert not peer.tracebacks(), peer.tracebacks()


def test_both_sides_of_a_partition_write(village: Village) -> None:
    village.meet()
    first, second, third, *_ = village.people
    village.proxies.isolate(village.peers[0])
    for number in range(10):
        for person in village.people:
            village.say(person, f"{person} alone {number}")
    first.set_state(village.room, "m.room.name", {"name": "first"})
    second.set_state(village.room, "m.room.name", {"name": "second"})
    third.set_state(village.room, "m.room.topic", {"topic": "third"})
    levels = first.state_of(village.room, "m.room.power_levels")
    first.set_state(village.room, "m.room.power_levels", {**levels, "events_default": 1})
    second.set_state(village.room, "m.room.power_levels", {**levels, "invite": 42})
    village.proxies.heal()
    village.is_one_again()


def test_every_pair_is_parted_in_turn(village: Village) -> None:
    """What one cannot tell another directly, it learns from the third."""
    village.meet()
    peers = village.peers
    for index, (one, other) in enumerate(((0, 1), (1, 2), (0, 2))):
        village.proxies.cut(peers[one], peers[other])
        for number in range(5):
            for person in village.people:
                village.say(person, f"{person} in part {index}: {number}")
        village.people[index].set_state(village.room, "m.room.topic", {"topic": f"{index}"})
        village.proxies.heal()
    village.is_one_again()


def test_a_server_that_was_off_catches_up(village: Village) -> None:
    village.meet()
    first, second, third, *_ = village.people
    assert village.peers[2].stop() == 0
    third.server.hang_up()  # type: ignore[attr-defined]
    for number in range(MISSED // 2):
        village.say(first, f"first, missed {number}")
        village.say(second, f"second, missed {number}")
        if number % 50 == 0:
            first.set_state(village.room, "m.room.topic", {"topic": f"{number}"})
    village.peers[2].start()
    began = time.monotonic()
    village.is_one_again(within=PATIENCE_S if not IS_FULL else 600)
    print(f"caught up with {MISSED} events in {time.monotonic() - began:.1f} s")


def test_servers_are_killed(village: Village) -> None:
    """SIGKILL, at any moment, of any server: what it said yes to is there, once, everywhere."""
    seed = int(os.environ.get("POSTROOM_KILL_SEED", "1"))
    random = Random(seed)
    print(f"seed {seed}")
    village.meet()
    for round_ in range(KILLS):
        victim = random.randrange(3)
        for number in range(random.randrange(5, 25)):
            for person in village.people:
                village.say(person, f"{person} in round {round_}: {number}")
        village.peers[victim].kill()
        village.servers[victim].hang_up()
        for person in village.people[:victim] + village.people[victim + 1 :]:
            village.say(person, f"{person} while {victim} is down in round {round_}")
        village.peers[victim].start()
    village.is_one_again()


@pytest.mark.parametrize("seed", range(1, HISTORIES + 1))
def test_histories_in_memory(seed: int, databases: Databases, tmp_path: Path) -> None:
    with in_memory(seed, databases, tmp_path) as scenario:
        logging.disable(logging.CRITICAL)  # servers that crash complain
        try:
            scenario.run()
        except BaseException:
            print("\n".join(scenario.told))
            raise
        finally:
            logging.disable(logging.NOTSET)
