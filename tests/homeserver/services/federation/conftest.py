"""A server with a room that it shares with others."""

import pytest

from tests.support.destinations import FEDERATING, Destination, join_from
from tests.support.people import Person
from tests.support.whole_server import WholeServer


@pytest.fixture
def settings() -> str:
    """Of a server that speaks with others."""
    return FEDERATING


@pytest.fixture
def far(server: WholeServer) -> Destination:
    """Another server, which answers."""
    return added(server, "far")


@pytest.fixture
def near(server: WholeServer) -> Destination:
    return added(server, "near")


def added(server: WholeServer, name: str) -> Destination:
    destination = Destination(name)
    server.network.add(name, destination)
    return destination


@pytest.fixture
def room(server: WholeServer, alice: Person, far: Destination) -> str:
    """Alice's room with somebody from `far` in it."""
    made = alice.create_room(preset="public_chat")
    join_from(server, made, ["far"])
    return made
