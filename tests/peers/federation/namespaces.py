"""Servers in network namespaces of their own, joined by a router in one more.

Nothing outside them is touched: addresses and links exist in them only. They have no names, and last as long
as a process or an open file holds them; the servers in them die with the tests. So a run that was killed
leaves nothing behind either.

Needs root, iproute2 and util-linux: `python -m tests.peers.federation.namespaces` says whether it works here.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.peers.federation.servers import Peer
from tests.peers.federation.wires import Fault, Wires
from tests.support.certificates import Authority
from tests.support.server_process import Place

NETWORK = "198.18.0"  # kept free for tests of networks: RFC 2544
ROUTER = f"{NETWORK}.254"
CLONE_NEWNET = 0x4000_0000
RULE = 100
SLOW = "1mbit"
DELAY_MS = 40
LOSS_PERCENT = 3

_libc = ctypes.CDLL(None, use_errno=True)


class NoNamespaces(Exception):
    """They cannot be had here; the message says why."""


class Namespace(Place):
    """A network of its own, as long as this object is not closed or a process is in it."""

    def __init__(self) -> None:
        before = _own()
        try:
            if _libc.unshare(CLONE_NEWNET) != 0:
                raise NoNamespaces(f"no network namespace: {os.strerror(ctypes.get_errno())}")
            self._file = _own()
        finally:
            _enter(before)
            os.close(before)
        self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        self.run("ip", "link", "set", "lo", "up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        before = _own()
        try:
            _enter(self._file)
            yield
        finally:
            _enter(before)
            os.close(before)

    def command(self, command: list[str]) -> list[str]:
        """Run there; it dies with the thread that starts it."""
        return ["nsenter", f"--net={self.path}", "setpriv", "--pdeathsig", "KILL", *command]

    def connection(self, host: str, port: int, *, timeout_s: float) -> HTTPConnection:
        return _Inside(self, host, port, timeout=timeout_s)

    def run(self, *command: str, needed: bool = True) -> bool:
        """Run a program there to its end. Did it succeed? Raises NoNamespaces if it had to."""
        try:
            done = subprocess.run(["nsenter", f"--net={self.path}", *command], capture_output=True, text=True)
        except OSError as error:
            raise NoNamespaces(str(error)) from error
        if done.returncode != 0 and needed:
            raise NoNamespaces(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.returncode == 0

    def close(self) -> None:
        os.close(self._file)


class _Inside(HTTPConnection):
    """Connected from inside a namespace."""

    def __init__(self, namespace: Namespace, host: str, port: int, *, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._namespace = namespace

    def connect(self) -> None:
        with self._namespace.entered():
            super().connect()


class Namespaces(Wires):
    """One for each server. The router forwards between them, or does not."""

    kind = "namespaces"

    def __init__(self) -> None:
        super().__init__()
        self._hub = Namespace()
        self._hub.run("ip", "address", "add", f"{ROUTER}/32", "dev", "lo")
        # A refusal must be told each time, not once a second.
        with self._hub.entered():
            for name, value in (("ip_forward", "1"), ("icmp_ratelimit", "0")):
                Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
        self._places: list[Namespace] = []
        self._cuts: set[tuple[str, str]] = set()
        self._slow: set[str] = set()

    def add(self, make: type[Peer], folder: Path, authority: Authority, **more: Any) -> Peer:
        host, place = self.lay()
        peer = make(folder, authority, host, place=place, **more)
        self.peers.append(peer)
        return peer

    def lay(self) -> tuple[str, Namespace]:
        """A new namespace with a link to the router; its address."""
        place = Namespace()
        self._places.append(place)
        link, host = f"link{len(self._places)}", f"{NETWORK}.{len(self._places)}"
        self._hub.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", place.path)
        place.run("ip", "address", "add", f"{host}/32", "dev", "eth0")
        place.run("ip", "link", "set", "eth0", "up")
        place.run("ip", "route", "add", ROUTER, "dev", "eth0")
        place.run("ip", "route", "add", "default", "via", ROUTER)
        self._hub.run("ip", "link", "set", link, "up")
        self._hub.run("ip", "route", "add", f"{host}/32", "dev", link)
        return host, place

    def cut(self, one: Peer, other: Peer, fault: Fault = Fault.HANGS, *, one_way: bool = False) -> None:
        """What hangs is dropped by the router; what is refused it answers with "unreachable"."""
        self._block(one, other, fault)
        if not one_way:
            self._block(other, one, fault)

    def _block(self, sender: Peer, receiver: Peer, fault: Fault) -> None:
        if (sender.host, receiver.host) in self._cuts:
            return
        self._cuts.add((sender.host, receiver.host))
        verdict = "prohibit" if fault is Fault.REFUSED else "blackhole"
        self._hub.run("ip", "rule", "add", *_between(sender.host, receiver.host), verdict)
        if fault is Fault.REFUSED:  # what is connected ends as well
            sender.place.run("ss", "--kill", "dst", receiver.host, needed=False)  # type: ignore[attr-defined]

    def slow_down(self, peer: Peer) -> None:
        link = self._link(peer)
        if link not in self._slow:
            self._slow.add(link)
            queue = ("tc", "qdisc", "add", "dev", link, "root")
            delay = ("delay", f"{DELAY_MS}ms", "loss", f"{LOSS_PERCENT}%", "rate", SLOW)
            if not self._hub.run(*queue, "netem", *delay, needed=False):
                self._slow_without_netem(link)

    def _slow_without_netem(self, link: str) -> None:
        """Kernels may come without it: a slow class, and one that swallows what chance gives it."""
        chosen = int(2**32 * (1 - LOSS_PERCENT / 100))
        # A random number; from `chosen` on it matches, below it does not.
        program = f"4,32 0 0 4294963256,53 0 1 {chosen},6 0 0 4294967295,6 0 0 0"
        for command in (
            "qdisc add dev {} root handle 1: htb default 10",
            f"class add dev {{}} parent 1: classid 1:10 htb rate {SLOW}",
            f"class add dev {{}} parent 1: classid 1:20 htb rate {SLOW}",
            "qdisc add dev {} parent 1:20 blackhole",
        ):
            self._hub.run("tc", *command.format(link).split())
        chance = ("protocol", "ip", "bpf", "bytecode", program, "flowid", "1:20")
        self._hub.run("tc", "filter", "add", "dev", link, "parent", "1:", *chance)

    def _link(self, peer: Peer) -> str:
        return f"link{peer.host.rpartition('.')[2]}"

    def heal(self) -> None:
        for sender, receiver in self._cuts:
            self._hub.run("ip", "rule", "delete", *_between(sender, receiver))
        for link in self._slow:
            self._hub.run("tc", "qdisc", "delete", "dev", link, "root")
        self._cuts.clear()
        self._slow.clear()

    def stop(self) -> None:
        for namespace in (*self._places, self._hub):
            namespace.close()


@cache
def why_not() -> str:
    """What is missing for servers in namespaces, or "" where they work."""
    try:
        wires = Namespaces()
        try:
            host, _ = wires.lay()
            wires._hub.run("ip", "rule", "add", *_between(host, host), "blackhole")
            wires._hub.run("setpriv", "--pdeathsig", "KILL", "true")
        finally:
            wires.stop()
    except (NoNamespaces, OSError) as error:
        return str(error)
    return ""


def _between(sender: str, receiver: str) -> tuple[str, ...]:
    return "preference", str(RULE), "from", sender, "to", receiver


def _own() -> int:
    """The network namespace of this thread."""
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(file: int) -> None:
    if _libc.setns(file, CLONE_NEWNET) != 0:
        raise NoNamespaces(f"a namespace cannot be entered: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    print(f"no network namespaces: {why_not()}" if why_not() else "network namespaces work here")
