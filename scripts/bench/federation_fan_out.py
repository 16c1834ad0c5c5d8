#!/usr/bin/env python3
"""How long one message takes to reach 1,000 servers, and what it costs the server that sends it.

    python scripts/bench/federation_fan_out.py [--destinations 1000] [--idle 5000] [--messages 3]

The sender is a whole Postroom on a SQLite file, with its own reactor, threads and HTTP client. The
destinations are names that all resolve to one process on loopback, which speaks TLS, takes transactions and
notes when: every destination costs a handshake, a signature and a transaction, as in life. Prints JSON.
"""

import argparse
import asyncio
import json
import multiprocessing
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import orjson

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from homeserver import config as configuration  # noqa: E402
from homeserver.app import App  # noqa: E402
from homeserver.app.federation import Outside  # noqa: E402
from homeserver.app.services import Runtime, build_runtime, build_services, connect  # noqa: E402
from homeserver.config.signing_key import make_signing_key  # noqa: E402
from homeserver.protocol.ids import RoomId, UserId  # noqa: E402
from homeserver.runtime.addresses import AddressGuard  # noqa: E402
from homeserver.runtime.client_tls import ClientTls  # noqa: E402
from homeserver.runtime.clock import Clock  # noqa: E402
from homeserver.runtime.concurrency import run  # noqa: E402
from homeserver.runtime.http_client import HttpClient, Pool  # noqa: E402
from homeserver.runtime.reactor import Reactor, install_reactor  # noqa: E402
from homeserver.services import Services  # noqa: E402
from homeserver.services.rooms.creation import NewRoom  # noqa: E402
from homeserver.services.rooms.writer import Proposal  # noqa: E402
from homeserver.storage.rooms import Member  # noqa: E402
from tests.support.certificates import Authority, Issued  # noqa: E402

ALICE = UserId("@alice:bench.test")
WAIT_S = 60.0
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"pdus":{}}'


class LoopbackResolver:
    """Every name is this machine."""

    async def addresses(self, host: str) -> Sequence[str]:
        return ["127.0.0.1"]

    async def services(self, name: str) -> Sequence[Any]:
        return []


# The destinations: a process of their own


def serve_destinations(issued: Issued, pipe: Connection) -> None:
    """Take transactions; tell the pipe the port, then each second how many came and when the last did."""
    asyncio.run(_serve(issued, pipe))


async def _serve(issued: Issued, pipe: Connection) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    taken: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = await reader.readexactly(length)
                if b"/send/" in head.split(b"\r\n")[0] and orjson.loads(body)["pdus"]:
                    taken.append(time.time())
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context, backlog=4096)
    pipe.send(server.sockets[0].getsockname()[1])
    while True:
        await asyncio.sleep(0.02)
        while pipe.poll():
            if pipe.recv() == "stop":
                return
            pipe.send((len(taken), taken[-1] if taken else 0.0))


# The sender


def build_sender(folder: Path, authority: Authority, reactor: Reactor) -> tuple[App, Services]:
    text = (
        "server_name: bench.test\npresence: {enabled: false}\n"
        "federation: {allow_private_addresses: true, trusted_key_servers: []}\n"
    )
    config = configuration.parse(text, folder / "homeserver.yaml")
    plain = build_runtime(config, reactor)
    clock = Clock(reactor)
    resolver = LoopbackResolver()
    guard = AddressGuard(allow_private=True)
    http = HttpClient(Pool(reactor, clock, resolver, guard, tls=ClientTls(authority.file)), clock)
    runtime = Runtime(
        plain.clock, plain.tasks, plain.database, plain.metrics, plain.blocking, plain.hashing,
        Outside(http, cast(Any, resolver)),
    )  # fmt: skip
    services = build_services(config, make_signing_key(config.signing_key), runtime)
    connect(services)
    return App(reactor, runtime, services, []), services


