"""Three Postrooms and a Synapse that lose sight of one another, stop, and are killed: in the end all have the
same room, with everything in it that a server said yes to, once.

In CI a few of everything. POSTROOM_FEDERATION=full: 5,000 events missed by one server, forty kills, 200
histories on servers that are processes (`real_histories`), and 400 in memory (`scenarios`).
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import FIGURE
from tests.peers.conftest import missing
from tests.peers.federation.real_histories import KINDS, History, found_club
from tests.peers.federation.scenarios import in_memory
from tests.peers.federation.synapse import NoSynapse, synapse_python
from tests.peers.federation.village import Gathering, Village, settled
from tests.peers.federation.wires import Fault
from tests.support.certificates import Authority
from tests.support.database import Databases

IS_FULL = os.environ.get("POSTROOM_FEDERATION") == "full"
HISTORIES = 200 if IS_FULL else 3
IN_MEMORY = 400 if IS_FULL else 12
MISSED = 5_000 if IS_FULL else 200
KILLS = 40 if IS_FULL else 4
OUTAGE_S = 10.0 if IS_FULL else 2.0
HEALED_WITHIN_S = 10.0
"""After OUTAGE_S; twice that is added where packets vanished: TCP, too, waits longer each time."""

SHAPES = [("one", Fault.HANGS), ("pairs", Fault.REFUSED)]
if IS_FULL:
    SHAPES += [("one", Fault.REFUSED), ("pairs", Fault.HANGS)]

Figure = Callable[[str], None]

on_servers = pytest.mark.xdist_group("village")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def village(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, databases: Databases
) -> Iterator[Village]:
    """All of the module's tests share the servers, each has a room of its own."""
    try:
        synapse_python()
    except NoSynapse as error:
        missing(str(error))
    url = databases.empty("postgresql")
    with settled(tmp_path_factory.mktemp("village"), authority, KINDS, postgresql_url=url) as village:
        yield village


@pytest.fixture(scope="module")
def club(village: Village) -> str:
    return found_club(village)


