"""The hashes that events of room versions 1 and 2 give beside the IDs of other events.

https://spec.matrix.org/latest/rooms/v1/#event-format
"""

from collections.abc import Mapping

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.hashes import reference_hash
from homeserver.protocol.ids import EventId
from homeserver.services.rooms.events import Events
from homeserver.services.rooms.room import Room

MOST_KEPT = 100


async def recall_hashes(room: Room, events: Events) -> None:
    """Have those of the heads in memory."""
    missing = [head for head in room.heads if head not in room.reference_hashes]
    if missing:
        for event in (await events.signed(missing)).values():
            note_hash(room, event)


def note_hash(room: Room, event: Event) -> None:
    """Of an event that is a head now."""
    if len(room.reference_hashes) >= MOST_KEPT:
        room.reference_hashes = {
            head: room.reference_hashes[head] for head in room.heads if head in room.reference_hashes
        }
    room.reference_hashes[event.event_id] = reference_hash(event.version, event.pdu)


def reference_hashes(room: Room, auth_state: Mapping[StateKey, Event]) -> dict[EventId, str]:
    """For an event after all heads that names these as authorising it."""
    hashes = {event.event_id: reference_hash(event.version, event.pdu) for event in auth_state.values()}
    return hashes | {
        head: room.reference_hashes[head] for head in room.heads if head in room.reference_hashes
    }