async def shared_room(services: Services, names: Sequence[str]) -> RoomId:
    """A room of Alice's with one member on each server."""
    room_id = await services.rooms.creation.create(ALICE, NewRoom())
    room = await services.rooms.rooms.load(room_id)
    ground = services.traffic.ground
    members = [Member(UserId(f"@u:{name}"), "join", room.tip, room.tip, False) for name in names]

    def put(txn: Any) -> None:
        for member in members:
            ground.stores.rooms.put_member(txn, room.nid, member)

    await ground.database.write(put)
    services.rooms.rooms.discard(room)
    return room_id


def rss_mib(field: str = "VmRSS") -> float:
    """What the process holds; VmHWM: at most so far. What getrusage says may be of whoever started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


async def reached(pipe: Connection, clock: Clock, wanted: int) -> float:
    """When (Unix time) the destinations had so many transactions; raises after a minute."""
    deadline = time.time() + WAIT_S
    while time.time() < deadline:
        pipe.send("how many")
        while not pipe.poll():
            await clock.sleep(0.01)
        count, last = pipe.recv()
        if count >= wanted:
            return float(last)
        await clock.sleep(0.05)
    raise TimeoutError(f"only {count} of {wanted} transactions arrived")


async def measure(services: Services, pipe: Connection, port: int, options: Any) -> dict[str, Any]:
    clock = services.clock
    names = [f"s{number}.bench.test:{port}" for number in range(options.destinations)]
    figures: dict[str, Any] = {"destinations": len(names), "rss_before_mib": rss_mib(), "messages": []}
    room_id = await shared_room(services, names)
    wanted = 0
    for number in range(options.messages):
        wanted += len(names)
        cpu, began = time.process_time(), time.time()
        content = {"msgtype": "m.text", "body": f"message {number}"}
        await services.rooms.writer.append(room_id, [Proposal("m.room.message", ALICE, content)])
        answered = time.time()
        last = await reached(pipe, clock, wanted)
        await clock.sleep(1.5)
        figures["messages"].append(
            {
                "answered_ms": round((answered - began) * 1000, 1),
                "all_reached_s": round(last - began, 2),
                "cpu_s": round(time.process_time() - cpu, 2),
                "rss_mib": rss_mib(),
                "queues_left": services.traffic.sender.waiting(),
            }
        )
    figures["idle"] = await measure_idle(services, options.idle, port, pipe, wanted)
    figures["peak_rss_mib"] = rss_mib("VmHWM")
    return figures


async def measure_idle(
    services: Services, count: int, port: int, pipe: Connection, wanted: int
) -> dict[str, Any]:
    """Memory with so many known destinations, once all of them have had a message and are idle."""
    if not count:
        return {}
    room_id = await shared_room(services, [f"i{number}.bench.test:{port}" for number in range(count)])
    content = {"msgtype": "m.text", "body": "to all"}
    await services.rooms.writer.append(room_id, [Proposal("m.room.message", ALICE, content)])
    await reached(pipe, services.clock, wanted + count)
    after: dict[int, float] = {}
    for seconds in (0, 5, 65):  # by then memory has been given back: homeserver/runtime/heap.py
        await services.clock.sleep(seconds - max(after, default=0))
        after[seconds] = rss_mib()
    return {"known_destinations": count, "rss_after_s": after}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--destinations", type=int, default=1_000)
    parser.add_argument("--messages", type=int, default=3)
    parser.add_argument("--idle", type=int, default=5_000)
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        sys.exit(play(Path(folder), parser.parse_args()))


def play(folder: Path, options: Any) -> int:
    """The exit code."""
    authority = Authority(folder / "ca")
    here, there = multiprocessing.Pipe()
    destinations = multiprocessing.Process(
        target=serve_destinations, args=(authority.issue("*.bench.test"), there), daemon=True
    )
    destinations.start()
    port = here.recv()
    reactor = install_reactor()
    app, services = build_sender(folder, authority, reactor)
    failures: list[Exception] = []

    async def work() -> None:
        try:
            await app.start()
            print(json.dumps(await measure(services, here, port, options), indent=2))
            await app.stop()
        except Exception as error:
            print(f"failed: {error!r}", file=sys.stderr)
            failures.append(error)
        here.send("stop")
        reactor.stop()

    reactor.callWhenRunning(lambda: run(work()))
    reactor.run()
    return 1 if failures else 0


if __name__ == "__main__":
    main()
