"""The composition root: every part of the server, built by hand, bottom-up, in one place.

`build` puts the parts together; `App.start` opens the database and the listeners, `App.stop` closes them in
the opposite order. The configuration is read here and nowhere below.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.error import CannotListenError

from homeserver.api.access import Access
from homeserver.api.client.routes import ROUTES as CLIENT_ROUTES
from homeserver.api.health import ROUTES as HEALTH_ROUTES
from homeserver.api.metrics import RequestMetrics, metrics_routes
from homeserver.api.request_limits import RequestLimits
from homeserver.config import Config
from homeserver.config.server import Listener
from homeserver.config.signing_key import UnusableSigningKey, make_signing_key, read_signing_key
from homeserver.http.routing import Route, Router
from homeserver.http.server import HttpServer
from homeserver.http.tls import ServerTls, UnusableCertificate
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import gather
from homeserver.runtime.database import CannotStart, Database, open_database
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.migrations import read_migrations
from homeserver.runtime.reactor import Reactor
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.threads import Threads
from homeserver.services import Services
from homeserver.services.account_data import AccountData
from homeserver.services.accounts import AccountSettings, Ground, account_services
from homeserver.services.accounts.passwords import Cost
from homeserver.services.accounts.registration import RegistrationPolicy
from homeserver.services.accounts.sessions import Lifetimes
from homeserver.services.capabilities import Capabilities
from homeserver.services.devices.devices import Devices
from homeserver.services.discovery import Discovery
from homeserver.services.filters import Filters
from homeserver.services.media import media_services
from homeserver.services.media.files import MediaFiles
from homeserver.services.media.repository import Repository
from homeserver.services.presence import Presence
from homeserver.services.profiles import Profiles
from homeserver.services.push.evaluation import PushEvaluation
from homeserver.services.push.notifications import Notifications
from homeserver.services.push.pushers import Pushers
from homeserver.services.push.rules import PushRules
from homeserver.services.push.unread import Unread
from homeserver.services.rate_limits import RateLimits
from homeserver.services.receipts import Receipts
from homeserver.services.rooms import RoomGround, room_services
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.writer import Built
from homeserver.services.streams import Streams
from homeserver.services.sync.room_sections import RoomSections
from homeserver.services.sync.sync import Sync, SyncSources
from homeserver.services.sync.waiting import Waiting
from homeserver.services.sync.window import Windows
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.storage import MIGRATIONS, Stores

logger = logging.getLogger(__name__)

BLOCKING_THREADS = 8
"""For files and pictures. Threads are begun when first needed."""
GRACE_SECONDS = 3
"""For requests under way when the server stops."""


class CannotServe(Exception):
    """The server cannot start; the message tells the operator why."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What services stand on. Tests bring a fake clock and a database that works at once."""

    clock: Clock
    tasks: Tasks
    database: Database
    metrics: Metrics
    blocking: Threads
    hashing: Threads


def build(config: Config, reactor: Reactor) -> "App":
    """The whole server, not yet started. Raises CannotServe."""
    try:
        runtime = build_runtime(config, reactor)
        services = build_services(config, open_signing_key(config), runtime)
        connect(services)
        doors = [build_door(config, listener, services, runtime) for listener in config.listeners]
    except (CannotStart, UnusableCertificate, UnusableSigningKey) as error:
        raise CannotServe(str(error)) from error
    except OSError as error:
        raise CannotServe(f"{error.filename}: {error.strerror}") from error
    return App(reactor, runtime, services, doors)


