"""Which events of a room a user may see.

Who has been joined since before an event, in a room that never restricted its history further, sees
it without any look-up; for the rest the room's history of visibility and the user's own
memberships are read, two indexed queries.
https://spec.matrix.org/latest/client-server-api/#room-history-visibility
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import NamedTuple

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.history_visibility import Standing, may_see_event, visibility_of
from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.services.rooms.room import HISTORY_VISIBILITY, Room
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.storage.room_stores import RoomStores

Steps = Sequence[tuple[int, str]]
"""(nid, value from that event on), oldest first."""


class Past(NamedTuple):
    """How a room's visibility and one user's membership went, as they stood *after* each event."""

    visibility: Steps
    membership: Steps


class Visibility:
    """Decides from the room in memory, else from two histories."""

    def __init__(self, database: Database, stores: RoomStores, user_rooms: UserRooms) -> None:
        self._database = database
        self._stores = stores
        self._events = stores.events
        self._user_rooms = user_rooms

    def all_visible(self, room: Room, user_id: UserId, since: int) -> bool:
        """Memory only: does the user surely see everything after position `since`?"""
        member = room.members.get(user_id)
        return member is not None and member.membership == "join" and member.since <= since

    async def visible(
        self, room: Room, user_id: UserId, events: Sequence[TimelineEvent]
    ) -> list[TimelineEvent]:
        """Those of the events that the user may see, in the same order."""
        if not events:
            return []
        if self.all_visible(room, user_id, min(event.nid for event in events)):
            return list(events)
        if room.was_shared:
            return await self._visible_by_state(room, user_id, events)
        past = await self._past(room, user_id)
        return [event for event in events if may_see(past, event, user_id)]

    async def membership_at(self, room: Room, user_id: UserId, nid: int) -> str:
        """The user's membership after the event: join, invite, knock, leave, ban."""
        member = room.members.get(user_id)
        if member is not None and member.since <= nid:
            return member.membership
        return value_at((await self._past(room, user_id)).membership, nid, "leave")

    async def last_membership(self, room: Room, user_id: UserId) -> tuple[int, bool]:
        """(the event that ended the user's last stay, whether there was one that they did not forget)."""
        place = (await self._user_rooms.load(user_id)).get(room.room_id)
        if place is not None and place.forgotten:
            return 0, False
        past = await self._past(room, user_id)
        ended = 0
        stayed = False
        for nid, membership in past.membership:
            if membership == "join":
                stayed, ended = True, 0
            elif stayed and not ended:
                ended = nid
        now = room.members.get(user_id)
        if stayed and not ended and now is not None and now.membership != "join":
            ended = now.since  # by an event that was known before its place
        return ended, stayed

    async def _visible_by_state(
        self, room: Room, user_id: UserId, events: Sequence[TimelineEvent]
    ) -> list[TimelineEvent]:
        """By the state before each event: where a room forks, what came earlier need not stand before it."""
        sets = {event.state_nid for event in events if event.state_nid is not None}
        standings, steps = await self._database.read(self._read_standings, room.nid, user_id, sets)
        is_joined = room.membership(user_id) == "join"

        def sees(event: TimelineEvent) -> bool:
            if event.state_nid is None:
                return False
            return may_see_event(
                event.type, event.state_key, event.content, user_id=user_id,
                before=standings[event.state_nid],
                joined_later=is_joined or any(nid > event.nid and was == "join" for nid, was in steps),
            )  # fmt: skip

        return [event for event in events if sees(event)]

    def _read_standings(
        self, txn: Transaction, room_nid: int, user_id: UserId, sets: Collection[int]
    ) -> tuple[dict[int, Standing], Steps]:
        """What each state set says of the room's visibility and the user, and the user's steps."""
        number = self._stores.identifiers.state_key_nid
        keys = number(txn, HISTORY_VISIBILITY), number(txn, (event_types.MEMBER, user_id))
        picked = {nid: self._stores.state.pick(txn, nid, keys) for nid in sets}
        wanted = {nid for ids in picked.values() for nid in ids.values()}
        raws = {row.nid: row.raw for row in self._events.by_nids(txn, list(wanted))}
        standings = {}
        for nid, ids in picked.items():
            visibility = raws.get(ids.get(keys[0], 0))
            member = raws.get(ids.get(keys[1], 0))
            standings[nid] = Standing(
                visibility_of(
                    {"history_visibility": _content_of(visibility, "history_visibility", "shared")}
                ),
                _content_of(member, "membership", "leave"),
            )
        rows = self._events.of_state_key(txn, room_nid, (event_types.MEMBER, user_id))
        return standings, [(nid, _content(raw, "membership", "leave", "leave")) for nid, raw in rows]

    async def _past(self, room: Room, user_id: UserId) -> Past:
        changes = room.visibility_changes
        found = await self._database.read(self._read, room.nid, user_id, changes is None)
        if changes is None:
            changes = tuple(found.visibility)
            standing = room.state.get(HISTORY_VISIBILITY)
            if (changes[-1][0] if changes else 0) == (standing.nid if standing else 0):
                room.visibility_changes = changes  # nothing came in while this was read
        now = room.members.get(user_id)  # known even if the event that says so was damaged
        steps = [(nid, now.membership if now and nid == now.since else was) for nid, was in found.membership]
        return Past(changes, steps)

    def _read(self, txn: Transaction, room_nid: int, user_id: UserId, with_visibility: bool) -> Past:
        visibility: Steps = ()
        if with_visibility:
            rows = self._events.of_state_key(txn, room_nid, HISTORY_VISIBILITY)
            visibility = [(nid, _content(raw, "history_visibility", "shared", "joined")) for nid, raw in rows]
        rows = self._events.of_state_key(txn, room_nid, (event_types.MEMBER, user_id))
        return Past(visibility, [(nid, _content(raw, "membership", "leave", "leave")) for nid, raw in rows])


def may_see(past: Past, event: TimelineEvent, user_id: UserId) -> bool:
    """The specification's rules, for one event: the standing before it is that after the one before."""
    before = Standing(
        visibility_of({"history_visibility": value_at(past.visibility, event.nid - 1, "shared")}),
        value_at(past.membership, event.nid - 1, "leave"),
    )
    joined_later = any(nid > event.nid and membership == "join" for nid, membership in past.membership)
    return may_see_event(
        event.type, event.state_key, event.content, user_id=user_id, before=before, joined_later=joined_later
    )


def value_at(steps: Steps, nid: int, default: str) -> str:
    """The value after the event `nid`."""
    index = bisect_right(steps, nid, key=lambda step: step[0]) - 1
    return steps[index][1] if index >= 0 else default


def _content_of(raw: bytes | None, name: str, default: str) -> str:
    """Of an event that may not be there."""
    return (
        default if raw is None else _content(raw, name, default, "joined" if default == "shared" else default)
    )


def _content(raw: bytes, name: str, default: str, if_damaged: str) -> str:
    try:
        value = orjson.loads(raw)["content"].get(name)
    except (ValueError, TypeError, KeyError, AttributeError):
        return if_damaged
    return value if isinstance(value, str) else default