@pytest.fixture(autouse=True)
def whole_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the village."""
    yield
    if "village" in request.fixturenames:
        village: Village = request.getfixturevalue("village")
        village.wires.heal()
        village.start_all()


@pytest.fixture
def figure(record_property: Callable[[str, object], None], request: pytest.FixtureRequest) -> Figure:
    """What the run tells at its end, and through what it ran."""

    def figure(told: str) -> None:
        kind = request.getfixturevalue("village").wires.kind
        record_property(FIGURE, f"{told} ({kind})")

    return figure


def everybody_writes(gathering: Gathering, when: str, *, times: int = 5) -> None:
    for number in range(times):
        for person in gathering.people:
            gathering.say(person, f"{person} {when}: {number}")
    gathering.write_diaries()


def quarrel(gathering: Gathering) -> None:
    """What cannot all be true at once."""
    room = gathering.room
    first, second, third, _ = gathering.people
    for person in gathering.people:
        person.set_state(room, "m.room.name", {"name": f"{person}'s"})
    third.set_state(room, "m.room.topic", {"topic": "third"})
    levels = first.state_of(room, "m.room.power_levels")
    first.set_state(room, "m.room.power_levels", {**levels, "events_default": 1})
    second.set_state(room, "m.room.power_levels", {**levels, "invite": 42})
    late = gathering.village.late
    late[0].leave(room)
    second.ban(room, late[0])
    first.kick(room, late[1])
    event_id = first.send(room, "I take this back")
    first.redact(room, event_id)


def heals(gathering: Gathering, figure: Figure, what: str, *, within: float) -> None:
    """The wires are whole: how soon do all know everything, before anybody speaks again?"""
    gathering.village.wires.heal()
    took = gathering.is_one_again()
    figure(f"{what}: healed in {took:.1f} s")
    assert took < within, f"healed in {took:.1f} s"


@on_servers
@pytest.mark.parametrize(("shape", "fault"), SHAPES)
def test_both_sides_of_a_partition_write(village: Village, figure: Figure, shape: str, fault: Fault) -> None:
    gathering = village.meet()
    one, other, third, fourth = village.peers
    began = time.monotonic()
    if shape == "one":
        village.wires.isolate(one, fault)
    else:
        for left in (one, fourth):
            for right in (other, third):
                village.wires.cut(left, right, fault)
    everybody_writes(gathering, "alone")
    quarrel(gathering)
    time.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
    within = HEALED_WITHIN_S + (2 * OUTAGE_S if fault is Fault.HANGS else 0)
    heals(gathering, figure, f"{shape} cut off, {fault.value}, for {OUTAGE_S:.0f} s", within=within)


@on_servers
def test_nothing_gets_through_one_way(village: Village, figure: Figure) -> None:
    """What is sent arrives; that it did, the sender does not learn. Nothing is there twice."""
    gathering = village.meet()
    one, other, _, fourth = village.peers
    began = time.monotonic()
    for deaf in (other, fourth):
        village.wires.cut(deaf, one, one_way=True)
    everybody_writes(gathering, "unheard")
    time.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
    heals(gathering, figure, f"one way for {OUTAGE_S:.0f} s", within=HEALED_WITHIN_S + 2 * OUTAGE_S)


@on_servers
def test_every_pair_is_parted_in_turn(village: Village, figure: Figure) -> None:
    """What one cannot tell another directly, it learns from a third."""
    gathering = village.meet()
    peers = village.peers
    for index, one in enumerate(peers):
        for other in peers[index + 1 :]:
            village.wires.cut(one, other, Fault.REFUSED)
            everybody_writes(gathering, f"without {one.name} and {other.name}", times=2)
            gathering.people[index].set_state(gathering.room, "m.room.topic", {"topic": f"{index}"})
            village.wires.heal()
    heals(gathering, figure, "every pair in turn", within=HEALED_WITHIN_S)


@on_servers
def test_a_link_comes_and_goes(village: Village, figure: Figure) -> None:
    gathering = village.meet()
    one, _, third, fourth = village.peers
    for turn in range(10 if IS_FULL else 4):
        village.wires.cut(one, third, Fault.REFUSED if turn % 3 == 0 else Fault.HANGS)
        village.wires.cut(one, fourth)
        everybody_writes(gathering, f"in turn {turn}", times=1)
        village.wires.heal()
        time.sleep(0.1)
    heals(gathering, figure, "a link that comes and goes", within=HEALED_WITHIN_S)


@on_servers
def test_lines_that_are_slow_and_lose_packets(village: Village, figure: Figure) -> None:
    gathering = village.meet()
    for peer in village.peers:
        village.wires.slow_down(peer)
    everybody_writes(gathering, "slowly", times=10)
    took = gathering.is_one_again()
    figure(f"bad lines everywhere: one in {took:.1f} s")


@on_servers
def test_a_server_that_was_off_catches_up(village: Village, figure: Figure) -> None:
    gathering = village.meet()
    first, second, third, fourth = gathering.people
    assert village.peers[2].stop() == 0
    village.servers[2].hang_up()
    writers = [first, second, fourth] if IS_FULL else [first, second]
    for number in range(MISSED // len(writers)):
        for person in writers:
            gathering.say(person, f"{person}, missed {number}")
        if number % 50 == 0:
            first.set_state(gathering.room, "m.room.topic", {"topic": f"{number}"})
    village.peers[2].start()
    began = time.monotonic()
    gathering.converges([third], within=600)
    figure(f"caught up with {MISSED} events in {time.monotonic() - began:.1f} s")
    gathering.is_one_again(within=600)
    assert third.state_ids(gathering.room) == first.state_ids(gathering.room)


@on_servers
def test_servers_are_killed(village: Village, figure: Figure) -> None:
    """SIGKILL of any of them while all are busy. What was not answered is said again, as clients do."""
    random = Random(int(os.environ.get("POSTROOM_KILL_SEED", "1")))
    gathering = village.meet()
    for round_ in range(KILLS):
        victim = village.servers[round_ % 4]
        everybody_writes(gathering, f"in round {round_}", times=random.randrange(3))
        gathering.kill_while_busy(victim, f"in kill {round_}", after_s=random.uniform(0, 0.5))
        for person in gathering.people:
            if person.server is not victim:
                gathering.say(person, f"{person} without {victim.name} in round {round_}")
        village.start(victim)
        gathering.repeat_unanswered()
    took = gathering.is_one_again()
    figure(f"{KILLS} kills, {len(gathering.said)} events said: one in {took:.1f} s")


@on_servers
@pytest.mark.parametrize("seed", range(1, HISTORIES + 1))
def test_histories_on_servers(village: Village, club: str, figure: Figure, seed: int) -> None:
    history = History(village, seed, club)
    try:
        outcome = history.run()
    except BaseException:
        print("\n".join(history.told))
        raise
    figure(f"version {history.version}: {outcome}")


@pytest.mark.parametrize("seed", range(1, IN_MEMORY + 1))
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
