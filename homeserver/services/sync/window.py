"""A room's timeline between two positions, and the state that goes with it.

https://spec.matrix.org/latest/client-server-api/#syncing
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.events import StateKey
from homeserver.protocol.filters import RoomEventFilter
from homeserver.protocol.stream_position import TopologicalPosition
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.room import RECENT, Room, Standing
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.visibility import Visibility
from homeserver.services.sync.lazy_members import LazyMembers
from homeserver.services.sync.query import SyncQuery

ROOMS_AT_ONCE = 50
ROUNDS = 8
"""Reads made for a timeline whose filter lets little through, each twice as long."""


class Span(NamedTuple):
    """After `since`, up to and including `upto`. `state_since`: state the client has is of then (0: none)."""

    since: int
    upto: int
    state_since: int


class Window(NamedTuple):
    """Timeline and state, oldest first. `start`: the nid with which the timeline begins."""

    timeline: list[TimelineEvent]
    limited: bool
    prev_batch: str
    start: int


class Windows:
    """Makes windows from the room in memory, else from the database."""

    def __init__(self, events: Events, visibility: Visibility, lazy_members: LazyMembers) -> None:
        self._events = events
        self._visibility = visibility
        self._lazy_members = lazy_members

    async def warm(self, rooms: Sequence[Room], limit: int) -> None:
        """Bring the newest events and the state of rooms long unused into memory, many in one read."""
        cold = [room for room in rooms if not room.recent and room.recent_from]
        for start in range(0, len(cold), ROOMS_AT_ONCE):
            await self._events.recall(cold[start : start + ROOMS_AT_ONCE], min(limit + 1, RECENT))

    async def window(self, room: Room, query: SyncQuery, span: Span) -> Window:
        """The newest events of the span that the filter takes and the user may see."""
        filter_ = query.filter.room.timeline
        limit = query.timeline_limit
        events = self._recent(room, span)
        if events is None:
            events, complete = await self._stored(room, span, filter_, limit)
        else:
            complete = True
            events = [event for event in events if _takes(filter_, event)]
        limited = len(events) > limit or not complete
        timeline = events[len(events) - limit :] if len(events) > limit else events
        if span.since < room.last_gap <= span.upto:  # before it something is missing, or was put in later
            timeline, limited = [event for event in timeline if event.nid >= room.last_gap], True
        if query.ignored:
            timeline = [e for e in timeline if e.state_key is not None or e.sender not in query.ignored]
        if timeline and not self._visibility.all_visible(room, query.user_id, timeline[0].nid - 1):
            visible = await self._visibility.visible(room, query.user_id, timeline)
            timeline, is_cut = _from_last_hidden_state(timeline, visible)
            limited = limited or is_cut
        if timeline:
            first = timeline[0]
            prev_batch = TopologicalPosition(_depth_before(room, first), first.nid - 1)
            return Window(timeline, limited, str(prev_batch), first.nid)
        return Window(timeline, limited, f"s{span.upto}", span.upto + 1)

    async def state(self, room: Room, query: SyncQuery, span: Span, window: Window) -> list[TimelineEvent]:
        """State before the timeline (or after it, if asked), as far as the client cannot know it."""
        current = room.state_upto(span.upto)
        since = 0 if query.full_state else span.state_since
        if query.use_state_after:
            nids = {key: standing.nid for key, standing in current.items() if standing.since > since}
        elif since and not window.limited:
            nids = _resolved(current, since, window.start) if room.resolved_at > since else {}
        else:
            nids = await self._state_before(room, {k: s.nid for k, s in current.items()}, window.start)
            if since:
                resolved = _resolved(current, since, window.start) if room.resolved_at > since else {}
                nids = {key: nid for key, nid in nids.items() if nid > since} | resolved
        if not query.filter.room.timeline.is_pass_all and not query.use_state_after:
            nids |= _left_out(current, window, since, upto=span.upto)
        if query.told is not None:
            nids = self._lazy_members.chosen(query, nids, window.timeline, current, since=since)
        if room.partial_servers:
            nids = {**nids, **await self._named_members(room, window.timeline)}
        state = await self.chosen(room, query.filter.room.state, nids.values())
        self._lazy_members.note(query, state, window.timeline, span.upto)
        return state

    async def _named_members(self, room: Room, timeline: Sequence[TimelineEvent]) -> dict[StateKey, int]:
        """Of senders that a room known in part lacks: the memberships that their events name."""
        unknown = {event.event_id: event.sender for event in timeline if event.sender not in room.members}
        named = {
            auth_id: event.sender
            for event in (await self._events.signed(list(unknown))).values()
            for auth_id in event.auth_event_ids
        }
        found = await self._events.by_ids(list(named))
        return {
            (MEMBER, named[event_id]): event.nid
            for event_id, event in found.items()
            if event.type == MEMBER and event.state_key == named[event_id] and event.room_id == room.room_id
        }

    async def chosen(self, room: Room, filter_: RoomEventFilter, nids: Iterable[int]) -> list[TimelineEvent]:
        """The events, in order, that a filter takes."""
        wanted = sorted(nids)
        found = await self._events.by_nids(wanted, room.room_id, room.version)
        events = [found[nid] for nid in wanted if nid in found]
        return events if filter_.is_pass_all else [event for event in events if _takes(filter_, event)]

    async def _state_before(self, room: Room, nids: dict[StateKey, int], start: int) -> dict[StateKey, int]:
        """Undo what the events from `start` on did to the state."""
        late = {key: nid for key, nid in nids.items() if nid >= start}
        if not late:
            return nids
        while late:
            found = await self._events.by_nids(late.values(), room.room_id, room.version)
            before = {key: found[nid].replaces_nid if nid in found else None for key, nid in late.items()}
            late = {}
            for key, nid in before.items():
                if nid is None:
                    nids.pop(key, None)
                else:
                    nids[key] = nid
                    if nid >= start:
                        late[key] = nid
        return nids

    def _recent(self, room: Room, span: Span) -> list[TimelineEvent] | None:
        """All events of the span, if they are in memory."""
        if span.since < room.recent_from:
            return None
        if room.recent and room.recent[-1].nid <= span.upto and room.recent[0].nid > span.since:
            return list(room.recent)
        return [event for event in room.recent if span.since < event.nid <= span.upto]

    async def _stored(
        self, room: Room, span: Span, filter_: RoomEventFilter, limit: int
    ) -> tuple[list[TimelineEvent], bool]:
        """(events oldest first, one more than `limit` if there are; were all of the span looked at?)."""
        newest = self._newest_in_memory(room, span, filter_, limit)
        if newest is not None:
            return newest, True
        found: list[TimelineEvent] = []
        upto, wanted = span.upto, limit + 1
        for _ in range(ROUNDS):
            rows = await self._events.latest(room, after=span.since, upto=upto, limit=wanted)
            found += [event for event in rows if _takes(filter_, event)]
            if len(rows) < wanted or len(found) > limit:
                return found[limit::-1] if len(found) > limit else found[::-1], True
            upto, wanted = rows[-1].nid - 1, min(2 * wanted, 500)
        return found[::-1], False

    def _newest_in_memory(
        self, room: Room, span: Span, filter_: RoomEventFilter, limit: int
    ) -> list[TimelineEvent] | None:
        """The newest of the span, when memory has more than `limit` of them."""
        events = [
            event for event in room.recent if span.since < event.nid <= span.upto and _takes(filter_, event)
        ]
        return events[-limit - 1 :] if len(events) > limit else None


def _depth_before(room: Room, first: TimelineEvent) -> int:
    """From which depth on to page back from a timeline: in a forked room, what came before may be deeper."""
    if not room.was_shared:
        return first.depth
    return max((event.depth for event in room.recent if event.nid <= first.nid), default=first.depth)


def _resolved(current: Mapping[StateKey, Standing], since: int, start: int) -> dict[StateKey, int]:
    """What came to stand after `since` though its events are older than the timeline: a fork was resolved."""
    return {
        key: standing.nid
        for key, standing in current.items()
        if standing.since > since and standing.nid < start
    }


def _from_last_hidden_state(
    timeline: Sequence[TimelineEvent], visible: list[TimelineEvent]
) -> tuple[list[TimelineEvent], bool]:
    """(What the user may see after the last state event that they may not; is something seen left out?)

    State comes before the timeline: a hidden change in its middle would be told nowhere.
    """
    shown = {event.nid for event in visible}
    hidden = max((e.nid for e in timeline if e.state_key is not None and e.nid not in shown), default=0)
    rest = [event for event in visible if event.nid > hidden]
    return rest, len(rest) < len(visible)


def _left_out(
    current: Mapping[StateKey, Standing], window: Window, since: int, *, upto: int
) -> dict[StateKey, int]:
    """State that stands at the end of the timeline by an event that the filter kept out of it."""
    shown = {event.nid for event in window.timeline}
    start = window.start if window.limited or not since else since + 1
    return {
        key: standing.nid
        for key, standing in current.items()
        if start <= standing.nid <= upto and standing.nid not in shown
    }


def _takes(filter_: RoomEventFilter, event: TimelineEvent) -> bool:
    return filter_.matches_event(event.type, event.sender, event.content, room_id=event.room_id)
