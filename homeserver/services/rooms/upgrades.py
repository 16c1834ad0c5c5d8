"""Room upgrades: a new room takes the place of an old one, with its settings, bans and local aliases.

https://spec.matrix.org/latest/client-server-api/#room-upgrades
"""

from collections.abc import Mapping, Sequence

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules.power_levels import DEFAULT_LEVELS, PowerLevels, read_level
from homeserver.protocol.errors import BadJson, Forbidden
from homeserver.protocol.events import Event
from homeserver.protocol.ids import RoomId, UserId, domain_of, is_user_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion, room_version
from homeserver.runtime.concurrency import KeyedLock
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.access import joined_room
from homeserver.services.rooms.creation import new_room_id
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.membership import ProfileOf
from homeserver.services.rooms.room import CREATE, JOIN_RULES, POWER_LEVELS, Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.sending import RoomSending
from homeserver.services.rooms.writer import Proposal, RoomWriter

COPIED = (
    event_types.JOIN_RULES, event_types.HISTORY_VISIBILITY, event_types.GUEST_ACCESS, event_types.SERVER_ACL,
    event_types.ENCRYPTION, event_types.NAME, event_types.TOPIC, event_types.AVATAR,
)  # fmt: skip
"""State that is the same in the new room, besides power levels, bans and the rooms of a space."""
MOST_BANS = 1_000
TOMBSTONE_LEVEL = 150
TOMBSTONE_TEXT = "This room has been replaced"
_NAMED_LEVELS = tuple(DEFAULT_LEVELS)


class RoomUpgrades:
    """Replaces rooms."""

    def __init__(
        self,
        ground: RoomGround,
        writer: RoomWriter,
        rooms: Rooms,
        sending: RoomSending,
        profile_of: ProfileOf,
    ) -> None:
        self._store = ground.stores.rooms
        self._server_name = ground.server_name
        self._writer = writer
        self._rooms = rooms
        self._sending = sending
        self._profile_of = profile_of
        self._upgrading: KeyedLock = KeyedLock()

    async def upgrade(
        self, user_id: UserId, room_id: RoomId, version_name: str, additional_creators: Sequence[str]
    ) -> RoomId:
        """The new room. Raises NotInRoom, Forbidden, UnsupportedRoomVersion, BadJson."""
        version = room_version(version_name)
        if not all(is_user_id(creator) for creator in additional_creators):
            raise BadJson("additional_creators is a list of user IDs")
        async with self._upgrading.hold(room_id):
            old = await joined_room(self._rooms, room_id, user_id)
            levels = PowerLevels(old.events)
            if levels.of_user(user_id) < levels.to_send(event_types.TOMBSTONE, is_state=True):
                raise Forbidden(f"{user_id} may not replace {room_id}")
            new = await self._replacement(user_id, old, version, additional_creators)
            await self._close(user_id, old, new)
        return new.room_id

    async def _replacement(
        self, user_id: UserId, old: Room, version: RoomVersion, additional_creators: Sequence[str]
    ) -> Room:
        """The new room. The aliases and the place in the directory change hands as it comes into being."""
        creators = list(dict.fromkeys(creator for creator in additional_creators if creator != user_id))
        create = _create_content(user_id, old, version, creators)
        join: JsonObject = {**await self._profile_of(user_id), "membership": "join"}
        events: list[tuple[str, str, JsonObject]] = [
            (event_types.CREATE, "", create),
            (event_types.MEMBER, user_id, join),
            *_settings(old, version),
            *_space_children(old),
            *_bans(old),
            (event_types.POWER_LEVELS, "", _power_levels(user_id, old, version, creators)),
        ]
        alias = self._local_alias(old)
        if alias:
            events.append((event_types.CANONICAL_ALIAS, "", alias))

        def take_over(txn: Transaction, room_id: RoomId) -> None:
            self._store.move_aliases(txn, old.room_id, room_id)
            row = self._store.get(txn, old.room_id)
            if row is not None and row.is_public:
                self._store.set_public(txn, room_id, public=True)
                self._store.set_public(txn, old.room_id, public=False)

        proposals = [Proposal(type_, user_id, content, state_key=key) for type_, key, content in events]
        room_id = new_room_id(version, self._server_name)
        return await self._writer.found(version, room_id, proposals, take_over)

    async def _close(self, user_id: UserId, old: Room, new: Room) -> None:
        """Tell those in the old room where it goes on, and keep them from going on here."""
        body: JsonObject = {"body": TOMBSTONE_TEXT, "replacement_room": new.room_id}
        await self._sending.set_state(user_id, old.room_id, event_types.TOMBSTONE, "", body)
        content = dict(old.content_of(*POWER_LEVELS))
        least = max(50, _level(old, content.get("users_default"), 0) + 1)
        for name in ("events_default", "invite"):
            content[name] = max(least, _level(old, content.get(name), DEFAULT_LEVELS[name]))
        changes = [(event_types.POWER_LEVELS, content)]
        if self._local_alias(old):
            changes.append((event_types.CANONICAL_ALIAS, self._without_local_aliases(old)))
        for type_, changed in changes:
            try:
                await self._sending.set_state(user_id, old.room_id, type_, "", changed)
            except Forbidden:
                continue

    def _local_alias(self, room: Room) -> JsonObject:
        """m.room.canonical_alias with the aliases of this server only."""
        content = room.content_of(event_types.CANONICAL_ALIAS)
        found: JsonObject = {}
        if self._is_local(content.get("alias")):
            found["alias"] = content["alias"]
        others = content.get("alt_aliases")
        if local := [
            alias for alias in (others if isinstance(others, list) else []) if self._is_local(alias)
        ]:
            found["alt_aliases"] = local
        return found

    def _without_local_aliases(self, room: Room) -> JsonObject:
        content = room.content_of(event_types.CANONICAL_ALIAS)
        left: JsonObject = {}
        if isinstance(content.get("alias"), str) and not self._is_local(content["alias"]):
            left["alias"] = content["alias"]
        others = content.get("alt_aliases")
        if rest := [a for a in (others if isinstance(others, list) else []) if not self._is_local(a)]:
            left["alt_aliases"] = rest
        return left

    def _is_local(self, alias: Json) -> bool:
        return isinstance(alias, str) and ":" in alias and domain_of(alias) == self._server_name


