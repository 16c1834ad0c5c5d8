"""The next event of a room, built and signed but not yet part of it: what another server has to sign first.

`RoomWriter` builds and keeps at once; here an event is built on the room as it is and handed out. It comes
back through `Receiving.accept_signed`, and forks the room if that has moved on meanwhile.
"""

from homeserver.protocol.auth_rules import check
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.events import Draft, Event, StateKey, build
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.room import CREATE, Room
from homeserver.services.rooms.writer import MOST_DEPTH, Proposal

MOST_HEADS = 10


class Drafting:
    """Builds events on rooms in memory."""

    def __init__(self, ground: RoomGround, events: Events) -> None:
        self._server_name = ground.server_name
        self._key = ground.key
        self._clock = ground.clock
        self._events = events

    async def draft(self, room: Room, proposal: Proposal) -> Event:
        """The event, signed by this server, which need not be the sender's. Raises AuthFailure."""
        keys = [CREATE, *_keys(room, proposal)]
        state = await self.recall(room, keys)
        auth_ids = tuple(
            event.event_id
            for key, event in state.items()
            if not (key == CREATE and room.version.room_id_is_create_hash)
        )
        event = build(
            Draft(
                type=proposal.type, sender=proposal.sender, content=proposal.content,
                state_key=proposal.state_key, room_id=room.room_id, prev_event_ids=room.heads[:MOST_HEADS],
                auth_event_ids=auth_ids, depth=min(room.depth + 1, MOST_DEPTH),
                origin_server_ts=self._clock.now_ms(), redacts=proposal.redacts,
            ),
            room.version, self._server_name, self._key,
        )  # fmt: skip
        check(event, state)
        return event

    async def recall(self, room: Room, keys: list[StateKey]) -> dict[StateKey, Event]:
        """The current events of the keys, read where they are not in memory."""
        missing = room.missing(keys)
        found = await self._events.signed([standing.event_id for standing in missing]) if missing else {}
        for event in found.values():
            standing = room.state.get(event.key)
            if standing is not None and standing.event_id == event.event_id:
                room.remember(event)
        read = {event.key: event for event in found.values()}
        known = {key: room.event(key) or read.get(key) for key in keys}
        return {key: event for key, event in known.items() if event is not None}


def _keys(room: Room, proposal: Proposal) -> list[StateKey]:
    keys = auth_keys(
        room.version, type=proposal.type, sender=proposal.sender, state_key=proposal.state_key,
        content=proposal.content,
    )  # fmt: skip
    return [key for key in keys if key != CREATE]
