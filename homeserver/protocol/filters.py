"""What a client wants to be told: parse and apply client filters.

A filter is validated when it arrives and then trusted. Filters are frozen, hashable and equal when they mean
the same; `Filter.key` is a short text that can key a cache. Keys this server does not know are ignored.
https://spec.matrix.org/latest/client-server-api/#filtering
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, TypeVar, cast

import orjson

from homeserver.protocol.errors import BadJson, InvalidParam
from homeserver.protocol.globs import Glob
from homeserver.protocol.ids import RoomId, UserId, parse_room_id, parse_user_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.property_paths import PropertyPath, parse_path

_Id = TypeVar("_Id", bound=str)
_Tree: TypeAlias = "dict[str, _Tree | None]"

MAX_WILDCARDS = 100
"""Patterns with a `*` in one list: each costs time for each event."""


@dataclass(frozen=True, slots=True)
class EventTypes:
    """A set of event types, some written with `*`."""

    exact: frozenset[str]
    patterns: frozenset[str] = frozenset()
    _globs: tuple[Glob, ...] = field(default=(), compare=False, repr=False)

    def __contains__(self, event_type: str) -> bool:
        return event_type in self.exact or any(glob.matches(event_type) for glob in self._globs)


NO_TYPES = EventTypes(frozenset())


@dataclass(frozen=True)
class EventFilter:
    """Presence and account data. None as an allow-list lets all through; an empty one nothing.

    `limit` 0 is taken, although the specification asks for more: clients send it to mean "no events".
    """

    limit: int | None = None
    types: EventTypes | None = None
    not_types: EventTypes = NO_TYPES
    senders: frozenset[UserId] | None = None
    not_senders: frozenset[UserId] = frozenset()

    @cached_property
    def takes_all_types(self) -> bool:
        return self.types is None and self.not_types == NO_TYPES

    @cached_property
    def takes_all_senders(self) -> bool:
        return self.senders is None and not self.not_senders

    @cached_property
    def is_pass_all(self) -> bool:
        """Does every event match? `limit` is the caller's business."""
        return self.takes_all_types and self.takes_all_senders

    @cached_property
    def takes_nothing(self) -> bool:
        """Can no event match? Then nothing need be read."""
        return (
            self.limit == 0
            or self.senders == frozenset()
            or (self.types is not None and self.types == NO_TYPES)
        )

    def takes_type(self, event_type: str) -> bool:
        if self.takes_all_types:
            return True
        return event_type not in self.not_types and (self.types is None or event_type in self.types)

    def takes_sender(self, sender: str) -> bool:
        if self.takes_all_senders:
            return True
        return sender not in self.not_senders and (self.senders is None or sender in self.senders)

    def matches(self, event_type: str, sender: str | None = None) -> bool:
        """Does it let through an event of this type and sender? Account data has no sender."""
        if self.is_pass_all:
            return True
        return self.takes_type(event_type) and (sender is None or self.takes_sender(sender))


@dataclass(frozen=True)
class RoomEventFilter(EventFilter):
    """Events of rooms, or a room's account data and ephemeral events."""

    rooms: frozenset[RoomId] | None = None
    not_rooms: frozenset[RoomId] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    related_by_rel_types: frozenset[str] | None = None
    related_by_senders: frozenset[UserId] | None = None

    @cached_property
    def takes_all_rooms(self) -> bool:
        return self.rooms is None and not self.not_rooms

    @cached_property
    def needs_relations(self) -> bool:
        """Must `matches_related` be asked too? It needs the events that relate to this one."""
        return self.related_by_rel_types is not None or self.related_by_senders is not None

    @cached_property
    def is_pass_all(self) -> bool:
        """Does every event of every room match?"""
        plain = self.takes_all_types and self.takes_all_senders and self.takes_all_rooms
        return plain and self.contains_url is None and not self.needs_relations

    def takes_room(self, room_id: str) -> bool:
        if self.takes_all_rooms:
            return True
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def matches_event(
        self, event_type: str, sender: str | None, content: Mapping[str, Json], *, room_id: str | None = None
    ) -> bool:
        """Does it let through this event? Give `room_id` unless `takes_room` has been asked."""
        if self.is_pass_all:
            return True
        return (
            self.takes_type(event_type)
            and (sender is None or self.takes_sender(sender))
            and (room_id is None or self.takes_room(room_id))
            and (self.contains_url is None or ("url" in content) == self.contains_url)
        )

    def matches_related(self, children: Iterable[tuple[str, str]]) -> bool:
        """Is one of the events that relate to it, given as (rel_type, sender), what the filter asks for?"""
        if not self.needs_relations:
            return True
        rel_types, senders = self.related_by_rel_types, self.related_by_senders
        return any(
            (rel_types is None or rel_type in rel_types) and (senders is None or sender in senders)
            for rel_type, sender in children
        )


