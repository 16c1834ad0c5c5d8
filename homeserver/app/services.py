"""All services of a server, built by hand, in the order in which they may import one another.

The configuration is read here, and in the rest of this folder, and nowhere below.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.app.federation import Federation, Outside, build_federation, build_outside, build_traffic
from homeserver.config import Config
from homeserver.protocol import event_types
from homeserver.protocol.ids import RoomId
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, open_database
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.migrations import read_migrations
from homeserver.runtime.reactor import Reactor
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.threads import Threads
from homeserver.runtime.verifiers import Verifiers
from homeserver.services import Services
from homeserver.services.account_data import AccountData
from homeserver.services.accounts import AccountServices, AccountSettings, Ground, account_services
from homeserver.services.accounts.passwords import Cost
from homeserver.services.accounts.registration import RegistrationPolicy
from homeserver.services.accounts.sessions import Lifetimes
from homeserver.services.capabilities import Capabilities
from homeserver.services.devices.devices import Devices
from homeserver.services.discovery import Discovery
from homeserver.services.federation.answering import answering
from homeserver.services.federation.traffic import Neighbours
from homeserver.services.filters import Filters
from homeserver.services.media import MediaServices, media_services
from homeserver.services.media.files import MediaFiles
from homeserver.services.media.repository import Repository
from homeserver.services.presence.presence import Presence
from homeserver.services.profiles import Profiles
from homeserver.services.push.evaluation import PushEvaluation
from homeserver.services.push.notifications import Notifications
from homeserver.services.push.pushers import Pushers
from homeserver.services.push.rules import PushRules
from homeserver.services.push.unread import Unread
from homeserver.services.rate_limits import RateLimits
from homeserver.services.receipts import Receipts
from homeserver.services.remote_profiles import RemoteProfiles
from homeserver.services.reports import Reports
from homeserver.services.rooms import RoomServices, room_services
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.writer import Built
from homeserver.services.streams import Streams
from homeserver.services.sync.lazy_members import LazyMembers
from homeserver.services.sync.left_rooms import LeftRooms
from homeserver.services.sync.outside_rooms import OutsideRooms
from homeserver.services.sync.room_sections import RoomSections
from homeserver.services.sync.sync import Sync, SyncSources
from homeserver.services.sync.waiting import Waiting
from homeserver.services.sync.window import Windows
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.services.upgraded_rooms import UpgradedRooms
from homeserver.storage import MIGRATIONS, Stores
from homeserver.storage.rooms import Member

BLOCKING_THREADS = 8
"""For files and pictures. Threads are begun when first needed."""
MOST_VERIFIERS = 4
"""Processes for signatures. More would wait for this one, which reads and stores the events."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What services stand on. Tests bring a fake clock and a database that works at once."""

    clock: Clock
    tasks: Tasks
    database: Database
    metrics: Metrics
    blocking: Threads
    hashing: Threads
    outside: Outside
    verifiers: Verifiers | None = None


def build_runtime(config: Config, reactor: Reactor) -> Runtime:
    """Clock, threads and the database, which is not yet opened."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    database = open_database(
        config.database, reactor, readers=config.database_readers, migrations=read_migrations(MIGRATIONS)
    )
    clock = Clock(reactor)
    cores = os.cpu_count() or 1
    return Runtime(
        clock,
        Tasks(clock),
        database,
        Metrics(),
        blocking=Threads(reactor, "blocking", BLOCKING_THREADS),
        hashing=Threads(reactor, "hashing", cores),
        outside=build_outside(config, reactor, clock),
        verifiers=Verifiers(reactor, clock, min(cores - 1, MOST_VERIFIERS)) if cores > 1 else None,
    )


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the builders below share."""

    config: Config
    runtime: Runtime
    stores: Stores
    streams: Streams
    limits: RateLimits
    federation: Federation


@dataclass(frozen=True, slots=True)
class Reading:
    """What people have read, and what they have not; who is about; and the syncs that tell it."""

    unread: Unread
    notifications: Notifications
    receipts: Receipts
    typing_notifications: TypingNotifications
    presence: Presence
    waiting: Waiting
    sync: Sync


