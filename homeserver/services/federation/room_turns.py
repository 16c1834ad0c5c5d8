"""What waits for one room: of each server a queue, and whose turn it is.

Servers take turns, so that none has to wait for all that another has sent.
"""

from collections import deque
from collections.abc import Awaitable, Callable

from homeserver.protocol.ids import ServerName
from homeserver.storage.staged_events import Staged

MOST_IN_HAND = 50
"""As many as a transaction has, in which they may come in any order."""
MOST_NEAR = 100
"""Of one server's events for the room, in memory; the others are read when their turn comes."""
MOST_JOBS = 200
"""Of one server."""
QUICK_S = 1.0

Job = Callable[[], Awaitable[object]]


class ServerQueue:
    """What one server sent into the room. `is_behind`: the database holds more than `near`."""

    __slots__ = ("in_hand", "is_behind", "near", "newest_nid", "skipped", "taken_nid")

    def __init__(self, in_hand: int) -> None:
        self.near: deque[Staged] = deque()
        self.taken_nid = self.newest_nid = 0
        self.is_behind = False
        self.skipped = False  # one came while it was behind
        self.in_hand = in_hand

    @property
    def is_empty(self) -> bool:
        return not (self.near or self.is_behind)

    @property
    def bytes_near(self) -> int:
        return sum(len(event.pdu) for event in self.near)

    @property
    def first_nid(self) -> int | None:
        """Nothing before this waits; None: nothing at all does."""
        if self.near:
            return self.near[0].nid
        return self.taken_nid + 1 if self.is_behind else None

    def add(self, event: Staged, *, has_memory: bool) -> bool:
        """One more event; False: it stays in the database."""
        self.newest_nid = event.nid
        if self.is_behind:
            self.skipped = True
            return False
        if len(self.near) >= MOST_NEAR or not has_memory:
            self.is_behind = True
            return False
        self.near.append(event)
        self.taken_nid = event.nid
        return True

    def reread(self) -> None:
        """Look at everything that waits in the database."""
        self.near.clear()
        self.taken_nid, self.is_behind = 0, True

    def loaded(self, events: list[Staged], *, upto: int, is_all: bool) -> None:
        """What the database has up to that nid, as far as its time has come."""
        self.near.extend(events)
        self.taken_nid = upto
        self.is_behind = self.skipped or not is_all

    def take(self) -> list[Staged]:
        """The next few."""
        return [self.near.popleft() for _ in range(min(self.in_hand, len(self.near)))]

    def note_time(self, took_s: float) -> None:
        """How long the last few have held up the room: the less, the more may be in hand next time."""
        self.in_hand = min(MOST_IN_HAND, self.in_hand * 2) if took_s < QUICK_S else 1


class RoomTurns:
    """All queues of a room, and jobs that wait for what is in them."""

    def __init__(self) -> None:
        self._queues: dict[ServerName, ServerQueue] = {}
        self._jobs: dict[ServerName, deque[tuple[int, Job]]] = {}

    def queue(self, origin: ServerName, in_hand: int = MOST_IN_HAND) -> ServerQueue:
        """The server's queue, made if need be."""
        queue = self._queues.get(origin)
        if queue is None:
            queue = self._queues[origin] = ServerQueue(in_hand)
        return queue

    def drop(self, origin: ServerName) -> None:
        """What the server sent waits in the database for another time."""
        self._queues.pop(origin, None)

    def add(self, origin: ServerName, event: Staged, *, has_memory: bool) -> bool:
        """One more event; False: it stays in the database."""
        return self.queue(origin).add(event, has_memory=has_memory)

    def next(self) -> tuple[ServerName, ServerQueue] | None:
        """Whose turn it is; None: nothing waits."""
        for origin, queue in self._queues.items():
            if not queue.is_empty:
                self._queues[origin] = self._queues.pop(origin)  # next time the others come first
                return origin, queue
        return None

    def forget_idle(self) -> None:
        """Drop the queues of those who have nothing here any more; the last of them is likely to go on."""
        idle = [origin for origin, queue in self._queues.items() if queue.is_empty]
        for origin in idle[:-1]:
            del self._queues[origin]

    def waiting_servers(self) -> list[ServerName]:
        """Those of whom something waits."""
        return [origin for origin, queue in self._queues.items() if not queue.is_empty]

    @property
    def is_empty(self) -> bool:
        return not self._jobs and all(queue.is_empty for queue in self._queues.values())

    @property
    def bytes_near(self) -> int:
        return sum(queue.bytes_near for queue in self._queues.values())

    def add_job(self, origin: ServerName, job: Job) -> None:
        """Do it once the events of the server that wait now have been dealt with.

        When a server has too many, its oldest are left out.
        """
        queue = self._queues.get(origin)
        jobs = self._jobs.setdefault(origin, deque(maxlen=MOST_JOBS))
        jobs.append((0 if queue is None else queue.newest_nid, job))

    def due_jobs(self) -> list[Job]:
        """Those that wait for nothing any more."""
        due: list[Job] = []
        for origin, jobs in list(self._jobs.items()):
            queue = self._queues.get(origin)
            first_nid = None if queue is None else queue.first_nid
            while jobs and (first_nid is None or jobs[0][0] < first_nid):
                due.append(jobs.popleft()[1])
            if not jobs:
                del self._jobs[origin]
        return due
