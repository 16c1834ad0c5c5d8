"""Summaries of rooms, and the tree of rooms below a space, across servers.

https://spec.matrix.org/latest/client-server-api/#spaces
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import orjson

from homeserver.protocol import canonical_json, event_types
from homeserver.protocol.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.ids import RoomId, ServerName, UserId, domain_of, is_server_name
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.memory import Memory
from homeserver.services.rooms.directory import RoomDirectory
from homeserver.services.rooms.restricted_joins import allowed_rooms
from homeserver.services.rooms.room import JOIN_RULES, Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.state import world_readable
from homeserver.services.rooms.user_rooms import UserRooms

DEFAULT_LIMIT = 50
MOST_PER_PAGE = 100
MOST_LEVELS = 20
MOST_ROOMS = 1_000
"""Of one tree, whatever its size."""
MOST_CHILDREN = 500
MOST_VIA = 3
MOST_REMEMBERED = 200
MOST_REMEMBERED_BYTES = 8 * 1024 * 1024
REMEMBERED_S = 300.0
MOST_REFUSED = 5_000
REFUSAL_REMEMBERED_S = 30.0
MAX_ID_BYTES = 255
OPEN_RULES = ("public", "knock", "knock_restricted")

_ORDER = re.compile(r"[\x20-\x7e]{1,50}")


class RemoteSpaces(Protocol):
    """`FederationClient`."""

    async def hierarchy(
        self, destination: ServerName, room_id: RoomId, *, suggested_only: bool = False
    ) -> JsonObject:
        """`room`, `children`, `inaccessible_children`. Raises MatrixError."""


class Child(NamedTuple):
    """A room that a space names, and servers to ask about it."""

    room_id: RoomId
    via: tuple[ServerName, ...]


class Answer(NamedTuple):
    """What is known of a room: its summary with children_state, and summaries of its children."""

    summary: JsonObject
    children: Sequence[Child]
    known: Mapping[RoomId, JsonObject]
    hidden: Collection[RoomId] = ()
    """Children that this server could not enter, says who answered."""


@dataclass(frozen=True, slots=True)
class TreeQuery:
    """`max_depth` None: as deep as we go."""

    limit: int | None = None
    max_depth: int | None = None
    suggested_only: bool = False
    token: str | None = None


@dataclass(slots=True)
class _Walk:
    """Depth first: what is still to be visited, the next one last."""

    pending: list[tuple[Child, int, JsonObject | None]]
    seen: set[RoomId] = field(default_factory=set)


class Spaces:
    """For local users; `summary` and `children_of` also for other servers."""

    def __init__(
        self, rooms: Rooms, directory: RoomDirectory, user_rooms: UserRooms, clock: Clock,
        remote: RemoteSpaces | None,
    ) -> None:  # fmt: skip
        self._rooms = rooms
        self._directory = directory
        self._user_rooms = user_rooms
        self._remote = remote
        self._remembered: Memory[tuple[RoomId, bool], Answer] = Memory(
            clock, MOST_REMEMBERED, max_size=MOST_REMEMBERED_BYTES
        )
        self._refused: Memory[RoomId, bool] = Memory(clock, MOST_REFUSED)

    # Rooms of this server

    async def hosted(self, room_id: RoomId) -> Room | None:
        """The room, if this server is in it."""
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            return None
        return room if room.joined_local else None

    def summary(self, room: Room) -> JsonObject:
        """Of a room this server is in, without children_state."""
        found = self._directory.summary(room)
        found["room_version"] = room.version.version
        algorithm = room.content_of(event_types.ENCRYPTION).get("algorithm")
        if isinstance(algorithm, str):
            found["encryption"] = algorithm
        if found.get("join_rule") in ("restricted", "knock_restricted"):
            found["allowed_room_ids"] = list(allowed_rooms(room))
        return found

    def children_of(self, room: Room, *, suggested_only: bool = False) -> list[Event]:
        """Its m.space.child events that stand, in the specified order."""
        if room.content_of(event_types.CREATE).get("type") != event_types.SPACE:
            return []
        events = [
            event
            for (type_, _), event in room.events.items()
            if type_ == event_types.SPACE_CHILD
            and _via(event.content)
            and (not suggested_only or event.content.get("suggested") is True)
        ]
        events.sort(key=lambda event: _order(event.state_key or "", event.content, event.origin_server_ts))
        return events[:MOST_CHILDREN]

    def note_change(self, room_id: RoomId) -> None:
        """A room that a space names came, went or is elsewhere now, or somebody here may look at it now."""
        for suggested_only in (False, True):
            self._remembered.forget((room_id, suggested_only))
        self._refused.forget(room_id)

    # For local users

    async def tree(
        self, user_id: UserId, room_id: RoomId, query: TreeQuery
    ) -> tuple[list[JsonObject], str | None]:
        """A page of rooms, depth first, and a token to go on. Raises Forbidden, InvalidParam."""
        start = _read_token(query)
        limit = min(query.limit or DEFAULT_LIMIT, MOST_PER_PAGE)
        max_depth = MOST_LEVELS if query.max_depth is None else min(query.max_depth, MOST_LEVELS)
        walk = _Walk([(Child(room_id, ()), 0, None)])
        found: list[JsonObject] = []
        while walk.pending and len(found) <= start + limit and len(walk.seen) < MOST_ROOMS:
            child, depth, known = walk.pending.pop()
            if child.room_id in walk.seen:
                continue
            walk.seen.add(child.room_id)
            answer = await self._answer(user_id, child, known, suggested_only=query.suggested_only)
            if answer is None:
                if depth == 0:
                    raise Forbidden(f"You may not look at {room_id}")
                continue
            found.append(answer.summary)
            if depth < max_depth:
                walk.pending += [
                    (each, depth + 1, answer.known.get(each.room_id)) for each in reversed(answer.children)
                ]
        more = len(found) > start + limit
        return found[start : start + limit], _token(start + limit, query) if more else None

    async def look_at(self, user_id: UserId | None, room_id: RoomId, via: Sequence[ServerName]) -> JsonObject:
        """The summary of a room and the user's membership. Raises NotFound."""
        room = await self.hosted(room_id)
        if room is not None:
            if not await self.may_look(room, user_id):
                raise NotFound(f"There is no room {room_id} that you may look at")
            summary = self.summary(room)
            if user_id is not None:
                summary["membership"] = room.membership(user_id) or "leave"
            return summary
        child = Child(room_id, tuple(via))
        answer = await self._ask(child, suggested_only=True) if user_id is not None else None
        if answer is None or user_id is None or not await self._may_look_there(user_id, answer.summary):
            raise NotFound(f"There is no room {room_id} that you may look at")
        summary = {name: value for name, value in answer.summary.items() if name != "children_state"}
        place = (await self._user_rooms.load(user_id)).get(room_id)
        summary["membership"] = "leave" if place is None else place.membership
        return summary

    async def may_look(self, room: Room, user_id: UserId | None) -> bool:
        """Is the user in the room, or could they come in?"""
        if world_readable(room) or room.content_of(*JOIN_RULES).get("join_rule") in OPEN_RULES:
            return True
        if user_id is None:
            return False
        if room.membership(user_id) in ("join", "invite"):
            return True
        rule = room.content_of(*JOIN_RULES).get("join_rule")
        return rule == "restricted" and await self._is_in_one(user_id, allowed_rooms(room))

    async def _answer(
        self, user_id: UserId, child: Child, known: JsonObject | None, *, suggested_only: bool
    ) -> Answer | None:
        """What the user may know of the room; None for nothing."""
        room = await self.hosted(child.room_id)
        if room is not None:
            if not await self.may_look(room, user_id):
                return None
            events = self.children_of(room, suggested_only=suggested_only)
            summary = {**self.summary(room), "children_state": [stripped_child(event) for event in events]}
            children = [Child(RoomId(event.state_key or ""), _via(event.content)) for event in events]
            return Answer(summary, children, {})
        answer: Answer | None
        if known is not None and known.get("room_type") != event_types.SPACE:
            answer = Answer({**known, "children_state": []}, (), {})
        else:
            answer = await self._ask(child, suggested_only=suggested_only)
        if answer is None or not await self._may_look_there(user_id, answer.summary):
            return None
        return answer

    async def _may_look_there(self, user_id: UserId, summary: JsonObject) -> bool:
        """The same for a room elsewhere, as far as its summary tells."""
        if summary.get("world_readable") is True or summary.get("join_rule", "public") in OPEN_RULES:
            return True
        place = (await self._user_rooms.load(user_id)).get(RoomId(str(summary["room_id"])))
        if place is not None and place.membership in ("join", "invite"):
            return True
        allowed = summary.get("allowed_room_ids")
        return await self._is_in_one(
            user_id,
            [RoomId(each) for each in allowed if isinstance(each, str)] if isinstance(allowed, list) else (),
        )

    async def _is_in_one(self, user_id: UserId, room_ids: Collection[RoomId]) -> bool:
        joined = await self._user_rooms.joined(user_id) if room_ids else ()
        return any(room_id in room_ids for room_id in joined)

    async def _ask(self, child: Child, *, suggested_only: bool) -> Answer | None:
        """What another server says of the room; remembered for some minutes."""
        if self._remote is None:
            return None
        key = (child.room_id, suggested_only)
        remembered = self._remembered.get(key)
        if remembered is not None:
            return remembered
        if self._refused.get(child.room_id) is not None:
            return None
        for server in _servers(child):
            try:
                raw = await self._remote.hierarchy(server, child.room_id, suggested_only=suggested_only)
            except MatrixError:
                continue
            answer = _checked(child.room_id, raw)
            if answer is not None:
                self._remembered.keep(key, answer, REMEMBERED_S, size=len(orjson.dumps(raw)))
                for room_id in answer.hidden:
                    self._refused.keep(room_id, True, REMEMBERED_S)
                return answer
        self._refused.keep(child.room_id, True, REFUSAL_REMEMBERED_S)
        return None


