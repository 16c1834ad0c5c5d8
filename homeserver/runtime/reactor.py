"""The event loop of the process: chosen once, before anything of Twisted asks for one."""

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

from homeserver.runtime.clock import TimeReactor
from homeserver.runtime.threads import ThreadReactor


class Reactor(TimeReactor, ThreadReactor, Protocol):
    """What is used of a Twisted reactor."""

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> Any: ...  # noqa: N802

    def listenUNIX(self, address: str, factory: Any, backlog: int) -> Any: ...  # noqa: N802

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
