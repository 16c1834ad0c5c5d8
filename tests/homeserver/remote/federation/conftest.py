"""Another homeserver, and our client that calls it."""

import pytest

from homeserver.protocol.server_names import ServerAcl
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_requests import Identity, SignedRequests
from homeserver.remote.server_discovery import ServerDiscovery
from tests.homeserver.remote.federation.other import KEY, THEM, US, Other, Watch
from tests.support.clock import FakeClock
from tests.support.network import Network


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def them(network: Network) -> Other:
    other = Other()
    network.add(THEM, other)
    return other


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def client(network: Network, time: FakeClock, watch: Watch) -> FederationClient:
    outside = network.outside(US)
    policy = ServerAcl({"allow": ["*"], "deny": ["*.evil.example"]})
    discovery = ServerDiscovery(outside.http, outside.resolver, time)
    client = FederationClient(
        SignedRequests(Identity(US, KEY, policy), outside.http, discovery, time), outside.http, time
    )
    client.use_reachability(watch)
    return client