def build_services(config: Config, signing_key: SigningKey, runtime: Runtime) -> Services:
    """All services, in the order in which they may import one another."""
    database, clock = runtime.database, runtime.clock
    foundation = lay_foundation(config, signing_key, runtime)
    stores, streams, federation = foundation.stores, foundation.streams, foundation.federation
    accounts = build_accounts(foundation)
    account_data = AccountData(database, stores.account_data, streams)
    push_rules = PushRules(database, stores.push_rules, streams, account_data)
    ground = build_ground(foundation, signing_key, account_data, push_rules)
    rooms = room_services(ground)
    reading = build_reading(foundation, ground, rooms)
    neighbours = Neighbours(
        rooms.rooms, rooms.receiving, reading.typing_notifications, reading.receipts, reading.presence
    )
    return Services(
        clock=clock,
        discovery=Discovery(public_url=config.public_url, support=config.support.document()),
        capabilities=Capabilities(default_room_version=config.rooms.default_version),
        streams=streams, rate_limits=foundation.limits, remote=federation.client,
        key_ring=federation.key_ring, notary=federation.notary, accounts=accounts, profiles=ground.profiles,
        devices=Devices(
            database, stores.accounts.devices, streams, accounts.sessions, accounts.stages, accounts.last_seen
        ),
        account_data=account_data, filters=Filters(database, stores.filters), push_rules=push_rules,
        pushers=Pushers(database, stores.pushers, clock), rooms=rooms,
        unread=reading.unread, notifications=reading.notifications, receipts=reading.receipts,
        typing_notifications=reading.typing_notifications, presence=reading.presence,
        waiting=reading.waiting, sync=reading.sync,
        media=build_media(foundation),
        reports=Reports(database, stores.reports, rooms, clock),
        answering=answering(ground, rooms, stores.accounts.accounts, foundation.limits),
        upgraded_rooms=UpgradedRooms(account_data, push_rules, rooms.user_rooms, runtime.tasks),
        traffic=build_traffic(config, federation, ground, runtime.tasks, neighbours),
    )  # fmt: skip


def lay_foundation(config: Config, signing_key: SigningKey, runtime: Runtime) -> Foundation:
    """Positions, limits, and the way to other servers."""
    stores = Stores()
    federation = build_federation(
        config, signing_key, runtime.outside, runtime.clock, database=runtime.database,
        threads=runtime.hashing, verifiers=runtime.verifiers,
    )  # fmt: skip
    return Foundation(
        config,
        runtime,
        stores,
        Streams(runtime.database, stores.positions, runtime.tasks),
        RateLimits(runtime.clock.monotonic, config.rate_limits.by_name()),
        federation,
    )


def build_accounts(foundation: Foundation) -> AccountServices:
    """Who has an account here, and who is signed in."""
    runtime = foundation.runtime
    ground = Ground(
        runtime.database, foundation.stores.accounts, foundation.streams, runtime.clock, runtime.tasks,
        runtime.hashing, foundation.limits,
    )  # fmt: skip
    return account_services(ground, account_settings(foundation.config))


def build_ground(
    foundation: Foundation, signing_key: SigningKey, account_data: AccountData, push_rules: PushRules
) -> RoomGround:
    """What the services of rooms stand on."""
    config, runtime, federation = foundation.config, foundation.runtime, foundation.federation
    profiles = Profiles(
        runtime.database, foundation.stores.accounts, foundation.streams, runtime.clock, runtime.tasks,
        server_name=config.server_name, remote=RemoteProfiles(federation.client, runtime.clock),
    )  # fmt: skip
    return RoomGround(
        config.server_name, signing_key, config.rooms.default_version, runtime.clock, runtime.database,
        foundation.stores.rooms, foundation.streams, profiles, account_data,
        PushEvaluation(push_rules, account_data, config.server_name), federation.client,
        federation.identity_servers, federation.key_ring, runtime.tasks,
    )  # fmt: skip


