"""Transactions of other servers: kept on the disk as they came, answered at once, dealt with afterwards.

    take -> the same transaction again? -> each event: form, room, access control list
         -> one write: the answer, and the events that wait for their rooms (`room_intake.py`)
         -> answered; then EDUs, and events room by room

An event that will not do gets an error in the answer and never harms the others.
https://spec.matrix.org/latest/server-server-api/#transactions
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from homeserver.protocol.errors import BadJson, Forbidden, LimitExceeded, MatrixError
from homeserver.protocol.events import parse_pdu
from homeserver.protocol.hashes import content_hash, content_hash_matches, event_id_of
from homeserver.protocol.ids import EventId, RoomId, ServerName, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.concurrency import KeyedLock
from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.services.federation.incoming_edus import IncomingEdus
from homeserver.services.federation.room_gates import NotHere, RoomGates
from homeserver.services.federation.room_intake import RoomIntake
from homeserver.services.federation.transaction_body import MOST_EDUS, MOST_PDUS
from homeserver.storage.staged_events import NewlyStaged, Staged, StagedEventStore

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 * 1024 * 1024
"""Of one server's events; with more, the server is asked to come back later."""
MOST_BYTES_IN_ALL = 1024 * 1024 * 1024
SMALL_SHARE_BYTES = 1024 * 1024
"""When so much waits in all, only those of whom no more than this does may send; at twice so much, nobody."""
MOST_UNSEEN = 20
"""Transactions of one server that may be in here at the same time."""
REMEMBERED_MS = 24 * 3600 * 1000
MOST_REMEMBERED, COUNTED, MOST_SERVERS_COUNTED = 1_000, 200, 10_000
"""Transactions of one server that are remembered; so many more may be, until they are counted."""
FORGET_EVERY_S = 600.0
MAX_TXN_ID = 255


class TooManyEvents(BadJson):
    """A transaction beyond the specification's limits."""


class Incoming(NamedTuple):
    """A transaction of checked form."""

    origin: ServerName
    txn_id: str
    pdus: Sequence[Json]
    edus: Sequence[Json]
    previous: Sequence[str]
    names_previous: bool


class Lost(Protocol):
    """`homeserver.services.federation.lost_transactions.LostTransactions`."""

    def note(self, origin: ServerName, last_known: str | None) -> None:
        """A new transaction named the one before; `last_known`: what we had last, if we never had that."""


class Outsiders(Protocol):
    """`homeserver.services.federation.outsiders.Outsiders`."""

    async def hear(self, origin: ServerName, pdu: Mapping[str, Json]) -> bool:
        """Does the event, of a room this server is not in, end an invite or knock of a user of ours?"""