@dataclass(frozen=True)
class RoomFilter:
    """Which rooms, and what of them."""

    rooms: frozenset[RoomId] | None = None
    not_rooms: frozenset[RoomId] = frozenset()
    include_leave: bool = False
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()

    def takes_room(self, room_id: str) -> bool:
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def choose_rooms(self, room_ids: Collection[RoomId]) -> Collection[RoomId]:
        """Those of the rooms that it lets through; the same object when all are."""
        if self.rooms is None and not self.not_rooms:
            return room_ids
        return [room_id for room_id in room_ids if self.takes_room(room_id)]


@dataclass(frozen=True)
class Filter:
    """A whole filter, as /user/{userId}/filter takes it."""

    event_fields: tuple[str, ...] | None = None
    federation_format: bool = False
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()

    @cached_property
    def key(self) -> str:
        """A short text, equal for filters that mean the same, today and after a restart."""
        plain = orjson.dumps(
            self, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
        )
        return hashlib.sha256(plain).hexdigest()[:32]

    @cached_property
    def project(self) -> Callable[[JsonObject], JsonObject]:
        """Cuts a client event down to `event_fields`; hands it back as it is when there are none."""
        return projection(self.event_fields)


PASS_ALL = Filter()


def projection(event_fields: Collection[str] | None) -> Callable[[JsonObject], JsonObject]:
    """What cuts a client event down to these dot-separated paths. None and nothing both mean everything."""
    if not event_fields:
        return _whole
    tree: _Tree = {}
    for path in sorted(parse_path(text) for text in event_fields):
        _plant(tree, path)
    return lambda event: _cut(event, tree)


def _whole(event: JsonObject) -> JsonObject:
    return event


def _plant(tree: "_Tree", path: PropertyPath) -> None:
    """Adds a path, unless a shorter one takes all of it already; shorter paths come first."""
    for name in path[:-1]:
        branch = tree.setdefault(name, {})
        if branch is None:
            return
        tree = branch
    tree[path[-1]] = None


def _cut(value: JsonObject, tree: "_Tree") -> JsonObject:
    kept: JsonObject = {}
    for name, branch in tree.items():
        inner = value.get(name)
        if branch is None:
            if name in value:
                kept[name] = inner
        elif isinstance(inner, dict) and (cut := _cut(inner, branch)):
            kept[name] = cut
    return kept


