"""The next event of a room, built and signed but not yet part of it.

`RoomWriter` keeps it at once. What another server has to sign first is handed out, comes back through
`Receiving.accept_signed`, and forks the room if that has moved on meanwhile.
"""

from collections.abc import Sequence

from homeserver.protocol import event_types
from homeserver.protocol.auth_rules import check
from homeserver.protocol.auth_rules.selection import auth_keys
from homeserver.protocol.canonical_json import MAX_INTEGER
from homeserver.protocol.events import Draft, Event, StateKey, build
from homeserver.protocol.room_versions import EventIdFormat
from homeserver.runtime.database import DatabaseCorrupt
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.proposals import Proposal
from homeserver.services.rooms.reference_hashes import recall_hashes, reference_hashes
from homeserver.services.rooms.room import CREATE, Room, Standing

MOST_HEADS = 10
"""Forward extremities that one event names."""
MOST_DEPTH = MAX_INTEGER


class Drafting:
    """Builds events on rooms in memory."""

    def __init__(self, ground: RoomGround, events: Events) -> None:
        self._server_name = ground.server_name
        self._key = ground.key
        self._clock = ground.clock
        self._events = events

    async def draft(self, room: Room, proposal: Proposal) -> Event:
        """The event, signed by this server, which need not be the sender's. Raises AuthFailure."""
        await self.prepare(room, [proposal])
        return self.authorised(room, proposal)

    async def prepare(self, room: Room, proposals: Sequence[Proposal]) -> None:
        """Bring into memory what building them looks at. Raises DatabaseCorrupt."""
        while missing := room.missing(_keys_needed(room, proposals)):
            await self._recall(room, missing)  # meanwhile the room may move on, and others be forgotten
        if room.version.event_id_format is EventIdFormat.EXPLICIT:
            await recall_hashes(room, self._events)

    def authorised(self, room: Room, proposal: Proposal) -> Event:
        """The event, after `prepare`; its verdict is remembered for messages. Raises AuthFailure."""
        memo_key = (proposal.sender, proposal.type)
        auth_ids = room.auth_memo.get(memo_key) if proposal.state_key is None else None
        names_hashes = room.version.event_id_format is EventIdFormat.EXPLICIT
        state: dict[StateKey, Event] | None = None
        if auth_ids is None:
            state = _auth_state(room, proposal)
            auth_ids = tuple(
                event.event_id
                for key, event in state.items()
                if not (key == CREATE and room.version.room_id_is_create_hash)
            )
        event = build(
            Draft(
                type=proposal.type, sender=proposal.sender, content=proposal.content,
                state_key=proposal.state_key,
                room_id=None if not room.state and room.version.room_id_is_create_hash else room.room_id,
                prev_event_ids=room.heads[:MOST_HEADS], auth_event_ids=auth_ids,
                depth=min(room.depth + 1, MOST_DEPTH),
                reference_hashes=reference_hashes(room, state or {}) if names_hashes else {},
                origin_server_ts=proposal.origin_server_ts or self._clock.now_ms(), redacts=proposal.redacts,
            ),
            room.version, self._server_name, self._key,
        )  # fmt: skip
        if state is not None:
            check(event, state)
            if proposal.state_key is None and proposal.type != event_types.REDACTION and not names_hashes:
                room.auth_memo[memo_key] = auth_ids
        return event

    async def recall(self, room: Room, keys: list[StateKey]) -> dict[StateKey, Event]:
        """The current events of the keys, read where they are not in memory; damaged ones are left out."""
        missing = room.missing(keys)
        found = await self._events.signed([standing.event_id for standing in missing]) if missing else {}
        for event in found.values():
            standing = room.state.get(event.key)
            if standing is not None and standing.event_id == event.event_id:
                room.remember(event)
        read = {event.key: event for event in found.values()}
        known = {key: room.event(key) or read.get(key) for key in keys}
        return {key: event for key, event in known.items() if event is not None}

    async def _recall(self, room: Room, missing: Sequence[Standing]) -> None:
        """Bring current state events into memory. Raises DatabaseCorrupt: without them nothing is allowed."""
        found = await self._events.signed([standing.event_id for standing in missing])
        for standing in missing:
            event = found.get(standing.event_id)
            if event is None:
                raise DatabaseCorrupt(
                    f"{standing.event_id}, which is part of the state of {room.room_id}, is damaged:"
                    " the operator must restore the database from a backup"
                )
            if room.state.get(event.key) == standing:
                room.remember(event)


def _keys_needed(room: Room, proposals: Sequence[Proposal]) -> set[StateKey]:
    keys: set[StateKey] = set()
    for proposal in proposals:
        if proposal.state_key is None:
            if (proposal.sender, proposal.type) in room.auth_memo:
                continue
        else:
            keys.add((proposal.type, proposal.state_key))
        keys.update(_auth_keys(room, proposal))
    return keys


def _auth_state(room: Room, proposal: Proposal) -> dict[StateKey, Event]:
    """The current events that the rules look at; those in auth_events come first."""
    state: dict[StateKey, Event] = {}
    for key in (CREATE, *_auth_keys(room, proposal)):
        event = room.event(key)
        if event is not None:
            state[key] = event
    return state


def _auth_keys(room: Room, proposal: Proposal) -> list[StateKey]:
    return auth_keys(
        room.version, type=proposal.type, sender=proposal.sender, state_key=proposal.state_key,
        content=proposal.content,
    )  # fmt: skip
