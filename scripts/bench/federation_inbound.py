#!/usr/bin/env python3
"""How many events of another server Postroom and Synapse take in, for each second of CPU they spend on it.

    POSTROOM_SYNAPSE_VENV=... python scripts/bench/federation_inbound.py [--events 5000] [--rounds 3]

One made-up server on loopback, which speaks TLS, joins a public room on each and sends transactions of 50
signed messages, in turns: as many of the same kind of event in the same minutes. The next transaction
goes out when a client sees the last event of the one before: Synapse drops what waits once it is too much.
CPU time is that of the server's process. `--servers postroom` leaves Synapse out. Prints JSON.
"""

import argparse
import json
import os
import ssl
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from homeserver.protocol import canonical_json  # noqa: E402
from homeserver.protocol.auth_rules.selection import auth_keys  # noqa: E402
from homeserver.protocol.hashes import content_hash, event_id_of  # noqa: E402
from homeserver.protocol.ids import ServerName  # noqa: E402
from homeserver.protocol.request_signatures import authorization_header, request_bytes  # noqa: E402
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion, room_version  # noqa: E402
from homeserver.protocol.signatures import SigningKey, sign_event, sign_json  # noqa: E402
from tests.peers.federation.people import Neighbour, Outside, eventually  # noqa: E402
from tests.peers.federation.servers import Peer, PostroomPeer, SynapsePeer  # noqa: E402
from tests.support.certificates import Authority  # noqa: E402
from tests.support.people import segment  # noqa: E402
from tests.support.server_process import free_port  # noqa: E402

HOST = "127.0.0.30"
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
BATCH = 50
TICKS = os.sysconf("SC_CLK_TCK")


