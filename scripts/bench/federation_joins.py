#!/usr/bin/env python3
"""How long it takes to join a room of 5,000 members on the other server, both ways: Postroom and Synapse.

    POSTROOM_SYNAPSE_VENV=... python scripts/bench/federation_joins.py [--members 5000]

Each server gets a room full of its own users, made through its client API, which takes most of the time
(Synapse needs minutes); then one user of the other server joins it. `answered_s`: until the client has its
answer; `complete_s`: until the joining server knows every member. Prints JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.peers.federation.people import Neighbour, Outside, eventually  # noqa: E402
from tests.peers.federation.servers import Peer, PostroomPeer, SynapsePeer  # noqa: E402
from tests.support.certificates import Authority  # noqa: E402
from tests.support.people import path  # noqa: E402

MOST_S = 1_800
LANES = 4


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


def join(guest: Outside, host: Outside, room: str, members: int) -> dict[str, float]:
    """One user of `guest` joins the room of `host`."""
    person = guest.register("visitor")
    began = time.monotonic()
    person.join_from(room, host.name)
    answered = time.monotonic() - began
    cpu_path = Path(f"/proc/{guest.process.pid}/stat")

    def is_complete() -> bool:
        answer = person.request("GET", path("rooms", room, "joined_members"))
        return answer.status == 200 and len(answer.json["joined"]) == members + 1

    eventually(is_complete, within=MOST_S, every=0.2)
    fields = cpu_path.read_text().rpartition(")")[2].split()
    return {
        "answered_s": round(answered, 2),
        "complete_s": round(time.monotonic() - began, 2),
        "cpu_of_the_process_so_far_s": (int(fields[11]) + int(fields[12])) / 100,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=5_000)
    wanted = parser.parse_args()
    report: dict[str, Any] = {"members": wanted.members}
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        authority = Authority(Path(folder) / "authority")
        peers: list[Peer] = [
            PostroomPeer(Path(folder) / "postroom", authority, "127.0.0.33"),
            SynapsePeer(Path(folder) / "synapse", authority, "127.0.0.34"),
        ]
        try:
            for peer in peers:
                peer.start()
            postroom, synapse = (Outside(peer) for peer in peers)
            for name, guest, host in (
                ("postroom joins synapse", postroom, synapse),
                ("synapse joins postroom", synapse, postroom),
            ):
                began = time.monotonic()
                _, room = fill(host, wanted.members)
                filled = round(time.monotonic() - began, 1)
                report[name] = {"filled_in_s": filled, **join(guest, host, room, wanted.members)}
                print(json.dumps(report, indent=1), file=sys.stderr, flush=True)
        finally:
            for peer in peers:
                peer.end()
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