def _plain(value: object) -> object:
    """What orjson does not know, as JSON; sets in order."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, EventTypes):
        return [sorted(value.exact), sorted(value.patterns)]
    fields = cast(Filter, value).__dataclass_fields__
    return {name: getattr(value, name) for name in fields}


# Parsing


def parse_filter(value: Json) -> Filter:
    """The filter a client sent. Raises BadJson for a wrong shape, InvalidParam for a wrong value."""
    body = _Reader(value, "filter")
    event_format = body.text("event_format")
    if event_format not in (None, "client", "federation"):
        raise InvalidParam(f'event_format must be "client" or "federation", not {event_format!r}')
    event_fields = body.texts("event_fields")
    return Filter(
        event_fields=None if event_fields is None else tuple(sorted(event_fields)),
        federation_format=event_format == "federation",
        presence=_event_filter(body.child("presence")),
        account_data=_event_filter(body.child("account_data")),
        room=_room_filter(body.child("room")),
    )


def parse_room_event_filter(value: Json) -> RoomEventFilter:
    """The filter of /messages, /context and /search. Raises as `parse_filter` does."""
    return _room_event_filter(_Reader(value, "filter"))


def _room_filter(body: "_Reader") -> RoomFilter:
    return RoomFilter(
        rooms=body.ids("rooms", parse_room_id),
        not_rooms=body.ids("not_rooms", parse_room_id) or frozenset(),
        include_leave=body.flag("include_leave") or False,
        state=_room_event_filter(body.child("state")),
        timeline=_room_event_filter(body.child("timeline")),
        ephemeral=_room_event_filter(body.child("ephemeral")),
        account_data=_room_event_filter(body.child("account_data")),
    )


def _event_filter(body: "_Reader") -> EventFilter:
    return EventFilter(
        limit=body.count("limit"),
        types=body.types("types"),
        not_types=body.types("not_types") or NO_TYPES,
        senders=body.ids("senders", parse_user_id),
        not_senders=body.ids("not_senders", parse_user_id) or frozenset(),
    )


def _room_event_filter(body: "_Reader") -> RoomEventFilter:
    plain = _event_filter(body)
    return RoomEventFilter(
        limit=plain.limit,
        types=plain.types,
        not_types=plain.not_types,
        senders=plain.senders,
        not_senders=plain.not_senders,
        rooms=body.ids("rooms", parse_room_id),
        not_rooms=body.ids("not_rooms", parse_room_id) or frozenset(),
        contains_url=body.flag("contains_url"),
        lazy_load_members=body.flag("lazy_load_members") or False,
        include_redundant_members=body.flag("include_redundant_members") or False,
        unread_thread_notifications=body.flag("unread_thread_notifications") or False,
        related_by_rel_types=body.texts("related_by_rel_types"),
        related_by_senders=body.ids("related_by_senders", parse_user_id),
    )


class _Reader:
    """Reads the keys of one object, naming the place of what is wrong. An absent object reads as empty."""

    def __init__(self, value: Json, place: str) -> None:
        if not isinstance(value, dict):
            raise BadJson(f"{place} must be an object")
        self._value: JsonObject = value
        self._place = place

    def child(self, key: str) -> "_Reader":
        value = self._value.get(key)
        return _Reader({} if value is None else value, f"{self._place}.{key}")

    def text(self, key: str) -> str | None:
        value = self._value.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(key, "a string")

    def flag(self, key: str) -> bool | None:
        value = self._value.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong(key, "true or false")

    def count(self, key: str) -> int | None:
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "an integer")
        if value < 0:
            raise InvalidParam(f"{self._place}.{key} must not be negative")
        return value

    def texts(self, key: str) -> frozenset[str] | None:
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings")
        return frozenset(value)

    def ids(self, key: str, parse: Callable[[str], _Id]) -> frozenset[_Id] | None:
        values = self.texts(key)
        if values is None:
            return None
        try:
            return frozenset(parse(value) for value in values)
        except InvalidParam as error:
            raise InvalidParam(f"{self._place}.{key}: {error.message}") from None

    def types(self, key: str) -> EventTypes | None:
        values = self.texts(key)
        if values is None:
            return None
        patterns = frozenset(value for value in values if "*" in value)
        if len(patterns) > MAX_WILDCARDS:
            raise InvalidParam(f"{self._place}.{key} has more than {MAX_WILDCARDS} entries with a *")
        globs = tuple(Glob(pattern, star_only=True) for pattern in sorted(patterns))
        return EventTypes(values - patterns, patterns, globs)

    def _wrong(self, key: str, expected: str) -> BadJson:
        return BadJson(f"{self._place}.{key} must be {expected}")