class Inbox:
    """Takes transactions in."""

    def __init__(
        self,
        database: Database,
        store: StagedEventStore,
        gates: RoomGates,
        *,
        intake: RoomIntake,
        edus: IncomingEdus,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._store = store
        self._gates = gates
        self._intake = intake
        self._edus = edus
        self._clock = clock
        self._tasks = tasks
        self._locks = KeyedLock()
        self._inside: dict[ServerName, int] = {}
        self._uncounted: Counter[ServerName] = Counter()
        self._timer: DelayedCall | None = None
        self.lost: Lost | None = None
        self.outsiders: Outsiders | None = None

    async def start(self) -> None:
        """Go on with what waits."""
        await self._intake.start()
        self._timer = self._clock.call_later(FORGET_EVERY_S, self._start_forgetting)

    def stop(self) -> None:
        """Begin nothing new."""
        self._intake.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    async def take(self, origin: ServerName, txn_id: str, body: JsonObject) -> bytes:
        """The answer, as JSON. Raises BadJson, Forbidden; LimitExceeded when too much of the server waits."""
        incoming = _checked(origin, txn_id, body)
        inside = self._inside.get(origin, 0)
        if inside >= MOST_UNSEEN or (incoming.pdus and self._is_too_much(origin, len(incoming.pdus))):
            raise LimitExceeded(f"Too much of {origin} waits here", retry_after_ms=10_000)
        self._inside[origin] = inside + 1
        try:
            async with self._locks.hold((origin, txn_id)):
                return await self._take(incoming)
        finally:
            self._inside[origin] -= 1
            if not self._inside[origin]:
                del self._inside[origin]

    def _is_too_much(self, origin: ServerName, events: int) -> bool:
        """Would more events of the server fill the disk, or its share of it?"""
        waiting, in_all = self._intake.waiting_of(origin), self._intake.waiting_bytes
        if waiting.events + events > MOST_WAITING or waiting.size > MOST_WAITING_BYTES:
            return True
        if in_all > MOST_BYTES_IN_ALL:
            return waiting.size > SMALL_SHARE_BYTES or in_all > 2 * MOST_BYTES_IN_ALL
        return False

    async def _take(self, incoming: Incoming) -> bytes:
        origin, txn_id = incoming.origin, incoming.txn_id
        known = await self._database.look_up(self._store.answer, origin, txn_id)
        if known is not None:
            return known
        results, events = await self._judge(origin, incoming.pdus)
        await self._edus.receive(origin, incoming.edus)
        answer = orjson.dumps({"pdus": results})
        last_known, staged = await self._database.write(
            self._keep, incoming, answer, events, is_to_count=self._is_to_count(origin)
        )
        self._intake.add(origin, staged)
        if incoming.edus:
            self._tasks.start(f"EDUs of {origin}", self._edus.later(origin, incoming.edus))
        if incoming.names_previous and self.lost is not None:
            self.lost.note(origin, last_known)
        return answer

    async def _judge(self, origin: ServerName, pdus: Sequence[Json]) -> tuple[JsonObject, list[NewlyStaged]]:
        """What to answer for each event, and those that may wait for their rooms."""
        rooms = dict.fromkeys(room_id for pdu in pdus if (room_id := _room_of(pdu)) is not None)
        gates = await self._gates.admit(origin, rooms)
        results: JsonObject = {}
        events = []
        for pdu in pdus:
            judged = _judged(origin, pdu, gates)
            if isinstance(judged, NewlyStaged):
                events.append(judged)
                results[judged.event_id] = {}
            else:
                event_id, error = judged
                results[event_id] = {} if await self._is_heard(origin, pdu, gates) else {"error": error}
        return results, events

    async def _is_heard(
        self, origin: ServerName, pdu: Json, gates: Mapping[RoomId, RoomVersion | MatrixError]
    ) -> bool:
        """Does it mean something to a user of ours, although this server is not in the room?"""
        room_id = _room_of(pdu)
        if self.outsiders is None or room_id is None or not isinstance(pdu, dict):
            return False
        return isinstance(gates[room_id], NotHere) and await self.outsiders.hear(origin, pdu)

    def _is_to_count(self, origin: ServerName) -> bool:
        """Is it time to look how many transactions of the server are remembered?"""
        if len(self._uncounted) > MOST_SERVERS_COUNTED:
            self._uncounted.clear()
        self._uncounted[origin] += 1
        return self._uncounted[origin] % COUNTED == 0

    def _keep(
        self,
        txn: Transaction,
        incoming: Incoming,
        answer: bytes,
        events: Sequence[NewlyStaged],
        *,
        is_to_count: bool,
    ) -> tuple[str | None, list[tuple[RoomId, Staged]]]:
        origin, last_known = incoming.origin, None
        if any(self._store.answer(txn, origin, txn_id) is None for txn_id in incoming.previous):
            last_known = self._store.last_from(txn, origin)
        self._store.keep_answer(txn, origin, incoming.txn_id, answer, now_ms=self._clock.now_ms())
        if is_to_count:
            self._store.keep_newest(txn, origin, MOST_REMEMBERED)
        return last_known, self._store.stage(txn, origin, events)

    def _start_forgetting(self) -> None:
        self._timer = self._clock.call_later(FORGET_EVERY_S, self._start_forgetting)
        before_ms = self._clock.now_ms() - REMEMBERED_MS
        self._tasks.start(
            "forget old transactions",
            self._database.write(self._store.forget_transactions, before_ms=before_ms),
        )


def _checked(origin: ServerName, txn_id: str, body: JsonObject) -> Incoming:
    pdus, edus = body.get("pdus", []), body.get("edus", [])
    if not isinstance(pdus, list) or not isinstance(edus, list):
        raise BadJson("pdus and edus of a transaction are lists")
    if len(pdus) > MOST_PDUS or len(edus) > MOST_EDUS:
        raise TooManyEvents(f"A transaction holds at most {MOST_PDUS} events and {MOST_EDUS} EDUs")
    if body.get("origin", origin) != origin:
        raise Forbidden(f"The request is signed by {origin}, its body is of somebody else")
    if len(txn_id) > MAX_TXN_ID:
        raise BadJson(f"A transaction ID has at most {MAX_TXN_ID} characters")
    previous = body.get("prev_ids")
    names = [one for one in previous if isinstance(one, str)] if isinstance(previous, list) else []
    return Incoming(origin, txn_id, pdus, edus, names[:10], isinstance(previous, list))


def _room_of(pdu: Json) -> RoomId | None:
    room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
    if not isinstance(room_id, str) or len(room_id) > 255 or "\0" in room_id:
        return None
    return RoomId(room_id)


def _judged(
    origin: ServerName, pdu: Json, gates: Mapping[RoomId, RoomVersion | MatrixError]
) -> NewlyStaged | tuple[EventId, str]:
    """The event as it is to be kept, or its ID, as far as it has one, and what is wrong."""
    room_id = _room_of(pdu)
    if not isinstance(pdu, dict) or room_id is None:
        return _nameless(pdu), "This is no event of a room"
    version = gates[room_id]
    if isinstance(version, MatrixError):
        return _nameless(pdu), version.message
    try:
        event = parse_pdu(version, pdu)
    except MatrixError as error:
        return _name(version, pdu), error.message
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return _nameless(pdu), f"Malformed: {type(error).__name__}"
    if event.room_id != room_id:
        return event.event_id, "The event is of another room"
    if domain_of(event.sender) != origin and not content_hash_matches(version, pdu):
        # Of the sender's server it would be taken redacted. Others must not take its content away like that.
        return event.event_id, f"The content hash is wrong, and {event.sender} is not a user of {origin}"
    return NewlyStaged(room_id, event.event_id, event.raw)


def _name(version: RoomVersion, pdu: Mapping[str, Json]) -> EventId:
    """The event's ID if it has one in spite of everything."""
    try:
        return event_id_of(version, pdu)
    except (MatrixError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _nameless(pdu)


def _nameless(pdu: Json) -> EventId:
    """Something to call it in the answer: its own word, else a hash of it."""
    if isinstance(pdu, dict):
        claimed = pdu.get("event_id")
        if isinstance(claimed, str) and claimed[:1] == "$" and len(claimed) <= 255:
            return EventId(claimed)
        try:
            return EventId("$" + content_hash(pdu, strict=False).translate({43: 45, 47: 95}))
        except (MatrixError, ValueError, TypeError, RecursionError):
            pass
    return EventId("$")
