"""Twisted's event loop and TCP, imported here and nowhere else.

Twisted's TCP transports pull in pyOpenSSL, 12 MiB and 30 ms, for nothing but `startTLS`, which we do not use:
here it is kept out while they are imported. TLS from the first byte on imports it when it is needed.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from twisted.internet.main import installReactor

from homeserver.runtime.clock import TimeReactor
from homeserver.runtime.threads import ThreadReactor
from homeserver.runtime.verifiers import ProcessReactor

__all__ = ["Reactor", "Server", "install_reactor"]


@contextmanager
def _kept_out(module: str) -> Iterator[None]:
    """Nobody can import the module meanwhile; whoever has it keeps it."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment] # what the import system takes for "not there"
    try:
        yield
    finally:
        del sys.modules[module]


with _kept_out("OpenSSL"):
    from twisted.internet.epollreactor import EPollReactor
    from twisted.internet.tcp import Server


class Reactor(TimeReactor, ThreadReactor, ProcessReactor, Protocol):
    """What is used of a Twisted reactor."""

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> Any: ...  # noqa: N802

    def listenUNIX(self, address: str, factory: Any, backlog: int) -> Any: ...  # noqa: N802

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30) -> Any: ...  # noqa: N802

    def callWhenRunning(self, callable: Callable[..., Any]) -> object: ...  # noqa: N802

    def addSystemEventTrigger(  # noqa: N802
        self, phase: str, eventType: str, callable: Callable[..., Any]  # noqa: N803
    ) -> object: ...  # fmt: skip

    def run(self) -> None: ...

    def stop(self) -> None: ...


def install_reactor() -> Reactor:
    """Make epoll the process's event loop; it runs when its `run` is called."""
    reactor = EPollReactor()  # type: ignore[no-untyped-call]
    installReactor(reactor)  # type: ignore[no-untyped-call]
    return cast(Reactor, reactor)
