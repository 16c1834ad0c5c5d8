"""The composition root: every part of the server, built by hand, bottom-up, in one place.

`build` puts the parts together; `App.start` opens the database and the listeners, `App.stop` closes them in
the opposite order. The configuration is read here and nowhere below.
"""

import logging
from dataclasses import dataclass

from twisted.internet.error import CannotListenError

from homeserver.api.access import Access
from homeserver.api.admin.routes import ROUTES as ADMIN_ROUTES
from homeserver.api.client.routes import ROUTES as CLIENT_ROUTES
from homeserver.api.federation.routes import OWN_ROUTES
from homeserver.api.federation.routes import ROUTES as FEDERATION_ROUTES
from homeserver.api.health import ROUTES as HEALTH_ROUTES
from homeserver.api.metrics import RequestMetrics, metrics_routes
from homeserver.api.request_limits import RequestLimits
from homeserver.app.federation import authenticate_both
from homeserver.app.process_metrics import add_process_metrics
from homeserver.app.services import Runtime, build_runtime, build_services, connect
from homeserver.config import Config
from homeserver.config.server import Listener
from homeserver.config.signing_key import UnusableSigningKey, make_signing_key, read_signing_key
from homeserver.http.body_budget import BodyBudget
from homeserver.http.limits import Limits
from homeserver.http.routing import Route, Router
from homeserver.http.server import HttpServer
from homeserver.http.tls import ServerTls, UnusableCertificate, strict_transport_security
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.concurrency import gather
from homeserver.runtime.database import CannotStart
from homeserver.runtime.heap import Heap
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.reactor import Reactor
from homeserver.services import Services

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2
"""For requests under way when the server stops."""


class CannotServe(Exception):
    """The server cannot start; the message tells the operator why."""


def build(config: Config, reactor: Reactor) -> "App":
    """The whole server, not yet started. Raises CannotServe."""
    try:
        runtime = build_runtime(config, reactor)
        services = build_services(config, open_signing_key(config), runtime)
        connect(services)
        observer = build_observer(config, runtime.metrics)
        bodies = BodyBudget()
        doors = [
            build_door(config, listener, services, runtime, observer=observer, bodies=bodies)
            for listener in config.listeners
        ]
    except (CannotStart, UnusableCertificate, UnusableSigningKey) as error:
        raise CannotServe(str(error)) from error
    except OSError as error:
        raise CannotServe(f"{error.filename}: {error.strerror}") from error
    add_process_metrics(runtime, lambda: sum(len(door.server.connections) for door in doors))
    return App(reactor, runtime, services, doors)


@dataclass(frozen=True, slots=True)
class Door:
    """A listener of the configuration and the server behind it."""

    listener: Listener
    server: HttpServer
    tls: ServerTls | None


def build_door(
    config: Config, listener: Listener, services: Services, runtime: Runtime, *,
    observer: RequestMetrics | None, bodies: BodyBudget,
) -> Door:  # fmt: skip
    """A server for one listener, with the routes it is to have."""
    router = build_router(config, listener, services, runtime.metrics, observer)
    tls, headers = None, None
    if listener.tls is not None:
        tls = ServerTls(listener.tls.certificate, listener.tls.key)
        headers = strict_transport_security(listener.tls.hsts_days)
    server = HttpServer(
        router, runtime.clock, limits=Limits(connections_per_address=listener.max_connections_per_address),
        bodies=bodies, trusted_proxies=listener.trusted_proxies, headers=headers,
    )  # fmt: skip
    return Door(listener, server, tls)


def build_observer(config: Config, metrics: Metrics) -> RequestMetrics | None:
    """Requests are counted only where somebody can read the figures."""
    is_read = any("metrics" in listener.apis for listener in config.listeners)
    return RequestMetrics(metrics) if is_read else None


def build_router(
    config: Config,
    listener: Listener,
    services: Services,
    metrics: Metrics,
    observer: RequestMetrics | None = None,
) -> Router:
    """From a listener's requests to answers."""
    people = Access(services.accounts.sessions.find, services.accounts.last_seen.note)
    return Router(
        services,
        routes_of(config, listener, metrics),
        authenticate=authenticate_both(config, services, people),
        limiter=RequestLimits(services.rate_limits),
        observer=observer,
    )


def routes_of(config: Config, listener: Listener, metrics: Metrics) -> list[Route]:
    """What is answered on a listener."""
    routes: list[Route] = []
    if "client" in listener.apis:
        routes += (*CLIENT_ROUTES, *ADMIN_ROUTES)
    if "federation" in listener.apis and config.federation.enabled:
        routes += (*FEDERATION_ROUTES, *OWN_ROUTES)
    if "health" in listener.apis:
        routes += HEALTH_ROUTES
    if "metrics" in listener.apis:
        routes += metrics_routes(metrics, config.metrics.bearer_token)
    return routes


def open_signing_key(config: Config) -> SigningKey:
    """The server's key, made if there is none yet. Raises OSError or UnusableSigningKey."""
    try:
        return read_signing_key(config.signing_key)
    except FileNotFoundError:
        key = make_signing_key(config.signing_key)
        logger.warning("There was no signing key: made a new one, %s, in %s", key.key_id, config.signing_key)
        return key


class App:
    """The server as one thing that starts and stops."""

    def __init__(self, reactor: Reactor, runtime: Runtime, services: Services, doors: list[Door]) -> None:
        self._reactor = reactor
        self._runtime = runtime
        self._doors = doors
        self._heap = Heap(runtime.clock)
        self.services = services

    async def start(self) -> None:
        """Open the database, start the services, then listen. Raises CannotServe, with all of it undone."""
        self._read_authorities()
        try:
            self._runtime.database.start()
            await self._start_services()
            for door in self._doors:
                self._listen(door)
            self._heap.start()
        except CannotStart as error:
            raise CannotServe(str(error)) from error
        except CannotListenError as error:
            where = f"{error.interface}:{error.port}"
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            await self.stop()
            raise CannotServe(f"Cannot listen on {where}: {reason}") from error

    async def stop(self) -> None:
        """Answer what was asked, finish what was begun, close the database."""
        self._heap.stop()
        self.services.waiting.stop()
        await gather(*(door.server.stop(within_seconds=GRACE_SECONDS) for door in self._doors))
        self.services.media.stop()
        self.services.typing_notifications.stop_all()
        await self.services.presence.stop()
        await self.services.traffic.stop()
        await self._runtime.tasks.stop_all()
        self._runtime.outside.http.stop()
        await self.services.accounts.last_seen.write_or_log()
        if self._runtime.verifiers is not None:
            self._runtime.verifiers.stop()
        await gather(self._runtime.blocking.stop(), self._runtime.hashing.stop())
        await self._runtime.database.stop()

    def reload_certificates(self) -> None:
        """Read the TLS files again, for connections from now on."""
        for door in self._doors:
            if door.tls is not None:
                door.tls.reload()

    def _read_authorities(self) -> None:
        try:
            self._runtime.outside.http.start()
        except OSError as error:
            raise CannotServe(f"{error} (federation.ca_file)") from error

    async def _start_services(self) -> None:
        services = self.services
        await services.streams.start()
        await services.rooms.receiving.start()
        await services.rooms.untold_leaves.start()
        await services.traffic.start()
        await services.account_data.start()
        await services.push_rules.start()
        services.waiting.start()
        await services.presence.start()
        await services.accounts.start()
        await services.profiles.start(services.rooms.renew_profile)
        await services.media.start()

    def _listen(self, door: Door) -> None:
        door.server.start()
        for address in door.listener.addresses:
            door.server.listen(self._reactor, door.listener.port, address, tls=door.tls)
