"""What relates to an event: the children themselves, and what the server tells of them with their parent.

https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from homeserver.protocol.event_types import ENCRYPTED
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.relations import REFERENCE, REPLACE, THREAD, relation_of
from homeserver.protocol.stream_position import PagePosition, TopologicalPosition
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.history import RoomHistory
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.told_members import Asker
from homeserver.services.rooms.visibility import Visibility
from homeserver.storage.relations import (
    Aggregates,
    ChildPage,
    Descent,
    Reader,
    RelationStore,
    ThreadRoot,
    ThreadRow,
)

RECURSION_DEPTH = 3
REDACTED = b'"redacted_because"'

Bundles = Mapping[EventId, bytes]
"""By event: what goes into its `unsigned`, as `TimelineEvent.write` takes it."""
NO_BUNDLES: Bundles = {}


class ChildQuery(NamedTuple):
    """Which children, and which page of them. `start` None: from the newest (backwards) or the first on.

    `recurses`: also what relates to the children, down to RECURSION_DEPTH.
    """

    rel_type: str | None
    event_type: str | None
    recurses: bool
    start: PagePosition | None
    stop: PagePosition | None
    backwards: bool
    limit: int


class Children(NamedTuple):
    """`end` is None when there are no more."""

    events: list[TimelineEvent]
    end: PagePosition | None


class Threads(NamedTuple):
    """Thread roots, the one with the newest event first; `end` goes on, None when there are no more."""

    roots: list[TimelineEvent]
    end: int | None


class RoomRelations:
    def __init__(
        self, ground: RoomGround, rooms: Rooms, events: Events, visibility: Visibility, history: RoomHistory
    ) -> None:
        self._database = ground.database
        self._store: RelationStore = ground.stores.relations
        self._ignored = ground.account_data.ignored_users
        self._clock = ground.clock
        self._rooms = rooms
        self._events = events
        self._visibility = visibility
        self._history = history

    async def children(
        self, user_id: UserId, room_id: RoomId, parent: EventId, query: ChildQuery
    ) -> Children:
        """Events that relate to one that the user may see. Raises NotInRoom, NotFound."""
        await self._history.event(user_id, room_id, parent)
        room = await self._rooms.load(room_id)
        page = ChildPage(
            None if query.start is None else await self._history.place(room, query.start),
            None if query.stop is None else await self._history.place(room, query.stop),
            query.backwards,
            query.limit + 1,
        )
        descent = Descent(query.rel_type, query.event_type, RECURSION_DEPTH if query.recurses else 1)
        nids = await self._database.read(self._store.descendants, room.nid, parent, descent, page=page)
        events = await self._visible(room, user_id, nids[: query.limit])
        if len(nids) <= query.limit or not nids:
            return Children(events, None)
        last = (await self._events.by_nids([nids[query.limit - 1]], room_id, room.version)).popitem()[1]
        nid = last.nid - 1 if query.backwards else last.nid
        return Children(events, TopologicalPosition(last.depth, nid))

    async def threads(
        self, user_id: UserId, room_id: RoomId, *, before: int | None, participated: bool, limit: int
    ) -> Threads:
        """The threads of a room. Raises NotInRoom."""
        room = await self._history.room(user_id, room_id)
        found: list[ThreadRoot] = await self._database.read(
            self._store.thread_roots, room.nid, self._reader(user_id), before=before, own=participated,
            limit=limit + 1,
        )  # fmt: skip
        shown = found[:limit]
        roots = await self._visible(room, user_id, [root.nid for root in shown])
        return Threads(roots, shown[-1].latest_nid if len(found) > limit else None)

    async def bundles(self, asker: Asker, room_id: RoomId, events: Sequence[TimelineEvent]) -> Bundles:
        """What to tell of the children of these events, by event; only those with something to tell.

        Nothing is looked up where no event has children, as it is with nearly everything that is new.
        """
        if not any(event.has_children for event in events):
            return NO_BUNDLES
        room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        return await self._bundles(asker, room, events, with_threads=True)

    async def _bundles(
        self, asker: Asker, room: Room, events: Sequence[TimelineEvent], *, with_threads: bool
    ) -> Bundles:
        originals = {
            event.event_id: event for event in events if event.has_children and event.state_key is None
        }
        if not originals:
            return NO_BUNDLES
        found: Aggregates = await self._database.read(
            self._store.aggregates, list(originals), self._reader(asker.user_id)
        )
        nids = {edit.nid for edit in found.edits} | {thread.latest_nid for thread in found.threads}
        children = {event.nid: event for event in await self._visible(room, asker.user_id, sorted(nids))}
        parts: dict[EventId, dict[str, bytes]] = {}
        for edit in found.edits:
            self._add_edit(asker, parts, originals[edit.parent_id], children.get(edit.nid))
        for one in found.references:
            parts.setdefault(one.parent_id, {}).setdefault(REFERENCE, b"")
        for parent_id in [parent_id for parent_id, part in parts.items() if REFERENCE in part]:
            ids = [{"event_id": one.event_id} for one in found.references if one.parent_id == parent_id]
            parts[parent_id][REFERENCE] = orjson.dumps({"chunk": ids})
        if with_threads and found.threads:
            latest = [children[each.latest_nid] for each in found.threads if each.latest_nid in children]
            inner = await self._bundles(asker, room, latest, with_threads=False)
            for thread in found.threads:
                if thread.latest_nid in children:
                    summary = self._summary(asker, thread, originals, children, inner)
                    parts.setdefault(thread.parent_id, {})[THREAD] = summary
        return {event_id: _unsigned(part) for event_id, part in parts.items()}

    def _add_edit(
        self, asker: Asker, parts: dict[EventId, dict[str, bytes]], original: TimelineEvent,
        edit: TimelineEvent | None,
    ) -> None:  # fmt: skip
        """The newest edit that counts; they come newest first."""
        part = parts.get(original.event_id, {})
        if edit is not None and REPLACE not in part and _is_valid_edit(edit, original):
            parts.setdefault(original.event_id, part)[REPLACE] = self._json(asker, edit)

    def _summary(
        self, asker: Asker, thread: ThreadRow, originals: dict[EventId, TimelineEvent],
        children: dict[int, TimelineEvent], inner: Bundles,
    ) -> bytes:  # fmt: skip
        latest = children[thread.latest_nid]
        took_part = thread.own > 0 or originals[thread.parent_id].sender == asker.user_id
        return b'{"latest_event":%b,"count":%d,"current_user_participated":%b}' % (
            self._json(asker, latest, inner.get(latest.event_id, b"")),
            thread.length,
            b"true" if took_part else b"false",
        )

    def _json(self, asker: Asker, event: TimelineEvent, extra: bytes = b"") -> bytes:
        own = event.unsigned_for(asker.user_id, asker.device_id)
        return event.client_json(self._clock.now_ms(), own + extra)

    def _reader(self, user_id: UserId) -> Reader:
        return Reader(user_id, frozenset(self._ignored(user_id)))

    async def _visible(self, room: Room, user_id: UserId, nids: Sequence[int]) -> list[TimelineEvent]:
        """The events that the user may see, in the same order."""
        if not nids:
            return []
        found = await self._events.by_nids(nids, room.room_id, room.version)
        return await self._visibility.visible(room, user_id, [found[nid] for nid in nids if nid in found])


def _is_valid_edit(edit: TimelineEvent, original: TimelineEvent) -> bool:
    """Encrypted edits keep `m.new_content` where only clients see it.

    Sender, type and room were compared by the database.
    https://spec.matrix.org/latest/client-server-api/#validity-of-replacement-events
    """
    earlier = relation_of(original.content)
    return (
        edit.state_key is None
        and REDACTED not in original.rest
        and (earlier is None or earlier.rel_type != REPLACE)
        and (edit.type == ENCRYPTED or isinstance(edit.content.get("m.new_content"), dict))
    )


def _unsigned(part: dict[str, bytes]) -> bytes:
    return (
        b',"m.relations":{'
        + b",".join(b'"%b":%b' % (key.encode(), value) for key, value in part.items())
        + b"}"
    )
