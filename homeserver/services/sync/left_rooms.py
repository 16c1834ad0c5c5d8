"""Rooms the user left, as `rooms.leave` shows them: up to their going, and nothing of what came after.

https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync
"""

from dataclasses import dataclass
from typing import NamedTuple

from homeserver.protocol import event_types
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.state import RoomState
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.visibility import Visibility
from homeserver.services.sync.query import SyncQuery
from homeserver.services.sync.window import Span, Window, Windows


class Stay(NamedTuple):
    """`ended`: the event that ended the user's last stay, 0 for none the client has not been told of.

    `since`: the state that the client has is of then; 0: it has none.
    """

    ended: int
    since: int


@dataclass(frozen=True, slots=True)
class LeftRooms:
    """Finds what there is to tell; RoomSections writes it."""

    events: Events
    windows: Windows
    visibility: Visibility
    state: RoomState

    async def window(
        self, room: Room, query: SyncQuery, gone: int
    ) -> tuple[Window, list[TimelineEvent] | None]:
        """The end of the timeline and the state that goes with it, None where the client has it.

        `gone`: the user's latest membership event, by which they stand outside.
        """
        stay = await self._stay(room, query)
        if stay.ended:
            span = Span(stay.since, gone, stay.since)
        else:
            span = Span(max(query.since, gone - 1), gone, gone)
        window = await self.windows.window(room, query, span)
        window = await self._with_going(room, query, window, gone)
        if not stay.ended or (stay.since and not window.limited and not query.use_state_after):
            return window, None
        return window, await self._state(room, query, window, stay)

    async def _stay(self, room: Room, query: SyncQuery) -> Stay:
        ended, stayed = await self.visibility.last_membership(room, query.user_id)
        if not stayed or ended <= query.since:
            return Stay(0, 0)
        was_there = await self.visibility.membership_at(room, query.user_id, query.since) == "join"
        return Stay(ended, query.since if was_there and not query.full_state else 0)

    async def _with_going(self, room: Room, query: SyncQuery, window: Window, gone: int) -> Window:
        """One's own going is told, whatever the room's history visibility."""
        if window.timeline and window.timeline[-1].nid == gone:
            return window
        found = (await self.events.by_nids([gone], room.room_id, room.version)).get(gone)
        wanted = query.filter.room.timeline
        if found is None or not wanted.matches_event(
            found.type, found.sender, found.content, room_id=room.room_id
        ):
            return window
        if window.timeline:
            return window._replace(timeline=[*window.timeline, found])
        return window._replace(timeline=[found], start=gone)

    async def _state(self, room: Room, query: SyncQuery, window: Window, stay: Stay) -> list[TimelineEvent]:
        first = window.timeline[0] if window.timeline else None
        if first is not None and first.nid <= stay.ended and not query.use_state_after:
            nids = await self.state.before(room, first)
        else:
            end = await self.events.by_nids([stay.ended], room.room_id, room.version)
            nids = await self.state.after(room, end[stay.ended]) if end else {}
        nids = {key: nid for key, nid in nids.items() if nid > stay.since}
        if query.filter.room.state.lazy_load_members:
            wanted = {event.sender for event in window.timeline} | {query.user_id}
            nids = {key: nid for key, nid in nids.items() if key[0] != event_types.MEMBER or key[1] in wanted}
        return await self.windows.chosen(room, query.filter.room.state, nids.values())
