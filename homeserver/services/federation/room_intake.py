"""Events that were taken in, handed to their rooms: each server's in the order in which they came.

The database holds all that wait (`staged_events`); of each room the next few are in memory, too. An event
leaves the database when `receive` has judged it: a crash repeats what was in hand, and `receive` knows that.

Servers take turns, within a room (`room_turns.py`) and among rooms. One whose events hold up a room for which
others have sent something, too, rests for several times as long.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.json_values import Json
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import CancelledError, FairLimit
from homeserver.runtime.database import Database
from homeserver.runtime.memory import Memory
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.timing_wheel import TimingWheel
from homeserver.services.federation.room_turns import MOST_IN_HAND, Job, RoomTurns, ServerQueue
from homeserver.storage.staged_events import Staged, StagedEventStore

logger = logging.getLogger(__name__)

MOST_NEAR_BYTES = 32 * 1024 * 1024
"""So much of all rooms together is kept in memory; beyond, it is read again when its turn comes."""
PAGE, SMALL_PAGE = 50, 5
ROOMS_AT_ONCE, ROOMS_OF_ONE_SERVER = 32, 4
PLACE_S, NO_PLACE_REST_S = 2.0, 5.0
"""So long a room waits for a server that is busy in others: then its other servers come first for a while."""
MOST_ATTEMPTS = 13
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 3600.0
"""Twice as long after each attempt: what an event rests on is soon there again after a short outage."""
SLOW_S, REST_FACTOR = 5.0, 5.0
SLOW_FOR_S = 600.0
MOST_SLOW = 10_000
MOST_PAUSING = 20_000
TELL_EVERY_S = 60.0
"""A room's events that are refused get one line in the log: others decide how many there are."""


class Receiver(Protocol):
    """`homeserver.services.rooms.receiving.Receiving`."""

    async def receive(
        self, room_id: RoomId, pdus: Sequence[Mapping[str, Json]], *, origin: ServerName
    ) -> dict[EventId, MatrixError | None]:
        """What became of each. An error with status 500 or more: nothing was stored, try again later."""


class Waiting(NamedTuple):
    """How much waits."""

    events: int = 0
    size: int = 0

    def plus(self, events: int, size: int) -> "Waiting":
        return Waiting(self.events + events, self.size + size)


