"""/sync: what changed for a user since a token, at once or as soon as something does.

An idle sync compares positions in memory; one that was woken touches only the rooms that changed.
https://spec.matrix.org/latest/client-server-api/#syncing
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.presence import PresenceState
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import DatabaseCorrupt
from homeserver.services.account_data import AccountData
from homeserver.services.presence.presence import Presence
from homeserver.services.push.unread import Unread
from homeserver.services.push.unread_counts import UnreadCounts
from homeserver.services.receipts import Receipts
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.told_members import ToldMembers
from homeserver.services.rooms.user_rooms import Place, UserRooms
from homeserver.services.streams import Streams
from homeserver.services.sync.event_forms import in_form_of, is_special
from homeserver.services.sync.outside_rooms import OutsideRooms
from homeserver.services.sync.query import SyncQuery
from homeserver.services.sync.room_sections import Extras, RoomPart, RoomSections, section
from homeserver.services.sync.waiting import Waiting
from homeserver.services.sync.window import Span
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.storage.account_data import AccountDataEntry

LEFT = ("leave", "ban")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncSources:
    """The streams a sync reads."""

    streams: Streams
    rooms: Rooms
    user_rooms: UserRooms
    account_data: AccountData
    receipts: Receipts
    typing_notifications: TypingNotifications
    presence: Presence
    unread: Unread
    outside: OutsideRooms


class Sync:
    """Answers syncs, as JSON in pieces."""

    def __init__(
        self,
        *,
        sources: SyncSources,
        sections: RoomSections,
        waiting: Waiting,
        told: ToldMembers,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._sections = sections
        self._waiting = waiting
        self._told = told
        self._clock = clock

    async def sync(
        self, query: SyncQuery, *, timeout_ms: int = 0, presence: PresenceState | None = None
    ) -> list[bytes]:
        """The answer, after at most `timeout_ms` of waiting for one that is not empty.

        A token from the future, of a database that was restored from a backup, means: from the beginning.
        """
        if query.since > self._sources.streams.position:
            query = replace(query, since=0)
        if query.filter.room.state.lazy_load_members:
            query = replace(query, told=self._told.begin(query, query.filter.key, query.since))
        self._sources.presence.begin_sync(query.user_id, presence)
        try:
            pieces = await self._answer(query, timeout_ms)
        finally:
            self._sources.presence.end_sync(query.user_id, presence)
        if is_special(query.filter):
            return await in_form_of(query.filter, pieces, self._sections.events)
        return pieces

    async def _answer(self, query: SyncQuery, timeout_ms: int) -> list[bytes]:
        sources = self._sources
        user_id = query.user_id
        ignored = sources.account_data.ignored_users(user_id)
        if ignored:
            query = replace(query, ignored=ignored)
        must_answer = query.is_initial or query.full_state
        deadline = self._clock.monotonic() + timeout_ms / 1000
        places = sources.user_rooms.find(user_id) or await sources.user_rooms.load(user_id)
        while True:
            upto = sources.streams.position
            if must_answer or self._may_have_news(query, places):
                pieces = await self._collect(query, places, upto)
                if pieces or must_answer:
                    return [b'{"next_batch":"s%d"' % upto, *pieces, b"}"]
            seconds = deadline - self._clock.monotonic()
            if seconds <= 0 or not await self._wait_for_news(query, upto, seconds):
                return [b'{"next_batch":"s%d"}' % upto]
            places = sources.user_rooms.find(user_id) or await sources.user_rooms.load(user_id)

    async def _wait_for_news(self, query: SyncQuery, upto: int, seconds: float) -> bool:
        if self._sources.streams.position > upto:  # something came while the answer was collected
            return True
        return await self._waiting.wait(query.user_id, seconds)

    def _may_have_news(self, query: SyncQuery, places: Mapping[RoomId, Place]) -> bool:
        waiting = self._waiting
        return not waiting.knows(query.since) or waiting.has_changed(query.user_id, places, query.since)

    async def _collect(self, query: SyncQuery, places: Mapping[RoomId, Place], upto: int) -> list[bytes]:
        """The sections that are not empty, each with its comma."""
        personal = await self._account_data(query, places)
        joined = await self._joined(query, places, upto, personal)
        sections = [
            section(b"join", joined) if joined else b"",
            await self._outside(query, places, upto, membership="invite"),
            await self._outside(query, places, upto, membership="knock"),
            await self._left(query, places, upto),
        ]
        pieces: list[bytes] = []
        if any(sections):
            pieces += [b',"rooms":{', b",".join([part for part in sections if part]), b"}"]
        wanted = query.filter.account_data
        globals_ = [entry for entry in personal.get(None, ()) if wanted.matches(entry.type)]
        if globals_:
            pieces += [b',"account_data":{"events":[', b",".join(map(_account_data_event, globals_)), b"]}"]
        people = self._presence(query, places)
        if people:
            pieces += [b',"presence":{"events":', orjson.dumps(people), b"}"]
        return pieces

    async def _joined(
        self, query: SyncQuery, places: Mapping[RoomId, Place], upto: int,
        personal: Mapping[RoomId | None, Sequence[AccountDataEntry]],
    ) -> list[RoomPart]:  # fmt: skip
        sources = self._sources
        wanted = self._candidates(query, places, upto, personal)
        if not wanted:
            return []
        rooms = {room_id: room for room_id in wanted if (room := sources.rooms.find(room_id)) is not None}
        if len(rooms) < len(wanted):
            rooms = await sources.rooms.load_many(wanted)
        await self._sections.windows.warm(list(rooms.values()), query.timeline_limit)
        fresh = [room_id for room_id in rooms if places[room_id].since > query.since]
        receipts = await self._receipts(query, rooms, fresh)
        unread = await sources.unread.counts_in(query.user_id, list(rooms))
        parts: list[RoomPart] = []
        for room_id, room in rooms.items():
            known_since = 0 if places[room_id].since > query.since else query.since
            extras = self._extras(
                query, room_id, personal.get(room_id, ()), receipts.get(room_id, ()), unread[room_id]
            )
            part = await self._sections.joined(room, query, Span(known_since, upto, known_since), extras)
            if part is not None:
                parts.append((room_id, part))
        return parts

    def _candidates(
        self, query: SyncQuery, places: Mapping[RoomId, Place], upto: int,
        personal: Mapping[RoomId | None, Sequence[AccountDataEntry]],
    ) -> list[RoomId]:  # fmt: skip
        """Joined rooms in which something may have happened."""
        since = query.since
        choose = query.filter.room.takes_room
        joined = [
            room_id
            for room_id, place in places.items()
            if place.membership == "join" and place.since <= upto and choose(room_id)
        ]
        if query.is_initial or query.full_state or not self._waiting.knows(since):
            return joined
        wanted = dict.fromkeys(self._waiting.changed_rooms(joined, since))
        if self._waiting.has_changed(query.user_id, (), since):
            last = self._sources.receipts.last_position
            wanted.update(dict.fromkeys(room_id for room_id in joined if last(room_id) > since))
            wanted.update(dict.fromkeys(room_id for room_id in joined if room_id in personal))
        return list(wanted)

    async def _receipts(
        self, query: SyncQuery, rooms: Collection[RoomId], fresh: Collection[RoomId]
    ) -> dict[RoomId, Sequence[bytes]]:
        wanted = query.filter.room.ephemeral
        if not wanted.takes_type("m.receipt"):
            return {}
        receipts = self._sources.receipts
        known = [
            room_id
            for room_id in rooms
            if room_id not in fresh and receipts.last_position(room_id) > query.since
        ]
        found = await receipts.changed_in(known, query.since, query.user_id) if known else {}
        if fresh:
            found |= await receipts.changed_in(list(fresh), 0, query.user_id)
        found = {room_id: contents for room_id, contents in found.items() if wanted.takes_room(room_id)}
        return {
            room_id: [
                b'{"type":"m.receipt","content":' + orjson.dumps(content) + b"}" for content in contents
            ]
            for room_id, contents in found.items()
        }

    def _extras(
        self,
        query: SyncQuery,
        room_id: RoomId,
        entries: Iterable[AccountDataEntry],
        receipts: Sequence[bytes],
        unread: UnreadCounts,
    ) -> Extras:
        ephemeral = list(receipts)
        typing = self._sources.typing_notifications
        wanted = query.filter.room.ephemeral
        if (
            typing.position(room_id) > query.since
            and wanted.takes_type("m.typing")
            and wanted.takes_room(room_id)
        ):
            users = [user for user in typing.users(room_id) if user not in query.ignored]
            if users or not query.is_initial:
                ephemeral.append(b'{"type":"m.typing","content":{"user_ids":' + orjson.dumps(users) + b"}}")
        wanted = query.filter.room.account_data
        chosen = entries if wanted.takes_room(room_id) else ()
        own = [_account_data_event(entry) for entry in chosen if wanted.matches(entry.type)]
        return Extras(ephemeral, own, unread)

    async def _account_data(
        self, query: SyncQuery, places: Mapping[RoomId, Place]
    ) -> dict[RoomId | None, list[AccountDataEntry]]:
        """What changed, by room; None: of the whole account."""
        account_data = self._sources.account_data
        since = 0 if query.full_state else query.since
        found: dict[RoomId | None, list[AccountDataEntry]] = {}
        if account_data.last_position(query.user_id) > since or not since:
            for entry in await account_data.changed_since(query.user_id, since):
                found.setdefault(entry.room_id, []).append(entry)
        if since:
            rejoined = [
                room_id
                for room_id, place in places.items()
                if place.membership == "join" and place.since > since
            ]
            if rejoined:
                for entry in await account_data.changed_since(query.user_id, 0):
                    if entry.room_id in rejoined and entry.position <= since:
                        found.setdefault(entry.room_id, []).append(entry)
        return found

    async def _outside(
        self, query: SyncQuery, places: Mapping[RoomId, Place], upto: int, *, membership: str
    ) -> bytes:
        """Rooms the user is asked into, or asks to be let into."""
        parts: list[RoomPart] = []
        for room_id, place in _newly(query, places, upto, (membership,)):
            room = await self._hosted(room_id)
            name = b"invite_state" if membership == "invite" else b"knock_state"
            if room is not None:
                if membership == "knock" or not await self._is_from_ignored(query, room, place):
                    parts.append((room_id, await self._sections.stripped(room, query.user_id, name)))
                continue
            outside = self._sources.outside
            view = await outside.find(room_id, query.user_id)
            if view is not None and (membership == "knock" or view.sender not in query.ignored):
                parts.append((room_id, outside.stripped(view, name)))
        return section(membership.encode(), parts) if parts else b""

    async def _hosted(self, room_id: RoomId) -> Room | None:
        """The room, if its state is known here: this server is in it, or was the last to be."""
        try:
            room = self._sources.rooms.find(room_id) or await self._sources.rooms.load(room_id)
        except RoomNotFound:
            return None
        return room if room.joined_local or not room.is_shared else None

    async def _is_from_ignored(self, query: SyncQuery, room: Room, place: Place) -> bool:
        if not query.ignored:
            return False
        events = self._sections.events
        invite = (await events.by_nids([place.nid], room.room_id, room.version)).get(place.nid)
        return invite is not None and invite.sender in query.ignored

    async def _left(self, query: SyncQuery, places: Mapping[RoomId, Place], upto: int) -> bytes:
        if query.is_initial and not query.filter.room.include_leave:
            return b""
        parts: list[RoomPart] = []
        for room_id, place in _newly(query, places, upto, LEFT):
            if place.forgotten:
                continue
            view = await self._sources.outside.find(room_id, query.user_id)
            if view is not None:
                parts.append((room_id, self._sources.outside.left(view, upto)))
                continue
            room = await self._sources.rooms.load(room_id)
            try:
                parts.append((room_id, await self._sections.left(room, query, place.nid)))
            except DatabaseCorrupt as error:  # one room does not keep its people from all others
                logger.error("%s is left out of a sync of %s: %s", room_id, query.user_id, error)
        return section(b"leave", parts) if parts else b""

    def _presence(self, query: SyncQuery, places: Mapping[RoomId, Place]) -> list[object]:
        presence, wanted = self._sources.presence, query.filter.presence
        if not presence.enabled or wanted.takes_nothing:
            return []
        users: dict[UserId, None] = {}
        if query.is_initial:
            users = dict.fromkeys(presence.visible_now(query.user_id))
        else:
            joined = [room_id for room_id, place in places.items() if place.membership == "join"]
            known = self._waiting.knows(query.since)
            for room_id in self._waiting.changed_rooms(joined, query.since) if known else joined:
                if places[room_id].since > query.since:
                    users.update(dict.fromkeys(presence.visible_in(room_id)))
                elif presence.last_position(room_id) > query.since:
                    users.update(dict.fromkeys(presence.changed_in_room(room_id, query.since)))
        chosen = [user for user in users if wanted.matches("m.presence", user)]
        return [presence.event(user) for user in chosen[: wanted.limit]]


def _newly(
    query: SyncQuery, places: Mapping[RoomId, Place], upto: int, memberships: Collection[str]
) -> list[tuple[RoomId, Place]]:
    """Rooms in which the user came to stand like this after `since`."""
    return [
        (room_id, place)
        for room_id, place in places.items()
        if query.since < place.nid <= upto
        and place.membership in memberships
        and query.filter.room.takes_room(room_id)
    ]


def _account_data_event(entry: AccountDataEntry) -> bytes:
    return b'{"type":' + orjson.dumps(entry.type) + b',"content":' + entry.content + b"}"
