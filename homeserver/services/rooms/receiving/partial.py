"""Rooms joined without their members: these are fetched afterwards, from any server that can tell.

Until then the state of such a room lacks memberships, its own checks take those an event names for true, and
readers get what is known. What is fetched is then put below everything that was kept meanwhile,
which is judged by it once more (`replaying`).
https://spec.matrix.org/latest/server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

import logging
from collections.abc import Sequence

import orjson

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.runtime.concurrency import FairLimit, Gate, KeyedLock
from homeserver.runtime.database import Transaction
from homeserver.services.rooms.ground import RoomGround
from homeserver.services.rooms.receiving.fetching import Fetching
from homeserver.services.rooms.receiving.outliers import RoomKey
from homeserver.services.rooms.receiving.ports import CannotJudge
from homeserver.services.rooms.receiving.replaying import MOST_NEW_SETS, Replay
from homeserver.services.rooms.receiving.rewriting import Rewriting
from homeserver.services.rooms.receiving.state_sets import StateSets
from homeserver.services.rooms.receiving.stored_events import StoredEvents
from homeserver.services.rooms.rooms import Rooms
from homeserver.storage.received_rooms import PartialRoom
from homeserver.storage.unproven_events import OF_JOINED_STATE

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0
MOST_ASKED = 50
"""Servers in a row; then those are given time."""
STATES_AT_ONCE = 4
"""Each may fill hundreds of megabytes of memory. Of one server only one."""


class _Job:
    """The completion of one room. `partial` is that of the last join, None if that brought everything."""

    def __init__(self, partial: PartialRoom) -> None:
        self.partial: PartialRoom | None = partial
        self.asked = 0
        """Servers beside the first; later rounds go on after them."""
        self.done = Gate()
        self.news = Gate()
        """Wakes up who sleeps."""


class PartialRooms:
    """Completes them, one job for each, until it is done, restarts or not, or nobody of ours is there."""

    def __init__(
        self, ground: RoomGround, rooms: Rooms, *, fetching: Fetching, sets: StateSets,
        stored: StoredEvents, rewriting: Rewriting, turns: KeyedLock,
    ) -> None:  # fmt: skip
        self._ground = ground
        self._database = ground.database
        self._stores = ground.stores
        self._rooms = rooms
        self._tasks = ground.tasks
        self._fetching = fetching
        self._sets = sets
        self._stored = stored
        self._rewriting = rewriting
        self._turns = turns
        self._places: FairLimit[ServerName] = FairLimit(STATES_AT_ONCE, 1)
        self._jobs: dict[RoomId, _Job] = {}

    async def start(self) -> None:
        """Go on with those that are not complete."""
        for partial in await self._database.read(self._stores.received_rooms.partial):
            self.begin(partial)

    def begin(self, partial: PartialRoom) -> None:
        """Start fetching what is missing. A join after all of ours had left begins anew."""
        job = self._jobs.get(partial.room_id)
        if job is not None:
            job.partial = partial
            job.news.pulse()
            return
        job = self._jobs[partial.room_id] = _Job(partial)
        self._tasks.start(f"complete the state of {partial.room_id}", self._complete(partial.room_id, job))

    def end(self, room_id: RoomId) -> None:
        """The room was joined anew, with all its members."""
        job = self._jobs.get(room_id)
        if job is not None:
            job.partial = None
            job.news.pulse()

    def is_partial(self, room_id: RoomId) -> bool:
        return room_id in self._jobs

    async def wait(self, room_id: RoomId, within_s: float) -> bool:
        """Is it complete, at the latest after so long?"""
        job = self._jobs.get(room_id)
        return job is None or await job.done.wait_for(self._ground.clock, within_s)

    async def _complete(self, room_id: RoomId, job: _Job) -> None:
        wait_s = FIRST_WAIT_S
        while (partial := job.partial) is not None:
            is_done = await self._is_done(job, partial)
            if job.partial is not partial:
                wait_s = FIRST_WAIT_S
            elif is_done:
                break
            else:
                await job.news.wait_for(self._ground.clock, wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        del self._jobs[room_id]
        job.done.open()

    async def _is_done(self, job: _Job, partial: PartialRoom) -> bool:
        """Try all servers that can tell; or give the room up, which all of ours have left."""
        servers = [ServerName(server) for server in orjson.loads(partial.servers)]
        try:
            room = await self._rooms.load(partial.room_id)
            if not room.joined_local:
                return await self._give_up(job, partial)
        except MatrixError as error:
            logger.warning("%s cannot be completed now: %s", partial.room_id, error.message)
            return False
        candidates = dict.fromkeys([*servers, *room.other_servers()])
        for server in _next_to_ask(job, list(candidates)):
            try:
                if await self._complete_from(job, partial, server):
                    return True
            except MatrixError as error:
                logger.info("%s does not tell the state of %s: %s", server, partial.room_id, error.message)
            except Exception:  # whatever that answer is: the next server's may be better
                logger.exception("The state of %s that %s tells cannot be used", partial.room_id, server)
            if job.partial is not partial:
                break
        return False

    async def _give_up(self, job: _Job, partial: PartialRoom) -> bool:
        """Nobody tells strangers more. Who comes back begins anew."""
        async with self._turns.hold(partial.room_id):
            room = await self._rooms.load(partial.room_id)
            if room.joined_local or job.partial is not partial:
                return False
            await self._database.write(self._stores.received_rooms.remove_partial, room.nid)
            self._rooms.discard(room)
        return True

    async def _complete_from(self, job: _Job, partial: PartialRoom, server: ServerName) -> bool:
        """Raises what is wrong with the server, or with the database."""
        room = await self._rooms.load(partial.room_id)
        async with self._places.place(server):
            state_nid = await self._fetching.whole_state_before(
                room, partial.join_id, server, part=OF_JOINED_STATE
            )
        async with self._turns.hold(partial.room_id):
            if job.partial is not partial:
                return False
            key = RoomKey(room.room_id, room.nid, room.version)
            numbers = self._stored.past_nids(1 + MOST_NEW_SETS)

            def work(txn: Transaction, position: int) -> list[EventId]:
                return self._make_whole(txn, key, partial, state_nid, position=position, numbers=numbers)

            await self._rewriting.run(partial.room_id, work)
        return True

    # In one transaction

    def _make_whole(
        self, txn: Transaction, key: RoomKey, partial: PartialRoom, state_nid: int, *, position: int,
        numbers: Sequence[int],
    ) -> list[EventId]:  # fmt: skip
        """The whole state goes under what was kept since the join: the events that stand otherwise now."""
        stores = self._stores
        row = txn.row("SELECT tip, heads, depth FROM rooms WHERE nid = %s", (key.nid,))
        if row is None:
            raise CannotJudge("The room is gone")
        tip, heads, depth = row
        state_nid = self._as_first_told(txn, key.nid, partial, state_nid, numbers[0])
        replay = Replay(txn, stores, self._sets, room=key, partial=partial, numbers=numbers[1:])
        replayed = replay.run(state_nid, orjson.loads(heads))
        stores.rooms.advance(
            txn, key.nid, expected_tip=tip, tip=position, heads=orjson.dumps(replayed.heads), depth=depth,
            state_nid=replayed.state_nid,
        )  # fmt: skip
        self._rewriting.make_current(txn, key.nid, replayed.state_nid, position)
        stores.received_rooms.remove_partial(txn, key.nid)
        if replayed.is_seen:  # what is behind clients is not as it was: they are to read it again
            stores.received_events.set_last_gap(txn, key.nid, position)
        return replayed.changed

    def _as_first_told(
        self, txn: Transaction, room_nid: int, partial: PartialRoom, state_nid: int, number: int
    ) -> int:
        """The set with what was told at the join, which others may only add to. `number` is for it.

        The join itself is not part of the state before it.
        """
        state = self._stores.state
        told = state.state_ids(txn, partial.state_nid)
        join = self._stores.received_events.known(txn, [partial.join_id])[partial.join_id]
        key = join.state_key_nid or 0
        held = state.pick(txn, state_nid, [*told, key])
        other = {key: nid for key, nid in told.items() if held.get(key) != nid}
        if key not in told and held.get(key) == join.nid:
            other[key] = 0
        return self._sets.keep_near(txn, room_nid, state_nid, other, number) if other else state_nid


def _next_to_ask(job: _Job, candidates: list[ServerName]) -> list[ServerName]:
    """The server that let us in, and some of the others in turn."""
    first, others = candidates[:1], candidates[1:]
    start = job.asked % max(1, len(others))
    job.asked += MOST_ASKED - 1
    return [*first, *others[start:], *others[:start]][:MOST_ASKED]
