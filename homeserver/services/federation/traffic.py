"""Transactions in both directions: what is sent, what is taken in, and how other servers do.

`sender.append_edu` and `incoming.register` are the doors for what must arrive: messages to devices, changes
of devices and keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import orjson

from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.tasks import Tasks
from homeserver.services.federation.backoff import BackOff
from homeserver.services.federation.destinations import Destinations
from homeserver.services.federation.edus import OutgoingEdus, ReadMark
from homeserver.services.federation.inbox import Inbox
from homeserver.services.federation.incoming_edus import IncomingEdus
from homeserver.services.federation.lost_transactions import LostTransactions, PullClient
from homeserver.services.federation.outgoing import OutgoingEvents
from homeserver.services.federation.outgoing_presence import OutgoingPresence
from homeserver.services.federation.room_gates import RoomGates
from homeserver.services.federation.room_intake import Receiver, RoomIntake
from homeserver.services.federation.sender import FederationSender, TransactionClient
from homeserver.services.presence.presence import Presence
from homeserver.services.receipts import Receipts
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from homeserver.services.rooms.writer import Built
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.storage.receipts import Receipt

TRANSACTIONS_AT_ONCE = 3
"""In one answer to a server that missed some."""


class Client(TransactionClient, PullClient, Protocol):
    """`homeserver.remote.federation.FederationClient`."""


class SentTransaction(NamedTuple):
    txn_id: str
    body: JsonObject


class Neighbours(NamedTuple):
    """The services beside which transactions travel."""

    rooms: Rooms
    receiver: Receiver
    typing_notifications: TypingNotifications
    receipts: Receipts
    presence: Presence | None
    """None: presence is neither told nor heard."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Made by `traffic`. `note_alive` is for the access check: a server that speaks is worth trying."""

    ground: RoomGround
    destinations: Destinations
    sender: FederationSender
    edus: OutgoingEdus
    intake: RoomIntake
    incoming: IncomingEdus
    inbox: Inbox
    presence: OutgoingPresence | None

    async def start(self) -> None:
        """Recall who is in trouble, go on sending and taking in."""
        await self.destinations.start()
        await self.sender.start()
        await self.inbox.start()

    async def stop(self) -> None:
        """Begin nothing new, save what is known. Before the background tasks and the database stop."""
        self.inbox.stop()
        self.edus.stop()
        if self.presence is not None:
            self.presence.stop()
        await self.sender.stop()
        await self.destinations.stop()

    def note_events(self, room: Room, batch: Sequence[Built]) -> None:
        """Follows the room writer: events that go out were committed."""
        for built in batch:
            outgoing = built.outgoing
            if outgoing is not None:
                self.sender.note(built.position, built.event.raw, outgoing.servers, outgoing.besides)
        if self.presence is not None:
            self.presence.note_events(room, batch)

    async def sent_after(self, server: ServerName, txn_id: str) -> list[SentTransaction] | None:
        """What the server was sent after a transaction; None when that is not known any more."""
        store = self.ground.stores.destinations
        rows = await self.ground.database.read(store.sent_after, server, txn_id, limit=TRANSACTIONS_AT_ONCE)
        return None if rows is None else [SentTransaction(id_, orjson.loads(body)) for id_, body in rows]


def traffic(
    ground: RoomGround, tasks: Tasks, client: Client, neighbours: Neighbours, *,
    chance: Callable[[], float], back_off: BackOff | None = None,
) -> Traffic:  # fmt: skip
    """All parts, built bottom-up, and told of what local users do."""
    database, stores, streams, clock = ground.database, ground.stores, ground.streams, ground.clock
    rooms = neighbours.rooms
    tables = stores.destinations, stores.outgoing
    destinations = Destinations(
        database, tables, clock=clock, tasks=tasks, streams=streams, chance=chance, back_off=back_off
    )
    outgoing = OutgoingEvents(database, tables, lambda: streams.position)
    sender = FederationSender(
        ground.server_name, client, outgoing, destinations=destinations, streams=streams, clock=clock,
        tasks=tasks,
    )  # fmt: skip
    edus = OutgoingEdus(sender, outgoing, rooms, streams=streams, clock=clock, server_name=ground.server_name)
    gates = RoomGates(database, stores.staged_events, rooms, clock)
    intake = RoomIntake(database, stores.staged_events, neighbours.receiver, clock=clock, tasks=tasks)
    presence = neighbours.presence
    incoming = IncomingEdus(
        gates, intake, neighbours.typing_notifications, neighbours.receipts,
        None if presence is None else presence.elsewhere,
    )  # fmt: skip
    inbox = Inbox(
        database, stores.staged_events, gates, intake=intake, edus=incoming, clock=clock, tasks=tasks
    )
    inbox.lost = LostTransactions(database, stores.destinations, client, tasks, inbox.take)
    neighbours.typing_notifications.follow(edus.note_typing)
    neighbours.receipts.follow(lambda room_id, receipt: edus.note_receipt(room_id, _mark(receipt)))
    outgoing_presence = None
    if presence is not None:
        outgoing_presence = OutgoingPresence(
            sender, presence, rooms, clock=clock, tasks=tasks, server_name=ground.server_name
        )
        presence.follow(outgoing_presence.note)
        destinations.on_recovered = outgoing_presence.note_back
    return Traffic(ground, destinations, sender, edus, intake, incoming, inbox, outgoing_presence)


def _mark(receipt: Receipt) -> ReadMark:
    return ReadMark(receipt.user_id, receipt.thread, receipt.event_id, receipt.ts)