def build_runtime(config: Config, reactor: Reactor) -> Runtime:
    """Clock, threads and the database, which is not yet opened."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    database = open_database(
        config.database, reactor, readers=config.database_readers, migrations=read_migrations(MIGRATIONS)
    )
    clock = Clock(reactor)
    return Runtime(
        clock,
        Tasks(clock),
        database,
        Metrics(),
        blocking=Threads(reactor, "blocking", BLOCKING_THREADS),
        hashing=Threads(reactor, "hashing", os.cpu_count() or 1),
    )


def build_services(config: Config, signing_key: SigningKey, runtime: Runtime) -> Services:
    """All services, in the order in which they may import one another."""
    clock, tasks, database = runtime.clock, runtime.tasks, runtime.database
    server_name = config.server_name
    stores = Stores()

    streams = Streams(database, stores.positions, tasks)
    limits = RateLimits(clock.monotonic, config.rate_limits.by_name())
    accounts = account_services(
        Ground(database, stores.accounts, streams, clock, tasks, runtime.hashing, limits),
        account_settings(config),
    )
    profiles = Profiles(database, stores.accounts, streams, clock, tasks, server_name=server_name)
    account_data = AccountData(database, stores.account_data, streams)
    push_rules = PushRules(database, stores.push_rules, streams, account_data)
    rooms = room_services(
        RoomGround(
            server_name,
            signing_key,
            config.rooms.default_version,
            clock,
            database,
            stores.rooms,
            streams,
            profiles,
            account_data,
            PushEvaluation(push_rules, account_data, server_name),
        )
    )
    counted = (stores.rooms.push_actions, stores.rooms.receipts, stores.rooms.identifiers)
    unread = Unread(database, counted, streams)
    receipts = Receipts(
        database,
        (stores.rooms.receipts, stores.rooms.identifiers),
        streams=streams,
        clock=clock,
        account_data=account_data,
        unread=unread,
        rooms=rooms.facts,
    )
    typing_notifications = TypingNotifications(streams, clock, rooms.facts)
    presence = Presence(
        database,
        stores.presence,
        streams=streams,
        clock=clock,
        tasks=tasks,
        rooms=rooms.facts,
        enabled=config.presence.enabled,
    )
    waiting = Waiting(streams, clock, rooms.rooms)
    sync = Sync(
        sources=SyncSources(
            streams,
            rooms.rooms,
            rooms.user_rooms,
            account_data,
            receipts,
            typing_notifications,
            presence,
            unread,
        ),
        sections=RoomSections(rooms.events, Windows(rooms.events, rooms.visibility), clock),
        waiting=waiting,
        clock=clock,
    )
    media = media_services(
        Repository(
            server_name,
            config.media,
            database,
            stores.media,
            MediaFiles(config.media.path, runtime.blocking),
            clock,
        )
    )
    return Services(
        clock=clock,
        discovery=Discovery(public_url=config.public_url, support=config.support.document()),
        capabilities=Capabilities(default_room_version=config.rooms.default_version),
        streams=streams,
        rate_limits=limits,
        accounts=accounts,
        profiles=profiles,
        devices=Devices(
            database, stores.accounts.devices, streams, accounts.sessions, accounts.stages, accounts.last_seen
        ),
        account_data=account_data,
        filters=Filters(database, stores.filters),
        push_rules=push_rules,
        pushers=Pushers(database, stores.pushers, clock),
        rooms=rooms,
        unread=unread,
        notifications=Notifications(database, counted, rooms.facts),
        receipts=receipts,
        typing_notifications=typing_notifications,
        presence=presence,
        waiting=waiting,
        sync=sync,
        media=media,
    )


def connect(services: Services) -> None:
    """Who follows whom: what happens in rooms reaches those who count, show and announce it."""
    rooms = services.rooms

    def follow(room: Room, batch: Sequence[Built]) -> None:
        for built in batch:
            event = built.event
            services.unread.note_event(
                room.room_id, built.new.nid, event.sender, built.new.thread_root, built.outcome
            )
            services.presence.note_activity(event.sender)
            services.typing_notifications.stop(room.room_id, event.sender)
            member = built.member
            if member is not None and member.is_local:
                services.unread.note_membership(room.room_id, member.user_id)
                if member.membership == "join":
                    services.presence.note_join(member.user_id, room.room_id)

    rooms.writer.follow(follow)
    services.accounts.deactivation.also(rooms.leave_all)


def account_settings(config: Config) -> AccountSettings:
    """What the configuration says about accounts, in the words of their services."""
    return AccountSettings(
        server_name=config.server_name,
        registration=RegistrationPolicy(mode=config.registration.mode, guests=config.registration.guests),
        shared_secret=config.registration.shared_secret,
        password_cost=Cost(config.passwords.hash_passes, config.passwords.hash_memory_kib),
        min_password_length=config.passwords.min_length,
        lifetimes=Lifetimes(
            access_ms=config.sessions.access_token_minutes * 60_000,
            refresh_ms=config.sessions.refresh_token_days * 86_400_000,
        ),
    )


@dataclass(frozen=True, slots=True)
class Door:
    """A listener of the configuration and the server behind it."""

    listener: Listener
    server: HttpServer
    tls: ServerTls | None


def build_door(config: Config, listener: Listener, services: Services, runtime: Runtime) -> Door:
    """A server for one listener, with the routes it is to have."""
    counts = any("metrics" in each.apis for each in config.listeners)
    router = Router(
        services,
        routes_of(config, listener, runtime.metrics),
        authenticate=Access(services.accounts.sessions.find),
        limiter=RequestLimits(services.rate_limits),
        observer=RequestMetrics(runtime.metrics) if counts else None,
    )
    server = HttpServer(router, runtime.clock, trusted_proxies=listener.trusted_proxies)
    tls = None if listener.tls is None else ServerTls(listener.tls.certificate, listener.tls.key)
    return Door(listener, server, tls)


def routes_of(config: Config, listener: Listener, metrics: Metrics) -> list[Route]:
    """What is answered on a listener."""
    routes: list[Route] = []
    if "client" in listener.apis:
        routes += CLIENT_ROUTES
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
        self.services = services

    async def start(self) -> None:
        """Open the database, start the services, then listen. Raises CannotServe, with all of it undone."""
        try:
            self._runtime.database.start()
            await self._start_services()
            for door in self._doors:
                self._listen(door)
        except CannotStart as error:
            raise CannotServe(str(error)) from error
        except CannotListenError as error:
            where = f"{error.interface}:{error.port}"
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            await self.stop()
            raise CannotServe(f"Cannot listen on {where}: {reason}") from error

    async def stop(self) -> None:
        """Answer what was asked, finish what was begun, close the database."""
        self.services.waiting.stop()
        await gather(*(door.server.stop(within_seconds=GRACE_SECONDS) for door in self._doors))
        self.services.media.stop()
        self.services.typing_notifications.stop_all()
        await self.services.presence.stop()
        await self._runtime.tasks.stop_all()
        await gather(self._runtime.blocking.stop(), self._runtime.hashing.stop())
        await self._runtime.database.stop()

    def reload_certificates(self) -> None:
        """Read the TLS files again, for connections from now on."""
        for door in self._doors:
            if door.tls is not None:
                door.tls.reload()

    async def _start_services(self) -> None:
        services = self.services
        await services.streams.start()
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