class RoomIntake:
    """One worker for each room that has something to do. One server keeps few of them busy at once."""

    def __init__(
        self,
        database: Database,
        store: StagedEventStore,
        receiver: Receiver,
        *,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._store = store
        self._receiver = receiver
        self._clock = clock
        self._tasks = tasks
        self._places: FairLimit[ServerName] = FairLimit(ROOMS_AT_ONCE, ROOMS_OF_ONE_SERVER)
        self._slow_places: FairLimit[ServerName] = FairLimit(ROOMS_AT_ONCE, ROOMS_OF_ONE_SERVER)
        self._rooms: dict[RoomId, RoomTurns] = {}
        self._waiting: dict[ServerName, Waiting] = {}
        self._near_bytes = 0
        self._resting: Memory[tuple[RoomId, ServerName], float] = Memory(clock, MOST_SLOW)  # until when
        self._slow: Memory[tuple[RoomId, ServerName], bool] = Memory(clock, MOST_SLOW)
        self._pausing: Memory[int, float] = Memory(clock, MOST_PAUSING)  # events' nids, until when
        self._told: Memory[RoomId, bool] = Memory(clock, MOST_SLOW)
        self._deferred: TimingWheel[tuple[RoomId, ServerName]] = TimingWheel(
            clock, lambda key: self._again(*key), step_s=1.0
        )
        self.waiting_bytes = 0
        """Of all servers' events, in the database."""

    async def start(self) -> None:
        """Go on where the last process stopped."""
        for room_id, origin, events, size in await self._database.read(self._store.waiting):
            self._count(origin, events, size)
            self._again(room_id, origin)

    def stop(self) -> None:
        """Begin nothing new."""
        self._deferred.stop()

    def waiting_of(self, origin: ServerName) -> Waiting:
        """How much of the server waits."""
        return self._waiting.get(origin, Waiting())

    def add(self, origin: ServerName, staged: Sequence[tuple[RoomId, Staged]]) -> None:
        """Events that were just stored."""
        for room_id, event in staged:
            self._count(origin, 1, len(event.pdu))
            if self._resting.get((room_id, origin)) is None:
                self._queue(room_id, origin)
                has_memory = self._near_bytes <= MOST_NEAR_BYTES
                if self._room(room_id).add(origin, event, has_memory=has_memory):
                    self._near_bytes += len(event.pdu)

    def after_events(self, room_id: RoomId, origin: ServerName, job: Job) -> None:
        """Do something once the server's events that wait for the room now have been dealt with."""
        self._room(room_id).add_job(origin, job)

    # The workers

    def _room(self, room_id: RoomId) -> RoomTurns:
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = RoomTurns()
            self._tasks.start(f"take in events of {room_id}", self._work(room_id, room))
        return room

    def _queue(self, room_id: RoomId, origin: ServerName) -> ServerQueue:
        is_slow = self._slow.get((room_id, origin)) is not None
        return self._room(room_id).queue(origin, 1 if is_slow else MOST_IN_HAND)

    def _again(self, room_id: RoomId, origin: ServerName) -> None:
        """Look at everything of the server that waits for the room, unless it rests."""
        rests_until = self._resting.get((room_id, origin))
        if rests_until is not None:
            self._deferred.put((room_id, origin), rests_until)
            return
        queue = self._queue(room_id, origin)
        self._near_bytes -= queue.bytes_near
        queue.reread()

    async def _work(self, room_id: RoomId, room: RoomTurns) -> None:
        await self._clock.sleep(0)
        in_hand: list[ServerName] = []
        try:
            while not room.is_empty:
                turn = room.next()
                if turn is not None:
                    in_hand[:] = turn[:1]
                    await self._give_turn(room_id, room, *turn)
                room.forget_idle()
                await self._run_jobs(room)
        except Exception:
            for origin in {*in_hand, *room.waiting_servers()}:
                self._deferred.put((room_id, origin), self._clock.monotonic() + FIRST_PAUSE_S)
            raise
        finally:
            del self._rooms[room_id]
            self._near_bytes -= room.bytes_near

    async def _give_turn(
        self, room_id: RoomId, room: RoomTurns, origin: ServerName, queue: ServerQueue
    ) -> None:
        is_slow = self._slow.get((room_id, origin)) is not None
        places = self._slow_places if is_slow else self._places
        async with places.place_within(origin, self._clock, PLACE_S) as is_free:
            took_s = await self._serve(room_id, origin, queue) if is_free else 0.0
        if not is_free:
            self._rest(room_id, room, origin, NO_PLACE_REST_S)
        elif took_s >= SLOW_S:
            self._slow.keep((room_id, origin), value=True, seconds=SLOW_FOR_S)
            if any(other != origin for other in room.waiting_servers()):
                self._rest(room_id, room, origin, took_s * REST_FACTOR)

    async def _serve(self, room_id: RoomId, origin: ServerName, queue: ServerQueue) -> float:
        """The next few events of one server; how long they took."""
        if not queue.near and queue.is_behind:
            await self._load(room_id, origin, queue)
        batch = queue.take()
        self._near_bytes -= sum(len(event.pdu) for event in batch)
        if not batch:
            return 0.0
        began = self._clock.monotonic()
        await self._hand_over(room_id, origin, batch)
        took_s = self._clock.monotonic() - began
        queue.note_time(took_s)
        return took_s

    def _rest(self, room_id: RoomId, room: RoomTurns, origin: ServerName, rest_s: float) -> None:
        """Leave the others some time: the server's events hold up the room."""
        rests_until = self._clock.monotonic() + rest_s
        self._resting.keep((room_id, origin), rests_until, rest_s)
        self._deferred.put((room_id, origin), rests_until)
        self._near_bytes -= room.queue(origin).bytes_near
        room.drop(origin)

    async def _load(self, room_id: RoomId, origin: ServerName, queue: ServerQueue) -> None:
        queue.skipped, after = False, queue.taken_nid
        limit = PAGE if self._near_bytes <= MOST_NEAR_BYTES else SMALL_PAGE
        events = await self._database.read(self._store.of_room, room_id, origin, after=after, limit=limit)
        if queue.taken_nid == after:  # else everything is to be looked at again
            due = [event for event in events if not self._is_pausing(room_id, event)]
            upto = events[-1].nid if events else after
            queue.loaded(due, upto=upto, is_all=len(events) < limit)
            self._near_bytes += sum(len(event.pdu) for event in due)

    def _is_pausing(self, room_id: RoomId, event: Staged) -> bool:
        """Was it tried a moment ago? What is new of its server does not use up its attempts."""
        until = self._pausing.get(event.nid)
        if until is not None:
            self._deferred.put((room_id, event.origin), until)
        return until is not None

    async def _hand_over(self, room_id: RoomId, origin: ServerName, events: list[Staged]) -> None:
        """Let the room judge events of one origin; what cannot be judged yet stays."""
        try:
            verdicts = await self._receiver.receive(
                room_id, [_decoded(event.pdu) for event in events], origin=origin
            )
        except CancelledError:
            raise  # the server stops: they wait for the next one
        except MatrixError as error:
            verdicts = dict.fromkeys((event.event_id for event in events), error)
        except Exception:
            logger.exception("%d events of %s from %s could not be taken in", len(events), room_id, origin)
            if len(events) > 1:  # one of them is at fault: see which
                for event in events:
                    await self._hand_over(room_id, origin, [event])
                return
            verdicts = {events[0].event_id: MatrixError("The event could not be taken in")}
        await self._settle(room_id, origin, events, verdicts)

    async def _settle(
        self, room_id: RoomId, origin: ServerName, events: list[Staged],
        verdicts: Mapping[EventId, MatrixError | None],
    ) -> None:  # fmt: skip
        done: list[Staged] = []
        later: list[Staged] = []
        for event in events:
            error = verdicts.get(event.event_id)
            if error is not None:
                self._tell(room_id, event, error)
            is_open = error is not None and error.status >= 500
            (later if is_open and event.attempts + 1 < MOST_ATTEMPTS else done).append(event)
        for event in later:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**event.attempts)
            until = self._clock.monotonic() + pause_s
            self._pausing.keep(event.nid, until, pause_s)
            self._deferred.put((room_id, origin), until)
        if later:
            await self._database.write(self._store.note_attempt, [event.nid for event in later])
        if done:
            await self._database.write(self._store.remove, [event.nid for event in done])
            self._count(origin, -len(done), -sum(len(event.pdu) for event in done))

    def _tell(self, room_id: RoomId, event: Staged, error: MatrixError) -> None:
        is_told = self._told.get(room_id) is not None
        if not is_told:
            self._told.keep(room_id, value=True, seconds=TELL_EVERY_S)
        level = logging.DEBUG if is_told else logging.INFO
        logger.log(level, "%s of %s from %s: %s", event.event_id, room_id, event.origin, error)

    def _count(self, origin: ServerName, events: int, size: int) -> None:
        waiting = self.waiting_of(origin).plus(events, size)
        self.waiting_bytes += size
        if waiting.events > 0:
            self._waiting[origin] = waiting
        else:
            self._waiting.pop(origin, None)

    async def _run_jobs(self, room: RoomTurns) -> None:
        for job in room.due_jobs():
            try:
                await job()
            except MatrixError as error:
                logger.debug("An EDU was of no use: %s", error)
            except Exception:
                logger.exception("An EDU could not be taken in")


def _decoded(pdu: bytes) -> Mapping[str, Json]:
    try:
        decoded: Mapping[str, Json] = orjson.loads(pdu)
        if orjson.dumps(decoded, option=orjson.OPT_SORT_KEYS) == pdu:
            return decoded
    except ValueError:
        pass
    exact: Mapping[str, Json] = json.loads(pdu)  # numbers that only old room versions have
    return exact