def build_reading(foundation: Foundation, ground: RoomGround, rooms: RoomServices) -> Reading:
    """Bottom-up: counts, receipts, who is about, then the syncs."""
    database, clock, streams = ground.database, ground.clock, ground.streams
    counted = (ground.stores.push_actions, ground.stores.receipts, ground.stores.identifiers)
    unread = Unread(database, counted, streams)
    receipts = Receipts(
        database, (ground.stores.receipts, ground.stores.identifiers), streams=streams, clock=clock,
        account_data=ground.account_data, unread=unread, rooms=rooms.facts,
    )  # fmt: skip
    typing_notifications = TypingNotifications(streams, clock, rooms.facts)
    presence = Presence(
        database, foundation.stores.presence, streams=streams, clock=clock, tasks=ground.tasks,
        rooms=rooms.facts, enabled=foundation.config.presence.enabled,
    )  # fmt: skip
    waiting = Waiting(streams, clock, rooms.rooms)
    outside = OutsideRooms(database, ground.stores, clock)
    sources = SyncSources(
        streams, rooms.rooms, rooms.user_rooms, ground.account_data, receipts, typing_notifications, presence,
        unread, outside,
    )  # fmt: skip
    notifications = Notifications(database, counted, rooms.facts, outside)
    return Reading(
        unread, notifications, receipts, typing_notifications, presence, waiting,
        build_sync(rooms, sources, waiting, clock),
    )  # fmt: skip


def build_sync(rooms: RoomServices, sources: SyncSources, waiting: Waiting, clock: Clock) -> Sync:
    """/sync, from what it asks to what it answers."""
    windows = Windows(rooms.events, rooms.visibility, LazyMembers(rooms.told_members))
    left_rooms = LeftRooms(rooms.events, windows, rooms.visibility, rooms.state)
    sections = RoomSections(rooms.events, rooms.relations, windows, left_rooms, clock)
    return Sync(sources=sources, sections=sections, waiting=waiting, told=rooms.told_members, clock=clock)


def build_media(foundation: Foundation) -> MediaServices:
    """The media repository, its files under the configured folder."""
    config, runtime = foundation.config, foundation.runtime
    files = MediaFiles(config.media.path, runtime.blocking)
    repository = Repository(
        config.server_name, config.media, runtime.database, foundation.stores.media, files, runtime.clock
    )
    return media_services(repository, foundation.federation.client)


def connect(services: Services) -> None:
    """Who follows whom: what happens in rooms reaches those who count, show and announce it."""
    rooms = services.rooms

    def follow(room: Room, batch: Sequence[Built]) -> None:
        for built in batch:
            event = built.event
            services.unread.note_event(
                room.room_id, built.new.nid, event.sender, built.new.thread_root, built.outcome
            )
            if built.is_local:
                services.presence.note_activity(event.sender)
            services.typing_notifications.stop(room.room_id, event.sender)
            for member in built.members:
                note_member(services, room.room_id, member)
            if event.type == event_types.MEMBER and not built.is_local and event.state_key == event.sender:
                services.profiles.note_elsewhere(event.sender, event.content)
            elif event.type == event_types.SPACE_CHILD and event.state_key:
                rooms.spaces.note_change(RoomId(event.state_key))

    rooms.writer.follow(follow)
    rooms.writer.follow(services.traffic.note_events)
    services.traffic.inbox.outsiders = services.answering.outsiders
    rooms.writer.follow(services.upgraded_rooms.note)
    accounts = services.accounts
    accounts.sessions.also_clean(services.pushers.remove_of_devices)
    for leave in (
        rooms.leave_all,
        services.account_data.depart,
        services.push_rules.depart,
        services.presence.depart,
    ):
        accounts.deactivation.also(leave)


def note_member(services: Services, room_id: RoomId, member: Member) -> None:
    """A membership of the room is different now."""
    is_joined = member.membership == "join"
    if not member.is_local:
        services.presence.elsewhere.note_member(member.user_id, room_id, is_joined=is_joined)
        return
    services.unread.note_membership(room_id, member.user_id)
    services.rooms.spaces.note_change(room_id)
    if is_joined:
        services.presence.note_join(member.user_id, room_id)
    else:
        services.typing_notifications.stop(room_id, member.user_id)


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
