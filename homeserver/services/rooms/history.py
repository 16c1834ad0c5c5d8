"""A room's history: pages, the surroundings of an event, the event nearest to a time.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol import event_types
from homeserver.protocol.errors import NotFound
from homeserver.protocol.events import StateKey
from homeserver.protocol.filters import RoomEventFilter
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.stream_position import PagePosition, StreamPosition, TopologicalPosition
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.access import NotInRoom
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.rooms.state import RoomState, world_readable
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.told_members import Asker, ToldMembers
from homeserver.services.rooms.visibility import Visibility
from homeserver.storage.events import EventRow, Place

MOST_READ = 4_000
"""Events looked at for one page: a filter that matches nothing still gets an answer, and a token."""

MOST_FILLS = 3
"""Rounds of fetching older events for one page."""


class Page(NamedTuple):
    """Events in reading order; `end` is None when there are no more."""

    events: list[TimelineEvent]
    start: PagePosition
    end: PagePosition | None
    state: list[TimelineEvent]


class Context(NamedTuple):
    event: TimelineEvent
    before: list[TimelineEvent]
    after: list[TimelineEvent]
    start: PagePosition
    end: PagePosition
    state: list[TimelineEvent]


class PageQuery(NamedTuple):
    """`start` None: from the newest (backwards) or the first event on."""

    start: PagePosition | None
    stop: PagePosition | None
    backwards: bool
    limit: int
    filter: RoomEventFilter


class Older(Protocol):
    """Where history comes from that is not here."""

    async def fill(self, room: Room, *, upto_depth: int, downto_depth: int) -> bool:
        """Fetch what is missing between the depths; is there anything new?"""

    async def nearest(self, room: Room, ts: int, *, forwards: bool, known_ms: int | None) -> bool:
        """Fetch history back to the event nearest to a time, or part of the way, where that may be nearer
        than the one here, which is of `known_ms`. Was anything fetched?"""


class RoomHistory:
    """Reads what a user may see."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, events: Events, visibility: Visibility, state: RoomState,
        told_members: ToldMembers,
    ) -> None:  # fmt: skip
        self._database = ground.database
        self._store = ground.stores.events
        self._relations = ground.stores.relations
        self._rooms = rooms
        self._events = events
        self._visibility = visibility
        self._state = state
        self._told_members = told_members
        self._streams = ground.streams
        self.older: Older | None = None

    async def page(self, asker: Asker, room_id: RoomId, query: PageQuery) -> Page:
        """With the members who spoke, if the filter asks for them. Raises NotInRoom."""
        page = await self._page(asker.user_id, room_id, query)
        if not query.filter.lazy_load_members:
            return page
        return page._replace(state=await self._members_of(asker, room_id, query, page))

    async def _page(self, user_id: UserId, room_id: RoomId, query: PageQuery) -> Page:
        """Without state."""
        room = await self.room(user_id, room_id)
        place, stop = await self._bounds(room, query)
        start = TopologicalPosition(*place)
        found: list[TimelineEvent] = []
        looked_at = 0
        wanted = max(query.limit, 1)
        exhausted = False
        while len(found) < query.limit and looked_at < MOST_READ and not exhausted:
            events, is_last = await self._filled(room, place, wanted, backwards=query.backwards)
            looked_at += wanted
            inside = [event for event in events if not _beyond(event, stop, backwards=query.backwards)]
            exhausted = is_last or len(inside) < len(events)
            shown = await self._shown(room, user_id, inside, query.filter)
            shown = shown[: query.limit - len(found)]
            found += shown
            if len(found) == query.limit:
                place = _step(found[-1], backwards=query.backwards)
            elif inside:
                place = _step(inside[-1], backwards=query.backwards)
            wanted = min(2 * wanted, 500)
        end = None if exhausted and len(found) < query.limit else TopologicalPosition(*place)
        if end is None and query.backwards and room.has_gaps and found:
            end = TopologicalPosition(*place)  # there is more elsewhere, which could not be had just now
        return Page(found, start if query.start is None else query.start, end, [])

    async def event(self, user_id: UserId, room_id: RoomId, event_id: EventId) -> TimelineEvent:
        """Raises NotFound, also for an event the user may not see."""
        room = await self.room(user_id, room_id)
        event = await self._events.by_id(event_id)
        if event is None or event.room_id != room_id or event.status != 0:
            raise NotFound(f"{event_id} is not an event of this room that you can see")
        if not await self._visibility.visible(room, user_id, [event]):
            raise NotFound(f"{event_id} is not an event of this room that you can see")
        return event

    async def context(
        self, user_id: UserId, room_id: RoomId, event_id: EventId, *, limit: int, filter_: RoomEventFilter
    ) -> Context:
        """Events around one; `limit` of them in all. Raises NotFound."""
        event = await self.event(user_id, room_id, event_id)
        room = await self._rooms.load(room_id)
        here = TopologicalPosition(event.depth, event.nid)
        just_before = TopologicalPosition(event.depth, event.nid - 1)
        older = await self._page(
            user_id, room_id, PageQuery(just_before, None, True, limit - limit // 2, filter_)
        )
        newer = await self._page(user_id, room_id, PageQuery(here, None, False, limit // 2, filter_))
        start = older.end or _after_last(older, just_before, backwards=True)
        end = newer.end or _after_last(newer, here, backwards=False)
        last = newer.events[-1] if newer.events else event
        state = await self._state_after(room, last, [*older.events, event, *newer.events], filter_)
        return Context(event, older.events, newer.events, start, end, state)

    async def nearest(self, user_id: UserId, room_id: RoomId, ts: int, *, forwards: bool) -> TimelineEvent:
        """The event nearest in time at or after (before) `ts` (ms). Raises NotFound."""
        room = await self.room(user_id, room_id)
        found = await self._database.read(self._store.nearest, room.nid, ts, forwards=forwards)
        known_ms = found[1] if found else None
        if (
            self.older is not None
            and room.has_gaps
            and await self.older.nearest(room, ts, forwards=forwards, known_ms=known_ms)
        ):
            found = await self._database.read(self._store.nearest, room.nid, ts, forwards=forwards)
        event = await self._events.by_id(found[0]) if found else None
        if event is not None and not await self._visibility.visible(room, user_id, [event]):
            here = TopologicalPosition(event.depth, event.nid)
            rest = await self._page(
                user_id, room_id, PageQuery(here, None, not forwards, 1, RoomEventFilter())
            )
            event = rest.events[0] if rest.events else None
        if event is None:
            raise NotFound(f"There is no event {'after' if forwards else 'before'} this time")
        return event

    async def _filled(
        self, room: Room, place: Place, wanted: int, *, backwards: bool
    ) -> tuple[list[TimelineEvent], bool]:
        """The next events, and whether they are the last; going back, what is missing is fetched first."""
        for attempt in range(MOST_FILLS + 1):
            rows = await self._database.read(self._read, room.nid, place, backwards, wanted)
            events = self._events.decode(rows, room.room_id, room.version)
            if self.older is None or not backwards or not room.has_gaps or attempt == MOST_FILLS:
                break
            lowest = events[-1].depth if len(rows) == wanted and events else 0
            if not await self.older.fill(room, upto_depth=place.depth, downto_depth=lowest):
                break
        return events, len(rows) < wanted

    async def _shown(
        self, room: Room, user_id: UserId, events: list[TimelineEvent], filter_: RoomEventFilter
    ) -> list[TimelineEvent]:
        """Those the filter asks for and the user may see."""
        if not filter_.is_pass_all:
            events = [
                event
                for event in events
                if filter_.matches_event(event.type, event.sender, event.content, room_id=room.room_id)
            ]
        if filter_.needs_relations:
            events = await self._related(events, filter_)
        return await self._visibility.visible(room, user_id, events)

    async def _related(self, events: list[TimelineEvent], filter_: RoomEventFilter) -> list[TimelineEvent]:
        children = await self._database.read(self._relations.children, [event.event_id for event in events])
        related: dict[EventId, list[tuple[str, str]]] = {}
        for child in children:
            related.setdefault(child.parent_id, []).append((child.rel_type, child.sender))
        return [event for event in events if filter_.matches_related(related.get(event.event_id, ()))]

    def _read(
        self, txn: Transaction, room_nid: int, place: Place, backwards: bool, limit: int
    ) -> list[EventRow]:
        read = self._store.before if backwards else self._store.after
        return read(txn, room_nid, place, limit=limit)

    async def _bounds(self, room: Room, query: PageQuery) -> tuple[Place, Place | None]:
        newest = StreamPosition(self._streams.position)
        start = (
            query.start
            if query.start is not None
            else (newest if query.backwards else TopologicalPosition(0, 0))
        )
        stop = query.stop
        if stop is None and not query.backwards:
            stop = newest
        return await self.place(room, start), None if stop is None else await self.place(room, stop)

    async def place(self, room: Room, position: PagePosition) -> Place:
        """Where a token points to in the room's history."""
        if isinstance(position, TopologicalPosition):
            return Place(position.depth, position.event_nid)
        if position.position >= room.tip:
            return Place(room.depth, room.tip)
        return await self._database.read(self._store.place_at, room.nid, position.position)

    async def _members_of(
        self, asker: Asker, room_id: RoomId, query: PageQuery, page: Page
    ) -> list[TimelineEvent]:
        """The present member events of the senders, as far as the device does not know them."""
        room = await self._rooms.load(room_id)
        nids = [
            standing.nid
            for sender in dict.fromkeys(event.sender for event in page.events)
            if (standing := room.state.get((event_types.MEMBER, sender))) is not None
        ]
        by_pages = self._told_members.before_page(asker, room_id, query.start)
        if not query.filter.include_redundant_members:
            by_sync = self._told_members.by_sync(asker)
            nids = [nid for nid in nids if nid not in by_pages and not by_sync.has(nid, by_sync.since)]
        found = await self._events.by_nids(nids, room.room_id, room.version)
        self._told_members.note_page(asker, room_id, page.end, by_pages | found.keys())
        return [found[nid] for nid in nids if nid in found]

    async def _state_after(
        self, room: Room, last: TimelineEvent, events: Sequence[TimelineEvent], filter_: RoomEventFilter
    ) -> list[TimelineEvent]:
        ids: dict[StateKey, int] = await self._state.after(room, last)
        if filter_.lazy_load_members:
            senders = {event.sender for event in events}
            ids = {key: nid for key, nid in ids.items() if key[0] != event_types.MEMBER or key[1] in senders}
        found = await self._events.by_nids(ids.values(), room.room_id, room.version)
        return [found[nid] for nid in sorted(ids.values()) if nid in found]

    async def room(self, user_id: UserId, room_id: RoomId) -> Room:
        """The room, if the user was ever in it or anybody may read it."""
        try:
            room = self._rooms.find(room_id) or await self._rooms.load(room_id)
        except RoomNotFound:
            raise NotInRoom(f"{user_id} is not in {room_id}") from None
        if room.membership(user_id) != "join" and not world_readable(room):
            _, stayed = await self._visibility.last_membership(room, user_id)
            if not stayed:
                raise NotInRoom(f"{user_id} is not in {room_id}")
        return room


def _step(event: TimelineEvent, *, backwards: bool) -> Place:
    """Where a page goes on after the event: tokens stand between events."""
    return Place(event.depth, event.nid - 1) if backwards else Place(event.depth, event.nid)


def _after_last(page: Page, otherwise: PagePosition, *, backwards: bool) -> PagePosition:
    return TopologicalPosition(*_step(page.events[-1], backwards=backwards)) if page.events else otherwise


def _beyond(event: TimelineEvent, stop: Place | None, *, backwards: bool) -> bool:
    if stop is None:
        return False
    here = Place(event.depth, event.nid)
    return here <= stop if backwards else here > stop