def _create_content(user_id: UserId, old: Room, version: RoomVersion, creators: Sequence[str]) -> JsonObject:
    before = old.content_of(*CREATE)
    content: JsonObject = {
        "room_version": version.version,
        "predecessor": {"room_id": old.room_id, "event_id": old.heads[0]},
    }
    for name in ("type", "m.federate"):
        if name in before:
            content[name] = before[name]
    if version.creator_in_content:
        content["creator"] = user_id
    if version.privileged_creators and creators:
        content["additional_creators"] = list(creators)
    return content


def _settings(old: Room, version: RoomVersion) -> list[tuple[str, str, JsonObject]]:
    found = [event for type_ in COPIED if (event := old.events.get((type_, ""))) is not None]
    return [(event.type, "", _copied(event, version)) for event in found]


def _copied(event: Event, version: RoomVersion) -> JsonObject:
    """Content as it stood; a join rule that the new version does not know becomes `invite`."""
    if event.key != JOIN_RULES:
        return event.content
    known = {
        "public": True,
        "invite": True,
        "knock": version.knock,
        "restricted": version.restricted,
        "knock_restricted": version.knock_restricted,
    }
    rule = event.content.get("join_rule")
    return event.content if isinstance(rule, str) and known.get(rule) else {"join_rule": "invite"}


def _space_children(old: Room) -> list[tuple[str, str, JsonObject]]:
    if old.content_of(*CREATE).get("type") != event_types.SPACE:
        return []
    return [
        (type_, state_key, event.content)
        for (type_, state_key), event in old.events.items()
        if type_ == event_types.SPACE_CHILD and event.content
    ]


def _bans(old: Room) -> list[tuple[str, str, JsonObject]]:
    banned = [user_id for user_id, member in old.members.items() if member.membership == "ban"]
    return [(event_types.MEMBER, user_id, {"membership": "ban"}) for user_id in banned[:MOST_BANS]]


def _power_levels(user_id: UserId, old: Room, version: RoomVersion, creators: Sequence[str]) -> JsonObject:
    """The old room's, in the form of the new version, in which creators stand above all levels or at 100."""
    before = old.content_of(*POWER_LEVELS)
    content: JsonObject = {
        name: value
        for name in _NAMED_LEVELS
        if name in before and (value := read_level(old.version, before[name])) is not None
    }
    for name in ("events", "notifications", "users"):
        content[name] = {**_levels(old, before.get(name))}
    users, events = content["users"], content["events"]
    assert isinstance(users, dict)
    assert isinstance(events, dict)
    if version.privileged_creators:
        for creator in (user_id, *creators):
            users.pop(creator, None)
        events.setdefault(event_types.TOMBSTONE, TOMBSTONE_LEVEL)
    elif old.version.privileged_creators or POWER_LEVELS not in old.events:
        users[user_id] = 100
    return content


def _levels(old: Room, value: Json) -> Mapping[str, int]:
    entries = value if isinstance(value, dict) else {}
    read = {key: read_level(old.version, level) for key, level in entries.items()}
    return {key: level for key, level in read.items() if level is not None}


def _level(old: Room, value: Json, default: int) -> int:
    level = read_level(old.version, value)
    return default if level is None else level
