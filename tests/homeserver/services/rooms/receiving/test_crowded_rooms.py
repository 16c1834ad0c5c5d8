"""Forks of a room of many members: what they cost depends on the forks, not on the members.

`scripts/bench/federation_forks.py` measures the same with threads, cold and warm.
"""

from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import NamedTuple

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import room_version
from homeserver.runtime.database import Transaction
from tests.support.clock import FakeClock
from tests.support.crowded_room import CrowdedRoom
from tests.support.database import Databases
from tests.support.resolved_state import check_sets
from tests.support.running import result
from tests.support.whole_server import WholeServer

FORKS = 50


class Cost(NamedTuple):
    events_read: int
    bytes_stored: int
    """Of state sets."""


class Costs:
    """Of what a room takes in."""

    def __init__(self, crowd: CrowdedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
        self._crowd = crowd
        self._read = 0
        read = Event.from_raw.__func__  # type: ignore[attr-defined]

        def counted(cls: type[Event], *args: object, **wishes: object) -> Event:
            self._read += 1
            event: Event = read(cls, *args, **wishes)
            return event

        monkeypatch.setattr(Event, "from_raw", classmethod(counted))

    def of(self, event: Event) -> Cost:
        """What it costs to take it in."""
        self._read, before = 0, self._stored()
        self._crowd.receive(event)
        return Cost(self._read, self._stored() - before)

    def _stored(self) -> int:
        return result(self._crowd.server.database.read(_bytes_of_sets))


def _bytes_of_sets(txn: Transaction) -> int:
    return int(txn.value("SELECT SUM(LENGTH(added)) FROM state_sets"))


def forked(server: WholeServer, version: str, members: int, *, forks: int = FORKS) -> CrowdedRoom:
    """Nobody of the server may close the forks."""
    crowd = CrowdedRoom(server, room_version(version), members=members)
    crowd.leave_it_open()
    for number in range(forks):
        crowd.receive(*crowd.fork(number))
    assert len(crowd.heads) == forks
    return crowd


@pytest.fixture
def servers(databases: Databases, time: FakeClock, tmp_path: Path) -> Iterator[list[WholeServer]]:
    """Two, one for each room."""
    both = [WholeServer(databases.fresh("sqlite"), time, folder=tmp_path / name) for name in ("a", "b")]
    yield both
    for server in both:
        server.stop()


@pytest.mark.parametrize("version", ["6", "12"])
def test_a_fork_costs_the_same_in_a_room_of_many_members(
    servers: list[WholeServer], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (
        forked(server, version, members, forks=25)
        for server, members in zip(servers, (200, 1_000), strict=True)
    )
    cheap, dear = Costs(few, monkeypatch), Costs(many, monkeypatch)
    for heads in (slice(0, 0), slice(0, 20)):
        less, more = (
            costs.of(crowd.after(crowd.heads[heads] or crowd.trunk.heads, 51, is_state=True))
            for crowd, costs in ((few, cheap), (many, dear))
        )
        assert more.events_read == less.events_read < 400
        assert more.bytes_stored < 1_000
    for crowd in (few, many):
        result(crowd.server.database.read(check_sets, crowd.room))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["11", "12"])
def test_fifty_forks_of_ten_thousand_members_are_resolved_within_a_second(
    each_server: WholeServer, version: str
) -> None:
    crowd = forked(each_server, version, 10_000)
    each_server.restart()
    fork = crowd.after(crowd.trunk.heads, 51, is_state=True)
    began = process_time()
    crowd.receive(fork)
    assert process_time() - began < 1

    joined = crowd.after(crowd.heads[:20], 52, is_state=True)
    began = process_time()
    crowd.receive(joined)
    assert process_time() - began < 1

    assert len(crowd.heads) == FORKS + 1 + 1 - 20
    began = process_time()
    said = crowd.carol.send(crowd.room, "after ten of them")
    assert process_time() - began < 1
    assert len(crowd.heads) == FORKS + 1 + 1 - 20 + 1 - 10
    assert said in crowd.heads
