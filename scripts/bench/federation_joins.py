#!/usr/bin/env python3
"""How long it takes to join a room of 5,000 members on the other server, both ways: Postroom and Synapse.

    POSTROOM_SYNAPSE_VENV=... python scripts/bench/federation_joins.py [--members 5000] [--rounds 3]

Each server gets a room full of its own users, made through its client API, which takes most of the time
(Synapse needs minutes); then, in each round, one user of a new server of the other kind joins it, once all
servers that are there are at rest: those that came before may have much left to do for themselves.
`answered_s`: until the client has its answer; `complete_s`: until the joining server knows every member.
`cpu_s` is what the joining server's process spent. Prints JSON: all rounds, and the medians.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.peers.federation.people import Neighbour, Outside, eventually  # noqa: E402
from tests.peers.federation.servers import PostroomPeer, SynapsePeer  # noqa: E402
from tests.support.certificates import Authority  # noqa: E402
from tests.support.people import path  # noqa: E402

Kind: TypeAlias = type[PostroomPeer] | type[SynapsePeer]

MOST_S = 1_800
LANES = 4
LOOK_EVERY_S = 0.02
AT_REST, REST_S, LONGEST_UNREST_S = 0.1, 1.0, 120.0
"""Of a core, of all servers together, for so long."""


def fill(server: Outside, members: int) -> tuple[Neighbour, str]:
    """A public room with so many users of the server in it."""
    creator = server.register("creator")
    room = creator.create_room(preset="public_chat", room_version="11")

    def some(lane: int) -> None:
        own = Outside(server.process)
        for number in range(lane, members - 1, LANES):
            own.register(f"member{number}").join(room)

    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(some, range(LANES)))
    return creator, room


def cpu_s(pid: int) -> float:
    """What the process has spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def wait_for_rest(servers: Iterable[PostroomPeer | SynapsePeer]) -> float:
    """Until nobody does anything any more; how long that took."""
    pids = [server.pid for server in servers]
    began = time.monotonic()
    while time.monotonic() - began < LONGEST_UNREST_S:
        before = sum(map(cpu_s, pids))
        time.sleep(REST_S)
        if sum(map(cpu_s, pids)) - before <= AT_REST * REST_S:
            break
    return round(time.monotonic() - began, 1)


def join(guest: Outside, host: Outside, room: str, members: int) -> dict[str, float]:
    """One user of `guest` joins the room of `host`."""
    person = guest.register("visitor")
    before = cpu_s(guest.process.pid)
    began = time.monotonic()
    person.join_from(room, host.name)
    answered = time.monotonic() - began

    def is_complete() -> bool:
        answer = person.request("GET", path("rooms", room, "joined_members"))
        return answer.status == 200 and len(answer.json["joined"]) > members

    eventually(is_complete, within=MOST_S, every=LOOK_EVERY_S)
    complete = time.monotonic() - began
    return {
        "answered_s": round(answered, 3),
        "complete_s": round(complete, 3),
        "cpu_s": round(cpu_s(guest.process.pid) - before, 2),
    }


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}


class Side:
    """A filled server, and the kind of server that joins it."""

    def __init__(self, host: PostroomPeer | SynapsePeer, guest_kind: Kind, guest_address: str) -> None:
        self.host = host
        self.name = f"{guest_kind.kind} joins {host.kind}"
        self._guest_kind = guest_kind
        self._guest_address = guest_address
        self._room = ""
        self._guests: list[PostroomPeer | SynapsePeer] = []
        self.rounds: list[dict[str, float]] = []

    def fill(self, members: int) -> float:
        """How long it took."""
        self.host.start()
        began = time.monotonic()
        _, self._room = fill(Outside(self.host), members)
        return round(time.monotonic() - began, 1)

    @property
    def servers(self) -> list[PostroomPeer | SynapsePeer]:
        return [*self._guests, self.host]

    def bring(self, folder: Path, authority: Authority) -> None:
        """A new guest. It stays: who comes after it asks it for its keys."""
        guest = self._guest_kind(folder, authority, self._guest_address)
        self._guests.append(guest)
        guest.start()

    def play(self, members: int) -> None:
        """The newest guest joins."""
        self.rounds.append(join(Outside(self._guests[-1]), Outside(self.host), self._room, members))

    def end(self) -> None:
        for server in self.servers:
            server.end()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    report: dict[str, Any] = {"members": wanted.members, "filled_in_s": {}, "rested_after_s": []}
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as name:
        folder = Path(name)
        authority = Authority(folder / "authority")
        sides = [
            Side(SynapsePeer(folder / "synapse", authority, "127.0.0.34"), PostroomPeer, "127.0.0.35"),
            Side(PostroomPeer(folder / "postroom", authority, "127.0.0.33"), SynapsePeer, "127.0.0.36"),
        ]
        try:
            for side in sides:
                report["filled_in_s"][side.host.kind] = side.fill(wanted.members)
            for number in range(wanted.rounds):
                for side in sides:
                    side.bring(folder / f"guest {number} of {side.host.kind}", authority)
                    report["rested_after_s"].append(wait_for_rest(sides[0].servers + sides[1].servers))
                    side.play(wanted.members)
                    report[side.name] = {"rounds": side.rounds, "median": medians(side.rounds)}
                print(json.dumps(report, indent=1), file=sys.stderr, flush=True)
        finally:
            for side in sides:
                side.end()
    ours, theirs = (side.rounds for side in sides)
    report["complete_s, ours to theirs"] = round(
        medians(ours)["complete_s"] / medians(theirs)["complete_s"], 3
    )
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
