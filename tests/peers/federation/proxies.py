"""TCP proxies that stand before servers and know who calls: two servers can be parted and brought together.

On loopback all calls come from the same address. Linux tells in /proc which process holds the other end of a
connection, so a proxy knows which server calls; somebody unknown is let through.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from tests.peers.federation.servers import Peer

PIECE = 65_536


class Proxies:
    """One proxy for each server. Cuts are between two names, in both directions."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []
        self._cuts: set[frozenset[str]] = set()
        self._open: dict[asyncio.Task[None], frozenset[str]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def add(self, peer: Peer) -> None:
        """Listen where the server's name points to."""
        self._peers.append(peer)
        self._run(self._listen(peer))

    def cut(self, one: Peer, other: Peer) -> None:
        """Nothing gets from one to the other, from this moment on."""
        self._cuts.add(frozenset((one.name, other.name)))
        self._call(self._break_off)

    def isolate(self, peer: Peer) -> None:
        """Cut off from everybody."""
        for other in self._peers:
            if other is not peer:
                self.cut(peer, other)

    def heal(self) -> None:
        """Everybody reaches everybody, and is told by their operators to try at once."""
        self._cuts.clear()
        for peer in self._peers:
            peer.reset_destinations([other.name for other in self._peers if other is not peer])

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
                if pair not in self._cuts:
                    await _forward(reader, writer, peer)
            except asyncio.CancelledError:
                pass  # cut
            finally:
                del self._open[task]
                writer.transport.abort()

        await asyncio.start_server(accept, peer.host, peer.public_port)

    def _break_off(self) -> None:
        for task, pair in self._open.items():
            if pair in self._cuts:
                task.cancel()

    def _caller(self, port: int, towards: int) -> str:
        """The name of the server that holds this end of a connection, or "" for anybody else."""
        inode = _inode_of(port, towards)
        for peer in self._peers:
            if inode is not None and peer.is_running and inode in _sockets_of(peer.pid):
                return peer.name
        return ""

    def _call(self, function: Callable[[], None]) -> None:
        async def calling() -> None:
            function()

        self._run(calling())

    def _run(self, coroutine: "asyncio.coroutines.Coroutine[object, object, None]") -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
    with suppress(OSError):
        far_reader, far_writer = await asyncio.open_connection(peer.host, peer.behind)
        try:
            done = asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            await done
        finally:
            far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


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
