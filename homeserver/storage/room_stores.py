"""The stores that speak of rooms, users and events by number: they share one `Identifiers`."""

from dataclasses import dataclass

from homeserver.storage.destinations import DestinationStore
from homeserver.storage.events import EventStore
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.outgoing import OutgoingStore
from homeserver.storage.push_actions import PushActionStore
from homeserver.storage.receipts import ReceiptStore
from homeserver.storage.received_events import ReceivedEventStore
from homeserver.storage.received_rooms import ReceivedRoomStore
from homeserver.storage.relations import RelationStore
from homeserver.storage.room_state import RoomStateStore
from homeserver.storage.rooms import RoomStore
from homeserver.storage.staged_events import StagedEventStore
from homeserver.storage.unproven_events import UnprovenEventStore


@dataclass(frozen=True, slots=True)
class RoomStores:
    """Made by `room_stores`."""

    identifiers: Identifiers
    rooms: RoomStore
    events: EventStore
    state: RoomStateStore
    relations: RelationStore
    receipts: ReceiptStore
    push_actions: PushActionStore
    received_events: ReceivedEventStore
    received_rooms: ReceivedRoomStore
    destinations: DestinationStore
    outgoing: OutgoingStore
    staged_events: StagedEventStore
    unproven_events: UnprovenEventStore


def room_stores() -> RoomStores:
    identifiers = Identifiers()
    destinations = DestinationStore()
    return RoomStores(
        identifiers,
        RoomStore(identifiers),
        EventStore(identifiers),
        RoomStateStore(identifiers),
        RelationStore(),
        ReceiptStore(identifiers),
        PushActionStore(identifiers),
        ReceivedEventStore(),
        ReceivedRoomStore(identifiers),
        destinations,
        OutgoingStore(destinations),
        StagedEventStore(),
        UnprovenEventStore(),
    )
