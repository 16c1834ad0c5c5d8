"""EDUs on their way out: typing and receipts. They gather for a moment and are encoded once.

Typing is of no use later, so it lives in memory only. Receipts are stored anyway: a server
that was away gets from there what it lacks, each user's newest only. What must arrive, such as messages to
devices, goes into the log: `FederationSender.append_edu`.
https://spec.matrix.org/latest/server-server-api/#edus
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.services.federation.outgoing import OutgoingEvents
from homeserver.services.federation.queue import DestinationQueue, Receipts
from homeserver.services.federation.sender import FederationSender
from homeserver.services.federation.transaction_body import edu
from homeserver.services.rooms.rooms import RoomNotFound, Rooms
from homeserver.services.streams import Streams
from homeserver.storage.outgoing import StoredReceipt

GATHER_S = 0.2
RECEIPTS_GATHER_S = 1.0
REPEAT_TYPING_S = 30.0
"""Somebody who goes on typing is told of again so often: servers forget typists in time."""


class ReadMark(NamedTuple):
    """A public receipt. `thread`: None, "main" or a thread root."""

    user_id: UserId
    thread: str | None
    event_id: EventId
    ts: int


class OutgoingEdus:
    """Told by the services of clients what their own users do."""

    def __init__(
        self,
        sender: FederationSender,
        outgoing: OutgoingEvents,
        rooms: Rooms,
        *,
        streams: Streams,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._sender = sender
        self._outgoing = outgoing
        self._rooms = rooms
        self._streams = streams
        self._clock = clock
        self._server_name = server_name
        self._typing: dict[tuple[RoomId, UserId], bool] = {}
        self._told_typing: dict[tuple[RoomId, UserId], float] = {}
        self._marks: dict[RoomId, dict[tuple[UserId, str | None], ReadMark]] = {}
        self._timer: DelayedCall | None = None
        self._receipts_timer: DelayedCall | None = None
        sender.receipts = self

    def stop(self) -> None:
        """Gather no more. Receipts that were gathered are found again at the next start."""
        for timer in (self._timer, self._receipts_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._receipts_timer = None

    # Told by services

    def note_typing(self, room_id: RoomId, user_id: UserId, is_typing: bool) -> None:
        """A user began, goes on or stopped typing."""
        room = self._rooms.find(room_id)
        if room is None or not room.is_shared or domain_of(user_id) != self._server_name:
            return
        key = room_id, user_id
        if is_typing:
            told_at = self._told_typing.get(key)
            if told_at is not None and self._clock.monotonic() - told_at < REPEAT_TYPING_S:
                return
            self._told_typing[key] = self._clock.monotonic()
        else:
            self._told_typing.pop(key, None)
        self._typing[key] = is_typing
        if self._timer is None:
            self._timer = self._clock.call_later(GATHER_S, self._flush_typing)

    def note_receipt(self, room_id: RoomId, mark: ReadMark) -> None:
        """A user moved a public receipt."""
        room = self._rooms.find(room_id)
        if room is None or not room.is_shared or domain_of(mark.user_id) != self._server_name:
            return
        self._marks.setdefault(room_id, {})[mark.user_id, mark.thread] = mark
        if self._receipts_timer is None:
            self._receipts_timer = self._clock.call_later(RECEIPTS_GATHER_S, self._flush_receipts)

    # For the sender

    async def missed(self, queue: DestinationQueue) -> list[Receipts]:
        """The next stored receipts that the destination lacks and may still see."""
        while stored := await self._outgoing.receipts(queue, self._server_name):
            last = stored[-1].position
            found = await self._visible(queue.server, stored)
            if found:
                return [*found[:-1], found[-1]._replace(position=last)]
            queue.receipts_position = max(queue.receipts_position, last)
        return []

    async def _visible(self, server: ServerName, stored: Sequence[StoredReceipt]) -> list[Receipts]:
        found: list[Receipts] = []
        by_room: dict[RoomId, list[ReadMark]] = {}
        for one in stored:
            mark = ReadMark(UserId(one.user_id), one.thread or None, EventId(one.event_id), one.ts)
            by_room.setdefault(one.room_id, []).append(mark)
        for room_id, marks in by_room.items():
            if await self._is_in(server, room_id):
                found += [Receipts(content, 0) for content in receipt_edus(room_id, marks)]
        return found

    # The clockwork

    def _flush_typing(self) -> None:
        self._timer = None
        typing, self._typing = self._typing, {}
        for (room_id, user_id), is_typing in typing.items():
            room = self._rooms.find(room_id)
            if room is not None:
                content: JsonObject = {"room_id": room_id, "user_id": user_id, "typing": is_typing}
                key = "m.typing", room_id, user_id
                self._sender.put_ephemeral(room.other_servers(), key, edu("m.typing", content))

    def _flush_receipts(self) -> None:
        self._receipts_timer = None
        by_room, self._marks = self._marks, {}
        position = self._streams.position
        for room_id, marks in by_room.items():
            room = self._rooms.find(room_id)
            if room is not None:
                for content in receipt_edus(room_id, marks.values()):
                    self._sender.put_receipts(room.other_servers(), Receipts(content, position))

    async def _is_in(self, server: ServerName, room_id: RoomId) -> bool:
        try:
            return server in (await self._rooms.load(room_id)).other_servers()
        except RoomNotFound:
            return False


def receipt_edus(room_id: RoomId, marks: Iterable[ReadMark]) -> list[bytes]:
    """m.receipt EDUs; usually one, since one cannot hold two receipts of a user."""
    contents: list[JsonObject] = []
    for mark in marks:
        data: JsonObject = {"ts": mark.ts}
        if mark.thread is not None:
            data["thread_id"] = mark.thread
        for users in contents:
            if mark.user_id not in users:
                break
        else:
            users = {}
            contents.append(users)
        users[mark.user_id] = {"data": data, "event_ids": [mark.event_id]}
    return [edu("m.receipt", {room_id: {"m.read": users}}) for users in contents]
