"""What lies between servers that are processes, and how it fails."""

from abc import ABC, abstractmethod
from enum import Enum
from pathlib import Path
from typing import Any

from tests.peers.federation.servers import Peer
from tests.support.certificates import Authority


class Fault(Enum):
    """How a connection fails: nothing comes back, or it is said at once that nobody can be reached."""

    HANGS = "hangs"
    REFUSED = "refused"


class Wires(ABC):
    """Every server reaches every other until `cut`; clients always reach theirs.

    `heal` mends everything, and tells nobody: servers find out by themselves.
    """

    kind: str

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    @abstractmethod
    def add(self, make: type[Peer], folder: Path, authority: Authority, **more: Any) -> Peer:
        """A new server, not yet started, that the others will reach."""

    @abstractmethod
    def cut(self, one: Peer, other: Peer, fault: Fault = Fault.HANGS, *, one_way: bool = False) -> None:
        """Nothing gets from one to the other, and without `one_way` nothing back, from this moment on."""

    @abstractmethod
    def slow_down(self, peer: Peer) -> None:
        """Its line is slow, and loses some of what it carries."""

    @abstractmethod
    def heal(self) -> None:
        """Everybody reaches everybody."""

    @abstractmethod
    def stop(self) -> None:
        """Leave nothing behind. The servers have ended."""

    def isolate(self, peer: Peer, fault: Fault = Fault.HANGS) -> None:
        """Cut off from everybody."""
        for other in self.peers:
            if other is not peer:
                self.cut(peer, other, fault)
