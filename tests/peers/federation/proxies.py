"""TCP proxies that stand before servers and know who calls: two servers can be parted and brought together.

For machines where network namespaces cannot be had. On loopback all calls come from the same address. Linux
tells in /proc which process holds the other end of a connection, so a proxy knows which server calls; who is
unknown is let through.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from tests.peers.federation.servers import Peer
from tests.peers.federation.wires import Fault, Wires
from tests.support.certificates import Authority

PIECE = 65_536
SLOW_BYTES_PER_S = 100_000
DELAY_S = 0.04

_numbers = count(11)


class Proxies(Wires):
    """One for each server. What hangs is held back until the wires are whole: TCP would send it again."""

    kind = "proxies"

    def __init__(self) -> None:
        super().__init__()
        self._hanging: set[tuple[str, str]] = set()
        self._refused: set[frozenset[str]] = set()
        self._slow: set[str] = set()
        self._open: dict[asyncio.Task[None], frozenset[str]] = {}
        self._healed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def add(self, make: type[Peer], folder: Path, authority: Authority, **more: Any) -> Peer:
        peer = make(folder, authority, f"127.0.0.{next(_numbers)}", proxied=True, **more)
        self.peers.append(peer)
        self._run(self._listen(peer))
        return peer

    def cut(self, one: Peer, other: Peer, fault: Fault = Fault.HANGS, *, one_way: bool = False) -> None:
        if fault is Fault.REFUSED:
            self._refused.add(frozenset((one.name, other.name)))
            self._call(self._break_off)
        else:
            self._call(self._healed.clear)
            self._hanging.add((one.name, other.name))
            if not one_way:
                self._hanging.add((other.name, one.name))

    def slow_down(self, peer: Peer) -> None:
        self._slow.add(peer.name)

    def heal(self) -> None:
        self._hanging.clear()
        self._refused.clear()
        self._slow.clear()
        self._call(self._healed.set)

    def stop(self) -> None:
        async def end() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    # On the loop's thread

    async def _listen(self, peer: Peer) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            caller = self._caller(writer.get_extra_info("peername")[1], peer.public_port)
            pair = frozenset((caller, peer.name))
            self._open[task] = pair
            try:
                if pair not in self._refused:
                    await self._forward(reader, writer, caller, peer)
            except asyncio.CancelledError:
                pass  # cut
            finally:
                del self._open[task]
                writer.transport.abort()

        await asyncio.start_server(accept, peer.host, peer.public_port)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: str, peer: Peer
    ) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(peer.host, peer.behind)
            try:
                await asyncio.gather(
                    self._copy(reader, far_writer, caller, peer.name),
                    self._copy(far_reader, writer, peer.name, caller),
                )
            finally:
                far_writer.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sender: str, receiver: str
    ) -> None:
        while piece := await reader.read(PIECE):
            if sender in self._slow or receiver in self._slow:
                await asyncio.sleep(DELAY_S + len(piece) / SLOW_BYTES_PER_S)
            if (sender, receiver) in self._hanging:
                await self._healed.wait()
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    def _break_off(self) -> None:
        for task, pair in self._open.items():
            if pair in self._refused:
                task.cancel()

    def _caller(self, port: int, towards: int) -> str:
        """The name of the server that holds this end of a connection, or "" for anybody else."""
        inode = _inode_of(port, towards)
        for peer in self.peers:
            if inode is not None and peer.is_running and inode in _sockets_of(peer.pid):
                return peer.name
        return ""

    def _call(self, function: Callable[[], object]) -> None:
        async def calling() -> None:
            function()

        self._run(calling())

    def _run(self, coroutine: "asyncio.coroutines.Coroutine[object, object, None]") -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


def _inode_of(local_port: int, remote_port: int) -> str | None:
    """The socket with these ports, by /proc/net/tcp."""
    wanted = f":{local_port:04X}", f":{remote_port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1].endswith(wanted[0]) and fields[2].endswith(wanted[1]):
                return fields[9]
    return None


def _sockets_of(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    found = set()
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                target = os.readlink(f"{folder}/{name}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found
