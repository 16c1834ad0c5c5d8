"""Servers that speak with one another; without a Synapse to be had, what needs one is skipped."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.peers.conftest import missing
from tests.peers.federation.dendrite import DendritePeer
from tests.peers.federation.people import Outside
from tests.peers.federation.servers import Peer, PostroomPeer, SynapsePeer
from tests.peers.federation.sides import Sides, both_ways
from tests.peers.federation.synapse import NoSynapse, synapse_python
from tests.support.certificates import Authority

Start = Callable[..., Outside]
KINDS: dict[str, type[Peer]] = {"postroom": PostroomPeer, "synapse": SynapsePeer, "dendrite": DendritePeer}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates the servers believe."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def synapse_is_there() -> None:
    """Skip, or fail where peers are required, if there is no Synapse."""
    try:
        synapse_python()
    except NoSynapse as error:
        missing(str(error))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Start]:
    """Starts servers: `start("synapse")`, `start("postroom")`. No log of ours holds a traceback."""
    processes: list[Peer] = []
    numbers = count(2)

    def start(kind: str, **more: object) -> Outside:
        number = next(numbers)
        folder: Path = tmp_path_factory.mktemp(f"{kind}-{number}")
        process = KINDS[kind](folder, authority, f"127.0.0.{number}", **more)  # type: ignore[arg-type]
        processes.append(process)
        process.start()
        return Outside(process)

    yield start
    for process in processes:
        process.end()
    for process in processes:
        if isinstance(process, PostroomPeer):
            assert not process.tracebacks(), process.tracebacks()


@pytest.fixture(scope="module")
def postroom(start: Start) -> Outside:
    """POSTROOM_STAND_IN=synapse puts a second Synapse in its place: what fails then is the test's fault."""
    return start(os.environ.get("POSTROOM_STAND_IN", "postroom"))


@pytest.fixture(scope="module")
def synapse(start: Start, synapse_is_there: None) -> Outside:
    return start("synapse")


@pytest.fixture(params=both_ways("postroom", "synapse"))
def sides(request: pytest.FixtureRequest, postroom: Outside, synapse: Outside) -> Sides:
    """Each of the two hosts in turn."""
    return Sides(postroom, synapse) if request.param == "postroom" else Sides(synapse, postroom)