def stripped_child(event: Event) -> JsonObject:
    """An m.space.child event as it stands in children_state."""
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": orjson.loads(canonical_json.encode_readable(event.content)),
        "origin_server_ts": event.origin_server_ts,
    }


def _servers(child: Child) -> list[ServerName]:
    """Whom to ask: those named, and whose name the room's ID bears."""
    servers = list(child.via[:MOST_VIA])
    if ":" in child.room_id:
        servers.append(domain_of(child.room_id))
    return list(dict.fromkeys(servers))


def _via(content: Mapping[str, Json]) -> tuple[ServerName, ...]:
    via = content.get("via")
    if not isinstance(via, list):
        return ()
    return tuple(ServerName(name) for name in via if isinstance(name, str) and is_server_name(name))


def _order(room_id: str, content: Mapping[str, Json], ts: int) -> tuple[bool, str, int, str]:
    """https://spec.matrix.org/latest/client-server-api/#ordering-of-children-within-a-space"""
    order = content.get("order")
    if isinstance(order, str) and _ORDER.fullmatch(order):
        return (False, order, ts, room_id)
    return (True, "", ts, room_id)


def _checked(room_id: RoomId, raw: JsonObject) -> Answer | None:
    """Another server's answer, if it is about this room."""
    summary, children = raw.get("room"), raw.get("children")
    if not isinstance(summary, dict) or summary.get("room_id") != room_id:
        return None
    known = {
        RoomId(str(child["room_id"])): child
        for child in (children if isinstance(children, list) else [])[:MOST_CHILDREN]
        if isinstance(child, dict) and isinstance(child.get("room_id"), str)
    }
    state = summary.get("children_state")
    events = [each for each in (state if isinstance(state, list) else []) if _is_child(each)][:MOST_CHILDREN]
    named = [
        Child(RoomId(str(event["state_key"])), _via(event["content"]))
        for event in events
        if isinstance(event, dict) and isinstance(event["content"], dict)
    ]
    closed = raw.get("inaccessible_children")
    hidden = [
        RoomId(each)
        for each in (closed if isinstance(closed, list) else [])[:MOST_CHILDREN]
        if isinstance(each, str) and len(each) <= MAX_ID_BYTES
    ]
    return Answer({**summary, "children_state": events}, named, known, hidden)


def _is_child(event: Json) -> bool:
    return (
        isinstance(event, dict)
        and event.get("type") == event_types.SPACE_CHILD
        and isinstance(event.get("state_key"), str)
        and isinstance(event.get("content"), dict)
        and bool(_via(event["content"]))
    )


def _token(start: int, query: TreeQuery) -> str:
    raw = orjson.dumps([start, query.suggested_only, query.max_depth])
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _read_token(query: TreeQuery) -> int:
    token = query.token
    if token is None:
        return 0
    try:
        value = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        value = None
    match value:
        case [int(start), suggested_only, max_depth] if 0 < start < MOST_ROOMS:
            if (suggested_only, max_depth) != (query.suggested_only, query.max_depth):
                raise InvalidParam("suggested_only and max_depth cannot change from page to page")
            return start
    raise InvalidParam("This token does not come from here")
