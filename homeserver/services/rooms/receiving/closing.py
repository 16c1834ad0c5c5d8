"""Too many heads: our server says nothing, after all of them, so that they become one.

Other servers do the same, with the same type of event. It is sent by a local member who may, and shown to
nobody.
"""

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import DUMMY
from homeserver.protocol.events import Draft, Event, build
from homeserver.protocol.hashes import reference_hash
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.room_versions import EventIdFormat
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.fetching import Parts
from homeserver.services.rooms.receiving.forking import Forking, Judged, Source
from homeserver.services.rooms.receiving.intake import Intake
from homeserver.services.rooms.receiving.judging import check_by_state, keys_needed
from homeserver.services.rooms.receiving.stored_events import Stored
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.writer import MOST_DEPTH, MOST_HEADS

MOST_DUMMIES = 50


class Closing:
    """Writes dummy events."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, *, intake: Intake, forking: Forking, parts: Parts
    ) -> None:
        self._ground = ground
        self._rooms = rooms
        self._intake = intake
        self._forking = forking
        self._stored = parts.stored
        self._sets = parts.sets

    async def close(self, room_id: RoomId) -> None:
        """Until an event can name all heads, or nobody here may send one."""
        async with self._intake.turns.hold(room_id):
            for _ in range(MOST_DUMMIES):
                room = await self._rooms.load(room_id)
                if len(room.heads) <= MOST_HEADS or not await self._close_some(room):
                    return

    async def _close_some(self, room: Room) -> bool:
        prevs = room.heads[:MOST_HEADS]
        known = await self._stored.known(prevs)
        state_nid = await self._sets.set_of(room, [known[id_].state_after or 0 for id_ in prevs])
        for sender in self._senders(room):
            event, auth = await self._draft(room, sender, prevs, state_nid)
            try:
                own = [stored.event for stored in auth.values()]
                check_by_state(event, {one.key: one for one in own}, own, is_partial=False)
            except AuthFailure:
                continue
            judged = Judged(Source(self._ground.server_name, is_local=True), auth, (), None)
            await self._forking.append(room.room_id, event, state_nid, judged)
            return True
        return False

    def _senders(self, room: Room) -> list[UserId]:
        """The few of our members with the most power: on another branch they may have less."""
        levels = PowerLevels(room.events)
        return sorted(room.joined_local, key=lambda user: (-levels.of_user(user), user))[:3]

    async def _draft(
        self, room: Room, sender: UserId, prevs: tuple[EventId, ...], state_nid: int
    ) -> tuple[Event, dict[EventId, Stored]]:
        """The event, and what its auth rules look at."""
        keys = auth_keys(room.version, type=DUMMY, sender=sender, state_key=None, content={})
        named = await self._sets.pick(state_nid, keys)
        draft = Draft(
            type=DUMMY, sender=sender, content={}, room_id=room.room_id, prev_event_ids=prevs,
            auth_event_ids=tuple(named), depth=min(room.depth + 1, MOST_DEPTH),
            origin_server_ts=self._ground.clock.now_ms(),
            reference_hashes=await self._hashes(room, [*prevs, *named]),
        )  # fmt: skip
        event = build(draft, room.version, self._ground.server_name, self._ground.key)
        needed = await self._sets.pick(state_nid, keys_needed(event))
        return event, await self._stored.load(room.version, needed)

    async def _hashes(self, room: Room, event_ids: list[EventId]) -> dict[EventId, str]:
        """Which only room versions 1 and 2 write down."""
        if room.version.event_id_format is not EventIdFormat.EXPLICIT:
            return {}
        found = await self._stored.load(room.version, event_ids)
        return {id_: reference_hash(room.version, stored.event.pdu) for id_, stored in found.items()}
