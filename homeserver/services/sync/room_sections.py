"""The parts of a sync answer that stand under `rooms`, as JSON bytes.

Many clients stand at the same position and ask for the same span: the timeline of a span is made once and
kept for a moment with the room.
https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.services.push.unread_counts import UnreadCounts
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.relations import Bundles, RoomRelations
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.stripped_state import STRIPPED
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.sync.left_rooms import LeftRooms
from homeserver.services.sync.query import SyncQuery
from homeserver.services.sync.summaries import summary
from homeserver.services.sync.window import Span, Window, Windows

FRESH_MS = 500
MOST_FRAGMENTS = 16


class Extras(NamedTuple):
    """What a room's part holds beside timeline and state: JSON of events, and the counts."""

    ephemeral: Sequence[bytes]
    account_data: Sequence[bytes]
    unread: UnreadCounts


class Fragment(NamedTuple):
    """The timeline of a span as bytes, for everybody who may see all of it.

    `is_personal`: it tells of threads or edits, which is not the same for everybody.
    """

    made_ms: int
    timeline: bytes
    window: Window
    has_members: bool
    senders: frozenset[UserId]
    is_personal: bool


@dataclass(frozen=True, slots=True)
class RoomSections:
    """Writes rooms into answers."""

    events: Events
    relations: RoomRelations
    windows: Windows
    left_rooms: LeftRooms
    clock: Clock

    async def joined(self, room: Room, query: SyncQuery, span: Span, extras: Extras) -> bytes | None:
        """The room's part of `rooms.join`; None when there is nothing to say."""
        fragment = await self._fragment(room, query, span)
        window = fragment.window
        state = await self.windows.state(room, query, span, window)
        has_news = window.timeline or state or window.limited or extras.ephemeral or extras.account_data
        if not (has_news or query.full_state or query.is_initial):
            return None
        parts: list[bytes] = [b"{"]
        now_ms = self.clock.now_ms()
        if state:
            parts.append(b'"state_after":{"events":[' if query.use_state_after else b'"state":{"events":[')
            _write_events(parts, state, now_ms)
            parts.append(b"]},")
        elif query.use_state_after:
            parts.append(b'"state_after":{"events":[]},')
        parts.append(fragment.timeline)
        if fragment.has_members or state or query.is_initial or query.full_state:
            parts += [b',"summary":', orjson.dumps(summary(room, query.user_id))]
        if extras.ephemeral:
            parts += [b',"ephemeral":{"events":[', b",".join(extras.ephemeral), b"]}"]
        if extras.account_data:
            parts += [b',"account_data":{"events":[', b",".join(extras.account_data), b"]}"]
        parts.append(_unread(extras.unread, by_thread=query.filter.room.timeline.unread_thread_notifications))
        parts.append(b"}")
        return b"".join(parts)

    async def left(self, room: Room, query: SyncQuery, gone: int) -> bytes:
        """The room's part of `rooms.leave`; `gone`: the user's latest membership event."""
        window, state = await self.left_rooms.window(room, query, gone)
        parts = [b"{"]
        if state is not None:
            parts.append(b'"state_after":{"events":[' if query.use_state_after else b'"state":{"events":[')
            _write_events(parts, state, self.clock.now_ms())
            parts.append(b"]},")
        bundles = await self.relations.bundles(query, room.room_id, window.timeline)
        parts.append(self._timeline(window, query, bundles, joined_since=None))
        parts.append(b"}")
        return b"".join(parts)

    async def stripped(self, room: Room, user_id: UserId, name: bytes) -> bytes:
        """`{"invite_state": {"events": [...]}}`, or knock_state: what an outsider may know of the room."""
        keys = [(type_, "") for type_ in STRIPPED] + [(event_types.MEMBER, user_id)]
        own = room.state.get((event_types.MEMBER, user_id))
        member = (
            (await self.events.by_nids([own.nid], room.room_id, room.version)).get(own.nid) if own else None
        )
        if member is not None:
            keys.append((event_types.MEMBER, member.sender))
        nids = [room.state[key].nid for key in dict.fromkeys(keys) if key in room.state]
        found = await self.events.by_nids(nids, room.room_id, room.version)
        events = [_strip(found[nid]) for nid in nids if nid in found]
        return b'{"' + name + b'":{"events":' + orjson.dumps(events) + b"}}"

    async def _fragment(self, room: Room, query: SyncQuery, span: Span) -> Fragment:
        key = (span.since, min(span.upto, room.tip), query.filter.key)
        found = room.fragments.get(key) if not query.ignored else None
        now_ms = self.clock.now_ms()
        if (
            isinstance(found, Fragment)
            and now_ms - found.made_ms < FRESH_MS
            and self._is_for(room, query, found)
        ):
            return found
        window = await self.windows.window(room, query, span)
        senders = frozenset(event.sender for event in window.timeline if event.txn is not None)
        bundles = await self.relations.bundles(query, room.room_id, window.timeline)
        joined_since = _joined_since(room, query.user_id)
        fragment = Fragment(
            now_ms, self._timeline(window, query, bundles, joined_since=joined_since), window,
            any(event.type == event_types.MEMBER for event in window.timeline), senders, bool(bundles),
        )  # fmt: skip
        if self._is_for(room, query, fragment):
            if len(room.fragments) >= MOST_FRAGMENTS:
                room.fragments.clear()
            room.fragments[key] = fragment
        return fragment

    def _is_for(self, room: Room, query: SyncQuery, fragment: Fragment) -> bool:
        """May this user have the same bytes as everybody who was there all the time?"""
        member = room.members.get(query.user_id)
        return (
            member is not None
            and member.membership == "join"
            and member.since < fragment.window.start
            and query.user_id not in fragment.senders
            and not fragment.is_personal
            and not query.ignored
        )

    def _timeline(
        self, window: Window, query: SyncQuery, bundles: Bundles, *, joined_since: int | None
    ) -> bytes:
        parts = [b'"timeline":{"events":[']
        now_ms = self.clock.now_ms()
        user_id, device_id = query.user_id, query.device_id
        for event in window.timeline:
            extra = event.unsigned_for(user_id, device_id)
            if joined_since is not None and event.nid >= joined_since:
                extra += b',"membership":"join"'
            if bundles:
                extra += bundles.get(event.event_id, b"")
            event.write(parts, now_ms, extra)
            parts.append(b",")
        if window.timeline:
            parts.pop()
        parts.append(
            b'],"limited":true,"prev_batch":"' if window.limited else b'],"limited":false,"prev_batch":"'
        )
        parts.append(window.prev_batch.encode())
        parts.append(b'"}')
        return b"".join(parts)


