"""Events that were taken in, handed to their rooms: each room in the order in which they came.

The database holds all that wait (`staged_events`); of each room the next few are in memory, too. An event
leaves the database when `receive` has judged it: a crash repeats what was in hand, and `receive` knows that.
"""

import json
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import orjson

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.json_values import Json
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import Limit
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.timing_wheel import TimingWheel
from homeserver.storage.staged_events import Staged, StagedEventStore

logger = logging.getLogger(__name__)

MOST_IN_HAND = 50
MOST_NEAR = 200
MOST_NEAR_BYTES = 32 * 1024 * 1024
"""So much of all rooms together is kept in memory; beyond, it is read again when its turn comes."""
MOST_JOBS = 200
MOST_ATTEMPTS = 10
FIRST_PAUSE_S = 15.0
LONGEST_PAUSE_S = 3600.0

Job = Callable[[], Awaitable[object]]


class Receiver(Protocol):
    """`homeserver.services.rooms.receiving.Receiving`."""

    async def receive(
        self, room_id: RoomId, pdus: Sequence[Mapping[str, Json]], *, origin: ServerName
    ) -> dict[EventId, MatrixError | None]:
        """What became of each. An error with status 500 or more: nothing was stored, try again later."""


class _Room:
    """A room with something to do."""

    __slots__ = ("is_behind", "jobs", "near", "skipped", "taken_nid")

    def __init__(self) -> None:
        self.near: deque[Staged] = deque()
        self.jobs: deque[tuple[int, Job]] = deque()
        self.taken_nid = 0
        self.is_behind = False  # the database holds events that are not in `near`
        self.skipped = False  # one came while it was behind


class RoomIntake:
    """One worker for each room that has something to do."""

    def __init__(
        self,
        database: Database,
        store: StagedEventStore,
        receiver: Receiver,
        *,
        clock: Clock,
        tasks: Tasks,
        rooms_at_once: int = 16,
    ) -> None:
        self._database = database
        self._store = store
        self._receiver = receiver
        self._clock = clock
        self._tasks = tasks
        self._places = Limit(rooms_at_once)
        self._rooms: dict[RoomId, _Room] = {}
        self._waiting: Counter[ServerName] = Counter()
        self._near_bytes = 0
        self._deferred: TimingWheel[RoomId] = TimingWheel(clock, self._again, step_s=5.0)

    async def start(self) -> None:
        """Go on where the last process stopped."""
        for room_id, origin, count in await self._database.read(self._store.waiting):
            self._waiting[origin] += count
            self._again(room_id)

    def stop(self) -> None:
        """Begin nothing new."""
        self._deferred.stop()

    def waiting_of(self, origin: ServerName) -> int:
        """How many events of the server wait."""
        return self._waiting[origin]

    def add(self, origin: ServerName, staged: Sequence[tuple[RoomId, Staged]]) -> None:
        """Events that were just stored."""
        self._waiting[origin] += len(staged)
        for room_id, event in staged:
            room = self._room(room_id)
            if room.is_behind:
                room.skipped = True
            elif len(room.near) >= MOST_NEAR or self._near_bytes > MOST_NEAR_BYTES:
                room.is_behind = True
            else:
                room.near.append(event)
                room.taken_nid = event.nid
                self._near_bytes += len(event.pdu)

    def after_events(self, room_id: RoomId, job: Job) -> None:
        """Do something once the events that wait for the room now have been dealt with."""
        room = self._room(room_id)
        room.jobs.append((room.taken_nid, job))
        if len(room.jobs) > MOST_JOBS:
            room.jobs.popleft()

    # The workers

    def _room(self, room_id: RoomId) -> _Room:
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = _Room()
            self._tasks.start(f"take in events of {room_id}", self._work(room_id, room))
        return room

    def _again(self, room_id: RoomId) -> None:
        """Look at everything that waits for the room."""
        room = self._room(room_id)
        self._near_bytes -= sum(len(event.pdu) for event in room.near)
        room.near.clear()
        room.taken_nid, room.is_behind = 0, True

    async def _work(self, room_id: RoomId, room: _Room) -> None:
        await self._clock.sleep(0)
        try:
            while room.near or room.is_behind or room.jobs:
                async with self._places.place():
                    if not room.near and room.is_behind:
                        await self._load(room_id, room)
                    batch = self._take(room)
                    for origin, events in groupby(batch, key=lambda event: event.origin):
                        await self._hand_over(room_id, origin, list(events))
                await self._run_jobs(room, batch[-1].nid if batch else room.taken_nid)
        except Exception:
            self._deferred.put(room_id, self._clock.monotonic() + FIRST_PAUSE_S)
            raise
        finally:
            del self._rooms[room_id]
            self._near_bytes -= sum(len(event.pdu) for event in room.near)

    async def _load(self, room_id: RoomId, room: _Room) -> None:
        room.skipped, after = False, room.taken_nid
        events = await self._database.read(self._store.of_room, room_id, after=after, limit=MOST_NEAR)
        if room.taken_nid != after:
            return  # everything is to be looked at again
        room.near.extend(events)
        self._near_bytes += sum(len(event.pdu) for event in events)
        if events:
            room.taken_nid = events[-1].nid
        room.is_behind = room.skipped or len(events) == MOST_NEAR

    def _take(self, room: _Room) -> list[Staged]:
        batch = [room.near.popleft() for _ in range(min(MOST_IN_HAND, len(room.near)))]
        self._near_bytes -= sum(len(event.pdu) for event in batch)
        return batch

    async def _hand_over(self, room_id: RoomId, origin: ServerName, events: list[Staged]) -> None:
        """Let the room judge events of one origin; what cannot be judged yet stays."""
        try:
            verdicts = await self._receiver.receive(
                room_id, [_decoded(event.pdu) for event in events], origin=origin
            )
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
                logger.info("%s of %s from %s: %s", event.event_id, room_id, origin, error)
            is_open = error is not None and error.status >= 500
            (later if is_open and event.attempts + 1 < MOST_ATTEMPTS else done).append(event)
        if later:
            attempts = max(event.attempts for event in later)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts)
            self._deferred.put(room_id, self._clock.monotonic() + pause_s)
            await self._database.write(self._store.note_attempt, [event.nid for event in later])
        if done:
            self._waiting[origin] -= await self._database.write(
                self._store.remove, [event.nid for event in done]
            )
            if self._waiting[origin] <= 0:
                del self._waiting[origin]

    async def _run_jobs(self, room: _Room, upto: int) -> None:
        while room.jobs and (room.jobs[0][0] <= upto or not (room.near or room.is_behind)):
            _, job = room.jobs.popleft()
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
