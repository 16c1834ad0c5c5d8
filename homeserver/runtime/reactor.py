"""The event loop of the process: chosen once, before anything of Twisted asks for one."""

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

Reactor = EPollReactor


def install_reactor() -> Reactor:
    """Make epoll the process's event loop; it runs when its `run` is called."""
    reactor = EPollReactor()
    installReactor(reactor)
    return reactor