def _joined_since(room: Room, user_id: UserId) -> int | None:
    """The event from which on the user has been joined: what comes after may say so without a look-up."""
    member = room.members.get(user_id)
    return member.since if member is not None and member.membership == "join" else None


def _write_events(parts: list[bytes], events: Iterable[TimelineEvent], now_ms: int) -> None:
    before = len(parts)
    for event in events:
        event.write(parts, now_ms)
        parts.append(b",")
    if len(parts) > before:
        parts.pop()


def _strip(event: TimelineEvent) -> JsonObject:
    return {
        "type": event.type,
        "state_key": event.state_key or "",
        "sender": event.sender,
        "content": event.content,
    }


def _unread(counts: UnreadCounts, *, by_thread: bool) -> bytes:
    if not counts.notification and not counts.highlight:
        return b',"unread_notifications":{"highlight_count":0,"notification_count":0}'
    total = (counts.notification, counts.highlight)
    if not by_thread or not counts.by_thread:
        return b',"unread_notifications":' + _counts(*total)
    threads = {
        root: {"notification_count": n, "highlight_count": h} for root, (n, h) in counts.by_thread.items()
    }
    return (
        b',"unread_notifications":' + _counts(*counts.main)
        + b',"unread_thread_notifications":' + orjson.dumps(threads)
    )  # fmt: skip


def _counts(notification: int, highlight: int) -> bytes:
    return b'{"highlight_count":%d,"notification_count":%d}' % (highlight, notification)


RoomPart = tuple[RoomId, bytes]


def section(name: bytes, rooms: Sequence[RoomPart]) -> bytes:
    """`"join": {room id: part, ...}`."""
    return (
        b'"'
        + name
        + b'":{'
        + b",".join([orjson.dumps(room_id) + b":" + part for room_id, part in rooms])
        + b"}"
    )
