#!/usr/bin/env python3
"""What forks of a large room cost: wall and CPU time, the longest pause of the reactor, bytes of state sets.

    python scripts/bench/federation_forks.py [--members 10000] [--forks 50] [--versions 6,10,11,12]
        [--databases sqlite,postgresql]

A room of so many members of eight servers is forked so many times; every branch changes power levels twice,
bans somebody and names a topic. A fresh process then takes in events that fork it once more, that follow
twenty of its heads, or that a local member sends; nobody here may close the forks. In `flood` all forks come
in at once, and a local member may close them. In `old` a member sends events that follow the room as it was
long ago, after a tenth of its members had joined, and two, and so on. `first`: nothing of the room is in
memory. `longest_pause_ms` is the clock's, so other programs count too; `reactor_busy_ms` the most CPU time
that the reactor's thread spent between two turns. Prints JSON.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from twisted.internet.task import LoopingCall  # noqa: E402

from homeserver import config  # noqa: E402
from homeserver.app import App  # noqa: E402
from homeserver.app.services import Runtime, build_services, connect  # noqa: E402
from homeserver.config.signing_key import read_signing_key  # noqa: E402
from homeserver.protocol.ids import RoomId, ServerName, UserId  # noqa: E402
from homeserver.protocol.room_versions import room_version  # noqa: E402
from homeserver.runtime.clock import Clock  # noqa: E402
from homeserver.runtime.concurrency import run  # noqa: E402
from homeserver.runtime.database import Transaction, open_database  # noqa: E402
from homeserver.runtime.heap import settle  # noqa: E402
from homeserver.runtime.metrics import Metrics  # noqa: E402
from homeserver.runtime.reactor import Reactor, install_reactor  # noqa: E402
from homeserver.runtime.tasks import Tasks  # noqa: E402
from homeserver.runtime.threads import Threads  # noqa: E402
from homeserver.services.rooms.proposals import Proposal  # noqa: E402
from tests.support.clock import FakeClock  # noqa: E402
from tests.support.crowded_room import CrowdedRoom, pdus_of  # noqa: E402
from tests.support.database import storage_migrations  # noqa: E402
from tests.support.network import Network  # noqa: E402
from tests.support.postgresql import Server  # noqa: E402
from tests.support.whole_server import QUIET, WholeServer  # noqa: E402

TICK_S = 0.005
SETS = "SELECT COUNT(*), COALESCE(SUM(LENGTH(added)), 0) FROM state_sets"
RUNS = {
    "flood": ("flood",),
    "old": tuple(f"old {tenth}" for tenth in range(1, 10)),
    "fork": ("fork (first)", "fork", "message fork", "local (first)", "local"),
    "join": ("after twenty (first)", "after twenty"),
}
"""What is measured in one process, one after the other, each on a copy of the database."""


# Building


def build(url: str, folder: Path, version: str, wanted: argparse.Namespace, copy: "Copies") -> dict[str, Any]:
    """The room, and its copies; the events that are to be sent."""
    server = WholeServer(url, FakeClock(), settings=QUIET, folder=folder)
    crowd = CrowdedRoom(server, room_version(version), members=wanted.members)
    flood = [event for number in range(wanted.forks) for event in crowd.fork(number)]
    events: dict[str, Any] = {"flood": pdus_of(flood)}
    server.stop()
    old = {f"old {tenth}": crowd.long_ago(tenth / 10) for tenth in range(1, 10)}
    for name in ("flood", "old"):
        copy.make(name)
    server._start()
    crowd.leave_it_open()
    for number in range(wanted.forks):
        crowd.receive(*crowd.fork(number))
    heads, start = crowd.heads, crowd.trunk.heads
    made = {
        "fork (first)": crowd.after(start, 51, is_state=True),
        "fork": crowd.after(start, 52, is_state=True),
        "message fork": crowd.after(start, 53),
        "after twenty (first)": crowd.after(heads[:20], 54, is_state=True),
        "after twenty": crowd.after(heads[20:40], 55, is_state=True),
    }
    server.stop()
    for name in ("fork", "join"):
        copy.make(name)
    events |= {name: pdus_of([event]) for name, event in (made | old).items()}
    return {"room": crowd.room, "carol": crowd.carol.user_id, "heads": len(heads), "events": events}


class Copies:
    """Of a database, under names."""

    def __init__(self, folder: Path, postgresql: Server | None, number: int) -> None:
        self._folder, self._postgresql, self._number = folder, postgresql, number
        self.urls: dict[str, str] = {}

    def source(self) -> str:
        if self._postgresql is None:
            return f"sqlite:///{self._folder / 'source.db'}"
        return self._postgresql.create_database(f"source{self._number}")

    def make(self, name: str) -> None:
        if self._postgresql is None:
            shutil.copyfile(self._folder / "source.db", self._folder / f"{name}.db")
            self.urls[name] = f"sqlite:///{self._folder / name}.db"
        else:
            self.urls[name] = self._postgresql.create_database(
                f"{name}{self._number}", template=f"source{self._number}"
            )


# Measuring, in a process of its own


class Pauses:
    """How late a call came that should come every 5 ms, and how much CPU time its thread spent meanwhile."""

    def __init__(self, reactor: Reactor) -> None:
        self.longest_s = self.busiest_s = 0.0
        self._last, self._spent = time.monotonic(), time.thread_time()
        self._looping = LoopingCall(self._tick)
        self._looping.clock = reactor  # type: ignore[assignment]
        self._looping.start(TICK_S)

    def _tick(self) -> None:
        now, spent = time.monotonic(), time.thread_time()
        self.longest_s = max(self.longest_s, now - self._last - TICK_S)
        self.busiest_s = max(self.busiest_s, spent - self._spent)
        self._last, self._spent = now, spent


@contextmanager
def serving(reactor: Reactor, url: str, folder: Path) -> Iterator[App]:
    """The server with its threads, without sockets."""
    settings = config.parse(f"{QUIET}\ndatabase: {url}\n", folder / "homeserver.yaml")
    clock = Clock(reactor)
    database = open_database(url, reactor, migrations=storage_migrations())
    threads = Threads(reactor, "blocking", 4)
    outside = Network().outside(settings.server_name)
    runtime = Runtime(clock, Tasks(clock), database, Metrics(), threads, threads, outside)
    services = build_services(settings, read_signing_key(settings.signing_key), runtime)
    connect(services)
    yield App(cast(Any, None), runtime, services, [])


async def measure(app: App, reactor: Reactor, plan: dict[str, Any]) -> dict[str, Any]:
    """One step after the other."""
    await app.start()
    database = app._runtime.database
    room = RoomId(plan["room"])
    pauses = Pauses(reactor)
    report: dict[str, Any] = {}

    async def receive(step: str) -> None:
        pdus = plan["events"][step]
        origin = ServerName(pdus[0]["sender"].partition(":")[2])
        outcomes = await app.services.rooms.receiving.receive(room, pdus, origin=origin)
        assert set(outcomes.values()) == {None}, outcomes

    async def send(_: str) -> None:
        said = Proposal("m.room.message", UserId(plan["carol"]), {"body": "x"})
        await app.services.rooms.writer.append(room, [said])

    for step in plan["steps"]:
        act: Callable[[str], Awaitable[None]] = send if step.startswith("local") else receive
        sets, size = await database.read(_sets)
        await app._runtime.clock.sleep(0.1)
        pauses.longest_s = pauses.busiest_s = 0.0
        began, cpu = time.monotonic(), time.process_time()
        await act(step)
        spent, wall = time.process_time() - cpu, time.monotonic() - began
        await app._runtime.clock.sleep(2 * TICK_S)
        after = await database.read(_sets)
        found = app.services.rooms.rooms.find(room)
        report[step] = {
            "wall_s": round(wall, 3), "cpu_s": round(spent, 3),
            "longest_pause_ms": round(pauses.longest_s * 1000),
            "reactor_busy_ms": round(pauses.busiest_s * 1000),
            "heads": 0 if found is None else len(found.heads),
            "sets": after[0] - sets, "set_bytes": int(after[1] - size),
        }  # fmt: skip
    return report | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def _sets(txn: Transaction) -> tuple[int, int]:
    row: tuple[int, int] = txn.row(SETS)
    return row


def measure_here(plan_file: Path) -> None:
    """In this process, fresh as it is."""
    plan = json.loads(plan_file.read_text())
    reactor = install_reactor()
    outcomes: list[Any] = []

    def ended(outcome: Any) -> None:
        outcomes.append(outcome)
        reactor.stop()

    with serving(reactor, plan["url"], plan_file.parent) as app:
        settle()
        reactor.callWhenRunning(lambda: run(measure(app, reactor, plan)).addBoth(ended))
        reactor.run()
    if not isinstance(outcomes[0], dict):
        outcomes[0].raiseException()
    print(json.dumps(outcomes[0]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--forks", type=int, default=50)
    parser.add_argument("--versions", default="6,10,11,12")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--runs", default=",".join(RUNS))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.measure:
        measure_here(wanted.measure)
        return
    numbers = count(1)
    for kind in wanted.databases.split(","):
        postgresql = Server() if kind == "postgresql" else None
        try:
            for version in wanted.versions.split(","):
                with tempfile.TemporaryDirectory(prefix="postroom-bench-") as name:
                    report = play(Path(name), version, wanted, postgresql, next(numbers))
                print(json.dumps({"database": kind, "version": version, **report}, indent=1), flush=True)
        finally:
            if postgresql is not None:
                postgresql.stop()


def play(
    folder: Path, version: str, wanted: argparse.Namespace, postgresql: Server | None, number: int
) -> dict[str, Any]:
    """Build a room, measure what is wanted."""
    copies = Copies(folder, postgresql, number)
    began = time.process_time()
    plan = build(copies.source(), folder, version, wanted, copies)
    report: dict[str, Any] = {"heads": plan["heads"], "built_in_cpu_s": round(time.process_time() - began, 1)}
    for name in wanted.runs.split(","):
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**plan, "steps": RUNS[name], "url": copies.urls[name]}))
        command = [sys.executable, __file__, "--measure", str(file)]
        done = subprocess.run(  # noqa: S603 - this very script
            command, check=True, stdout=subprocess.PIPE, text=True
        )
        report[name] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    main()
