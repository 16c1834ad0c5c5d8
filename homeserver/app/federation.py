"""How this server speaks with others: its HTTP client, its keys and whom it trusts.

The configuration is read here, and in the rest of this folder, and nowhere below.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from random import random

from homeserver.api.federation.access import FederationAccess
from homeserver.config import Config
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Authenticate, Route
from homeserver.protocol.requester import Requester
from homeserver.protocol.server_keys import OldKey
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_requests import Identity, SignedRequests
from homeserver.remote.identity_servers import IdentityServers
from homeserver.remote.server_discovery import ServerDiscovery
from homeserver.remote.server_keys import ServerKeyFetcher
from homeserver.runtime.addresses import AddressGuard
from homeserver.runtime.client_tls import ClientTls
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.runtime.dns import LOOK_UPS_AT_ONCE, Resolver, SystemResolver
from homeserver.runtime.http_client import HttpClient, Pool
from homeserver.runtime.reactor import Reactor
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.threads import Threads
from homeserver.runtime.verifiers import Verifiers
from homeserver.services import Services
from homeserver.services.federation.backoff import BackOff
from homeserver.services.federation.traffic import Neighbours, Traffic, traffic
from homeserver.services.key_ring import KeyRing, OwnKeys
from homeserver.services.notary import Notary
from homeserver.services.rooms.ground import RoomGround
from homeserver.storage.server_keys import ServerKeyStore


@dataclass(frozen=True, slots=True)
class Outside:
    """The way to other servers: names to addresses, requests to answers. Tests bring servers in memory."""

    http: HttpClient
    resolver: Resolver


@dataclass(frozen=True, slots=True)
class Federation:
    """What the services of federation stand on."""

    policy: ServerAcl
    client: FederationClient
    identity_servers: IdentityServers
    key_ring: KeyRing
    notary: Notary


def build_outside(config: Config, reactor: Reactor, clock: Clock) -> Outside:
    """Costs nothing until a request is sent."""
    resolver = SystemResolver(reactor, clock, Threads(reactor, "names", LOOK_UPS_AT_ONCE))
    guard = AddressGuard(allow_private=config.federation.allow_private_addresses)
    pool = Pool(reactor, clock, resolver, guard, tls=ClientTls(config.federation.ca_file))
    return Outside(HttpClient(pool, clock), resolver)


def build_federation(
    config: Config,
    signing_key: SigningKey,
    outside: Outside,
    clock: Clock,
    *,
    database: Database,
    threads: Threads,
    verifiers: Verifiers | None,
) -> Federation:
    """Client, keys and notary. `threads` check signatures, `verifiers` those of many events at once."""
    policy = policy_of(config)
    discovery = ServerDiscovery(outside.http, outside.resolver, clock)
    requests = SignedRequests(
        Identity(config.server_name, signing_key, policy), outside.http, discovery, clock
    )
    store = ServerKeyStore()
    own = own_keys(config, signing_key)
    key_ring = KeyRing(
        own, ServerKeyFetcher(requests), database, store, clock,
        notaries=config.federation.trusted_key_servers, threads=threads, verifiers=verifiers,
    )  # fmt: skip
    return Federation(
        policy,
        FederationClient(requests, outside.http, clock),
        IdentityServers(outside.http, config.federation.identity_servers),
        key_ring,
        Notary(own, policy, key_ring, database, store),
    )


def build_traffic(
    config: Config, federation: Federation, ground: RoomGround, tasks: Tasks, neighbours: Neighbours
) -> Traffic:
    """What is sent to other servers and taken in from them; the client hears from it whom to leave alone."""
    if not (config.presence.enabled and config.federation.presence):
        neighbours = neighbours._replace(presence=None)
    back_off = BackOff(longest_s=config.federation.longest_back_off_hours * 3600.0)
    built = traffic(ground, tasks, federation.client, neighbours, chance=random, back_off=back_off)
    federation.client.use_reachability(built.destinations)
    return built


def policy_of(config: Config) -> ServerAcl:
    """Which servers this one speaks with: nobody while federation is off."""
    federation = config.federation
    allow = list(federation.allow) or ["*"]
    return ServerAcl({"allow": allow if federation.enabled else [], "deny": list(federation.deny)})


def own_keys(config: Config, signing_key: SigningKey) -> OwnKeys:
    """What this server signs with, and signed with before."""
    old = [OldKey(key.verify_key(), key.expired_ts) for key in config.federation.old_signing_keys]
    return OwnKeys(config.server_name, signing_key, old)


def authenticate_both(config: Config, services: Services, people: Authenticate) -> Authenticate:
    """Other servers by their signatures on routes of federation, everybody else by their access tokens."""
    servers = FederationAccess(
        config.server_name, policy_of(config), services.key_ring, services.clock,
        limits=services.rate_limits, note_origin=services.traffic.destinations.note_alive,
    )  # fmt: skip

    def authenticate(
        request: Request, route: Route
    ) -> Requester | Coroutine[object, None, Requester | None] | None:
        return servers(request, route) if route.auth is Auth.FEDERATION else people(request, route)

    return authenticate