class Stranger:
    """A server with one user, which answers for its keys and takes whatever it is sent."""

    def __init__(self, authority: Authority) -> None:
        self.name = ServerName(f"{HOST}:{free_port(HOST)}")
        self.key = SigningKey("bench", b"b" * 32)
        self.user = f"@bench:{self.name}"
        self._context = ssl.create_default_context(cafile=str(authority.file))
        self._connections: dict[str, HTTPSConnection] = {}
        self._numbers = count(1)
        self._serve(authority)

    def _serve(self, authority: Authority) -> None:
        stranger = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                known = {"/_matrix/key/v2/server": stranger.keys, f"{V1}/send": lambda: {"pdus": {}}}
                found = next((value for path, value in known.items() if self.path.startswith(path)), None)
                body = json.dumps(found() if found else {"errcode": "M_NOT_FOUND", "error": "no"}).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                return

        issued = authority.issue(HOST)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        server = ThreadingHTTPServer((HOST, int(self.name.rpartition(":")[2])), Answering)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def keys(self) -> dict[str, Any]:
        document = {
            "server_name": self.name,
            "valid_until_ts": int(time.time() * 1000) + 86_400_000,
            "verify_keys": {self.key.key_id: {"key": self.key.verify_key.to_base64()}},
            "old_verify_keys": {},
        }
        return sign_json(document, self.name, self.key)

    def request(self, to: str, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else canonical_json.encode(body)
        signature = self.key.sign(request_bytes(method, path, self.name, to, content))
        headers = {"Authorization": authorization_header(self.name, to, self.key.key_id, signature)}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if to not in self._connections:
            self._connections[to] = HTTPSConnection(to, context=self._context, timeout=120)
        connection = self._connections[to]
        connection.request(method, path, body=content, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:500]!r}")
        return json.loads(data)

    def join(self, to: str, room_id: str) -> "Branch":
        versions = "&".join(f"ver={name}" for name in ROOM_VERSIONS)
        path = f"{V1}/make_join/{segment(room_id)}/{segment(self.user)}?{versions}"
        template = self.request(to, "GET", path)
        version = room_version(template["room_version"])
        pdu = self.finish(version, template["event"])
        path = f"{V2}/send_join/{segment(room_id)}/{segment(event_id_of(version, pdu))}"
        answer = self.request(to, "PUT", path, pdu)
        state = {(event["type"], event["state_key"]): event for event in answer["state"]}
        state["m.room.member", self.user] = pdu
        keys = auth_keys(version, type="m.room.message", sender=self.user, state_key=None, content={})
        auth = [event_id_of(version, state[key]) for key in keys if key in state]
        return Branch(to, room_id, version, auth, event_id_of(version, pdu), pdu["depth"])

    def finish(self, version: RoomVersion, pdu: dict[str, Any]) -> dict[str, Any]:
        done = {name: value for name, value in pdu.items() if name not in ("hashes", "signatures")}
        done["hashes"] = {"sha256": content_hash(done)}
        return sign_event(version, done, self.name, self.key)

    def transactions(self, branch: "Branch", events: int) -> list[dict[str, Any]]:
        """Messages, each of which follows the one before, in transactions."""
        made = []
        for _ in range(events // BATCH):
            pdus = [self.message(branch) for _ in range(BATCH)]
            made.append(
                {"origin": self.name, "origin_server_ts": int(time.time() * 1000), "pdus": pdus, "edus": []}
            )
        return made

    def message(self, branch: "Branch") -> dict[str, Any]:
        branch.depth += 1
        text = f"message {branch.depth}: " + "lorem ipsum dolor sit amet " * 5
        pdu = self.finish(
            branch.version,
            {
                "type": "m.room.message",
                "room_id": branch.room_id,
                "sender": self.user,
                "content": {"msgtype": "m.text", "body": text},
                "prev_events": [branch.head],
                "auth_events": branch.auth,
                "depth": branch.depth,
                "origin_server_ts": int(time.time() * 1000),
            },
        )
        branch.head = event_id_of(branch.version, pdu)
        return pdu

    def send(self, branch: "Branch", transactions: list[dict[str, Any]], reader: Neighbour) -> None:
        """One transaction after the other; each is waited for."""
        for body in transactions:
            self.request(branch.server, "PUT", f"{V1}/send/{time.time_ns()}-{next(self._numbers)}", body)
            last = event_id_of(branch.version, body["pdus"][-1])
            eventually(partial(reader.sees, branch.room_id, last), within=120, what=last)


@dataclass
class Branch:
    """Where the stranger stands in a room of a server: the next event follows `head`."""

    server: str
    room_id: str
    version: RoomVersion
    auth: list[str]
    head: str
    depth: int


def cpu_seconds(peer: Peer) -> float:
    """User and system time of the process so far."""
    fields = Path(f"/proc/{peer.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(
    stranger: Stranger, peer: Peer, person: Neighbour, branch: Branch, events: int
) -> dict[str, float]:
    """Send so many events; what it cost the server until the last one was there."""
    transactions = stranger.transactions(branch, events)
    cpu, began = cpu_seconds(peer), time.monotonic()
    stranger.send(branch, transactions, person)
    spent, seconds = cpu_seconds(peer) - cpu, time.monotonic() - began
    return {
        "events": events, "cpu_s": round(spent, 2), "seconds": round(seconds, 2),
        "per_cpu_second": round(events / spent), "per_second": round(events / seconds),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", default="postroom,synapse")
    wanted = parser.parse_args()
    kinds: dict[str, type[Peer]] = {"postroom": PostroomPeer, "synapse": SynapsePeer}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in wanted.servers.split(",")}
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        authority = Authority(Path(folder) / "authority")
        stranger = Stranger(authority)
        peers = {
            name: kinds[name](Path(folder) / name, authority, f"127.0.0.{31 + number}")
            for number, name in enumerate(rounds)
        }
        try:
            places: dict[str, tuple[Neighbour, Branch]] = {}
            for name, peer in peers.items():
                peer.start()
                person = Outside(peer).register("reader")
                room = person.create_room(preset="public_chat", room_version="11")
                places[name] = person, stranger.join(peer.name, room)
                measure(stranger, peer, *places[name], BATCH * 4)  # the first ones warm up
            for _ in range(wanted.rounds):
                for name, peer in peers.items():
                    rounds[name].append(measure(stranger, peer, *places[name], wanted.events))
        finally:
            for peer in peers.values():
                peer.end()
    typical = {
        name: statistics.median(one["per_cpu_second"] for one in measured)
        for name, measured in rounds.items()
    }
    report: dict[str, Any] = {"rounds": rounds, "events_per_cpu_second": typical}
    if len(typical) == 2:
        report["times_synapse"] = round(typical["postroom"] / typical["synapse"], 1)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
