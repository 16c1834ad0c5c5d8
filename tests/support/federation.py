"""Several whole servers in memory that federate with one another: no sockets, one clock.

    def test_a_message_arrives(federation):
        one, two = federation.servers("one", "two")
        alice, bob = one.register("alice"), two.register("bob")
        room = alice.create_room(preset="public_chat")
        federation.join(bob, room, via="one")  # through make_join and send_join
        alice.send(room, "hello")
        federation.settle()                    # until nobody has anything left to send
        assert "hello" in bob.sync().texts(room)

`federation.part("one", "two")` cuts them off from each other, `federation.heal()` ends all cuts and makes
everybody try again. `state_of` and `events_of` tell what servers have of a room; `check_agreement` compares.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from homeserver.protocol.ids import RoomId
from homeserver.runtime.database import Transaction
from tests.support.clock import FakeClock
from tests.support.network import Network
from tests.support.people import Person, path
from tests.support.resolved_state import check_sets
from tests.support.running import result
from tests.support.whole_server import WholeServer

SETTINGS = """
server_name: {name}
registration: {{mode: open}}
passwords: {{hash_passes: 1, hash_memory_kib: 8}}
rate_limits: {{enabled: false}}
presence: {{enabled: false}}
federation: {{trusted_key_servers: [], identity_servers: [id.example]}}
"""
STEPS = 200
STEP_S = 0.05


class KeptEvent(NamedTuple):
    """An event as a server keeps it. `status`: 0 accepted, 1 rejected, 2 soft failed, 3 outlier,
    4 accepted and hidden."""

    event_id: str
    status: int
    nid: int


class Federation:
    """Servers that know one another."""

    def __init__(self, time: FakeClock, fresh_database: Callable[[], str], folder: Path) -> None:
        self.time = time
        self.network = Network()
        self._fresh_database = fresh_database
        self._folder = folder
        self.all: dict[str, WholeServer] = {}

    def servers(self, *names: str) -> list[WholeServer]:
        """Start them, or get them when they run."""
        return [self.all.get(name) or self._start(name) for name in names]

    def _start(self, name: str) -> WholeServer:
        folder = self._folder / name
        folder.mkdir()
        settings = SETTINGS.format(name=name)
        server = WholeServer(
            self._fresh_database(), self.time, settings=settings, folder=folder, network=self.network
        )
        self.all[name] = server
        return server

    def stop(self) -> None:
        for server in self.all.values():
            server.stop()

    def join(self, person: Person, room: str, *, via: str, refused: str | None = None) -> None:
        """Through another server, where theirs is not in the room."""
        person.ask("POST", path("join", room), {}, refused=refused, via=via)
        self.settle(1)

    # Time and distance

    def settle(self, seconds: float = STEPS * STEP_S) -> None:
        """Let time pass, in small steps, for what is on its way to arrive."""
        for _ in range(int(seconds / STEP_S)):
            before = len(self.network.sent)
            self.time.advance(STEP_S)
            if len(self.network.sent) == before and not self._is_busy():
                break

    def _is_busy(self) -> bool:
        """Does anybody have something to do within the next second?"""
        now = self.time.reactor.seconds()
        return any(call.getTime() <= now + STEP_S for call in self.time.reactor.getDelayedCalls())

    def part(self, *names: str) -> None:
        """Each of them is cut off from all others."""
        for name in names:
            for other in self.all:
                if other != name:
                    self.network.cut(name, other)

    def heal(self, *, after_s: float = 7_200.0) -> None:
        """Everybody reaches everybody; long enough for all who gave up to have tried again."""
        self.network.heal()
        for _ in range(int(after_s / 60)):
            self.time.advance(60)
        self.settle()

    # What servers have

    def state_of(self, room: str, name: str) -> dict[tuple[str, str], str]:
        """The current state there: {(type, state key): event id}, by its rows."""
        server = self.all[name]

        def read(txn: Transaction) -> list[Any]:
            return txn.rows(
                """
                SELECT k.type, k.state_key, e.event_id FROM current_state AS s
                JOIN rooms ON rooms.nid = s.room_nid JOIN state_keys AS k ON k.nid = s.state_key_nid
                JOIN events AS e ON e.nid = s.event_nid WHERE rooms.room_id = %s""",
                (room,),
            )

        return {(row[0], row[1]): row[2] for row in self.read(server, read)}

    def events_of(self, room: str, name: str) -> dict[str, KeptEvent]:
        """Everything there that is kept of the room."""
        server = self.all[name]

        def read(txn: Transaction) -> list[Any]:
            return txn.rows(
                """
                SELECT e.event_id, e.status, e.nid FROM events AS e JOIN rooms ON rooms.nid = e.room_nid
                WHERE rooms.room_id = %s""",
                (room,),
            )

        return {row[0]: KeptEvent(*row) for row in self.read(server, read)}

    def accepted(self, room: str, name: str) -> set[str]:
        """The events there that are part of the room's history."""
        return {event_id for event_id, event in self.events_of(room, name).items() if event.status in (0, 4)}

    def heads_of(self, room: str, name: str) -> list[str]:
        """The forward extremities there, by the row."""
        server = self.all[name]
        heads: list[str] = orjson.loads(
            self.read(server, lambda txn: txn.value("SELECT heads FROM rooms WHERE room_id = %s", (room,)))
        )
        return heads

    def pdu(self, event_id: str, name: str) -> dict[str, Any]:
        """An event as it was signed."""
        server = self.all[name]
        raw = self.read(
            server, lambda txn: txn.value("SELECT raw FROM events WHERE event_id = %s", (event_id,))
        )
        pdu: dict[str, Any] = orjson.loads(raw)
        return pdu

    def read(self, server: WholeServer, work: Callable[[Transaction], Any]) -> Any:
        """Ask its database."""
        return result(server.database.read(work))

    def check_agreement(self, room: str, *names: str) -> None:
        """When all has arrived, these servers have the same state."""
        self.settle()
        states = [self.state_of(room, name) for name in names]
        assert all(state == states[0] for state in states)

    def check_memory(self, room: str, name: str) -> None:
        """What the server has of the room in memory is what it stored, and what its heads resolve to."""
        self.read(self.all[name], lambda txn: check_sets(txn, room))
        rooms = self.all[name].services.rooms.rooms
        known = rooms.find(RoomId(room))
        if known is None:
            return
        assert {key: standing.event_id for key, standing in known.state.items()} == self.state_of(room, name)
        assert sorted(known.heads) == sorted(self.heads_of(room, name))


def federate(
    time: FakeClock, fresh_database: Callable[[], str], folder: Path, names: Sequence[str] = ()
) -> Iterator[Federation]:
    """For fixtures."""
    federation = Federation(time, fresh_database, folder)
    federation.servers(*names)
    yield federation
    federation.stop()
