"""Servers over loopback, with everything real: TLS from a test CA, signatures, keys fetched back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.api.federation import keys
from homeserver.api.federation.access import FederationAccess
from homeserver.http.reply import Answer
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route, Router
from homeserver.http.server import HttpServer
from homeserver.http.tls import ServerTls
from homeserver.protocol.ids import ServerName
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.errors import RemoteRefused, RemoteUnreachable
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_requests import Identity, SignedRequests
from homeserver.remote.server_discovery import ServerDiscovery
from homeserver.remote.server_keys import ServerKeyFetcher
from homeserver.runtime.addresses import AddressGuard
from homeserver.runtime.client_tls import ClientTls
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import gather
from homeserver.runtime.database import Database, open_database
from homeserver.runtime.dns import ServiceRecord
from homeserver.runtime.http_client import HttpClient, Pool
from homeserver.services.key_ring import KeyRing, OwnKeys
from homeserver.services.rate_limits import RateLimits
from homeserver.storage.server_keys import ServerKeyStore
from tests.support.certificates import Authority
from tests.support.database import Databases, storage_migrations
from tests.support.remote_servers import LiveReactor, Names

ANYBODY = ServerAcl({"allow": ["*"]})
ONE, OTHER, MISPLACED = (
    ServerName("one.example"),
    ServerName("other.example"),
    ServerName("misplaced.example"),
)
PATH = "/_matrix/federation/v1/send/1"


async def received(services: object, request: Request, txn_id: str) -> Answer:
    return {"origin": request.origin, "size": len(request.body)}


class World:
    """Loopback, its names and its authority."""

    def __init__(self, live: LiveReactor, authority: Authority) -> None:
        self.live = live
        self.authority = authority
        self.addresses = {str(name): ["127.0.0.1"] for name in (ONE, OTHER, MISPLACED)}
        self.records: dict[str, list[ServiceRecord]] = {}


class Server:
    """As much of a homeserver as answers signed requests and sends them."""

    def __init__(
        self, world: World, name: ServerName, database: Database, certificate_name: str = ""
    ) -> None:
        self.name = name
        self._live = world.live
        self.clock = Clock(world.live.reactor)
        key = SigningKey.generate()
        resolver = Names(world.addresses, world.records)
        pool = Pool(
            world.live.reactor,
            self.clock,
            resolver,
            AddressGuard(allow_private=True),
            tls=ClientTls(world.authority.file),
        )
        http = HttpClient(pool, self.clock)
        requests = SignedRequests(
            Identity(name, key, ANYBODY), http, ServerDiscovery(http, resolver, self.clock), self.clock
        )
        self.client = FederationClient(requests, http, self.clock)
        self.key_ring = KeyRing(
            OwnKeys(name, key), ServerKeyFetcher(requests), database, ServerKeyStore(), self.clock
        )
        access = FederationAccess(
            name, ANYBODY, self.key_ring, self.clock, limits=RateLimits(self.clock.monotonic, {})
        )
        routes = [
            Route("GET", "/_matrix/key/v2/server", keys.own_keys, Auth.NONE),
            Route("PUT", "/_matrix/federation/v1/send/{txnId}", received, Auth.FEDERATION, max_body=1 << 24),
        ]
        self.server = HttpServer(Router(self, routes, authenticate=access), self.clock)
        issued = world.authority.issue(certificate_name or name)
        self.server.start()
        port = self.server.listen(
            world.live.reactor, 0, "127.0.0.1", tls=ServerTls(issued.certificate, issued.key)
        )
        world.records[f"_matrix-fed._tcp.{name}"] = [ServiceRecord(0, 0, port, name)]
        self.http = http

    def send(self, destination: ServerName, body: Any) -> Any:
        return self._live.result(lambda: self.client.request(destination, "PUT", PATH, body=body))

    def stop(self) -> None:
        self._live.call(self.http.stop)
        self._live.result(lambda: self.server.stop(within_seconds=1))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    live = LiveReactor()
    yield World(live, Authority(tmp_path))
    live.stop()


@pytest.fixture
def servers(world: World, databases: Databases) -> Iterator[dict[ServerName, Server]]:
    def build() -> dict[ServerName, Server]:
        opened = open_database(
            databases.fresh("sqlite"), inline=True, durable=False, migrations=storage_migrations()
        )
        opened.start()
        return {
            ONE: Server(world, ONE, opened),
            OTHER: Server(world, OTHER, opened),
            MISPLACED: Server(world, MISPLACED, opened, certificate_name="elsewhere.example"),
        }

    built = world.live.call(build)
    yield built
    for server in built.values():
        server.stop()


def test_a_request_arrives_and_is_believed(servers: dict[ServerName, Server]) -> None:
    for _ in range(3):
        assert servers[ONE].send(OTHER, {"a": 1}) == {"origin": ONE, "size": 7}
    assert servers[OTHER].send(ONE, {"x": "y" * 3_000_000})["origin"] == OTHER


def test_a_certificate_of_another_name_is_refused(servers: dict[ServerName, Server]) -> None:
    with pytest.raises(RemoteUnreachable, match="Hostname mismatch"):
        servers[ONE].send(MISPLACED, {})


def test_a_server_that_cannot_prove_its_keys_is_not_believed(servers: dict[ServerName, Server]) -> None:
    """Its requests arrive; its keys cannot be fetched, since its own certificate is wrong."""
    with pytest.raises(RemoteRefused) as refused:
        servers[MISPLACED].send(ONE, {})
    assert (refused.value.remote_status, refused.value.remote_errcode) == (401, "M_UNAUTHORIZED")


def test_many_requests_share_few_connections(servers: dict[ServerName, Server], world: World) -> None:
    one = servers[ONE]

    async def many() -> list[Any]:
        return await gather(*(one.client.request(OTHER, "PUT", PATH, body={"n": n}) for n in range(100)))

    answers = world.live.result(many)
    assert {answer["origin"] for answer in answers} == {ONE}
    assert len(servers[OTHER].server.connections) <= 9  # eight to send, one to ask for keys


def test_a_server_that_stops_and_comes_back(servers: dict[ServerName, Server], world: World) -> None:
    one, other = servers[ONE], servers[OTHER]
    one.send(OTHER, {})
    world.live.result(lambda: other.server.stop(within_seconds=1))
    port = world.records[f"_matrix-fed._tcp.{OTHER}"][0].port
    with pytest.raises(RemoteUnreachable):
        one.send(OTHER, {})
    issued = world.authority.issue(OTHER)

    def listen_again() -> None:
        other.server.start()
        other.server.listen(
            world.live.reactor, port, "127.0.0.1", tls=ServerTls(issued.certificate, issued.key)
        )

    world.live.call(listen_again)
    assert one.send(OTHER, {})["origin"] == ONE
