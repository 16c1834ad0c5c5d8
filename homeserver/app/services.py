"""All services of a server, built by hand, in the order in which they may import one another.

The configuration is read here, and in the rest of this folder, and nowhere below.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.app.federation import Outside, build_federation, build_outside, build_traffic
from homeserver.config import Config
from homeserver.protocol import event_types
from homeserver.protocol.ids import RoomId
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.federation import FederationClient
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, open_database
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.migrations import read_migrations
from homeserver.runtime.reactor import Reactor
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.threads import Threads
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
from homeserver.services.presence import Presence
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
        outside=build_outside(config, reactor, clock),
    )


def build_services(config: Config, signing_key: SigningKey, runtime: Runtime) -> Services:
    """All services, in the order in which they may import one another."""
    clock, tasks, database = runtime.clock, runtime.tasks, runtime.database
    server_name = config.server_name
    stores = Stores()

    streams = Streams(database, stores.positions, tasks)
    limits = RateLimits(clock.monotonic, config.rate_limits.by_name())
    federation = build_federation(
        config, signing_key, runtime.outside, clock, database=database, threads=runtime.hashing
    )
    accounts = build_accounts(config, stores, runtime, streams, limits)
    profiles = Profiles(
        database, stores.accounts, streams, clock, tasks, server_name=server_name,
        remote=RemoteProfiles(federation.client, clock),
    )  # fmt: skip
    account_data = AccountData(database, stores.account_data, streams)
    push_rules = PushRules(database, stores.push_rules, streams, account_data)
    push = PushEvaluation(push_rules, account_data, server_name)
    ground = RoomGround(
        server_name, signing_key, config.rooms.default_version, clock, database, stores.rooms, streams,
        profiles, account_data, push, federation.client, federation.identity_servers, federation.key_ring,
        tasks,
    )  # fmt: skip
    rooms = room_services(ground)
    counted = (stores.rooms.push_actions, stores.rooms.receipts, stores.rooms.identifiers)
    unread = Unread(database, counted, streams)
    receipts = build_receipts(ground, unread, rooms)
    typing_notifications = TypingNotifications(streams, clock, rooms.facts)
    presence = build_presence(config, stores, ground, rooms)
    waiting = Waiting(streams, clock, rooms.rooms)
    outside = OutsideRooms(database, stores.rooms, clock)
    sources = SyncSources(
        streams, rooms.rooms, rooms.user_rooms, account_data, receipts, typing_notifications, presence,
        unread, outside,
    )  # fmt: skip
    neighbours = Neighbours(rooms.rooms, rooms.receiving, typing_notifications, receipts, presence)
    return Services(
        clock=clock,
        discovery=Discovery(public_url=config.public_url, support=config.support.document()),
        capabilities=Capabilities(default_room_version=config.rooms.default_version),
        streams=streams, rate_limits=limits, accounts=accounts, profiles=profiles,
        remote=federation.client, key_ring=federation.key_ring, notary=federation.notary,
        devices=Devices(
            database, stores.accounts.devices, streams, accounts.sessions, accounts.stages, accounts.last_seen
        ),
        account_data=account_data,
        filters=Filters(database, stores.filters),
        push_rules=push_rules,
        pushers=Pushers(database, stores.pushers, clock),
        rooms=rooms, unread=unread,
        notifications=Notifications(database, counted, rooms.facts, outside),
        receipts=receipts, typing_notifications=typing_notifications, presence=presence, waiting=waiting,
        sync=build_sync(rooms, sources, waiting, clock),
        media=build_media(config, stores, runtime, federation.client),
        reports=Reports(database, stores.reports, rooms, clock),
        answering=answering(ground, rooms, stores.accounts.accounts, limits),
        upgraded_rooms=UpgradedRooms(account_data, push_rules, rooms.user_rooms, tasks),
        traffic=build_traffic(config, federation, ground, tasks, neighbours),
    )  # fmt: skip


def build_accounts(
    config: Config, stores: Stores, runtime: Runtime, streams: Streams, limits: RateLimits
) -> AccountServices:
    """Who has an account here, and who is signed in."""
    database, clock, tasks, hashing = runtime.database, runtime.clock, runtime.tasks, runtime.hashing
    ground = Ground(database, stores.accounts, streams, clock, tasks, hashing, limits)
    return account_services(ground, account_settings(config))


def build_receipts(ground: RoomGround, unread: Unread, rooms: RoomServices) -> Receipts:
    """How far everybody has read."""
    return Receipts(
        ground.database, (ground.stores.receipts, ground.stores.identifiers), streams=ground.streams,
        clock=ground.clock, account_data=ground.account_data, unread=unread, rooms=rooms.facts,
    )  # fmt: skip


def build_presence(config: Config, stores: Stores, ground: RoomGround, rooms: RoomServices) -> Presence:
    """Who is online, if anybody is to know."""
    return Presence(
        ground.database, stores.presence, streams=ground.streams, clock=ground.clock, tasks=ground.tasks,
        rooms=rooms.facts, enabled=config.presence.enabled,
    )  # fmt: skip


def build_sync(rooms: RoomServices, sources: SyncSources, waiting: Waiting, clock: Clock) -> Sync:
    """/sync, from what it asks to what it answers."""
    windows = Windows(rooms.events, rooms.visibility, LazyMembers(rooms.told_members))
    left_rooms = LeftRooms(rooms.events, windows, rooms.visibility, rooms.state)
    sections = RoomSections(rooms.events, rooms.relations, windows, left_rooms, clock)
    return Sync(sources=sources, sections=sections, waiting=waiting, told=rooms.told_members, clock=clock)


def build_media(config: Config, stores: Stores, runtime: Runtime, client: FederationClient) -> MediaServices:
    """The media repository, its files under the configured folder."""
    files = MediaFiles(config.media.path, runtime.blocking)
    return media_services(
        Repository(config.server_name, config.media, runtime.database, stores.media, files, runtime.clock),
        client,
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
