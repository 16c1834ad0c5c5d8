"""Rooms come into memory without holding up the reactor."""

from pathlib import Path
from threading import current_thread

import pytest

from homeserver.protocol.ids import RoomId, ServerName
from homeserver.runtime.database import open_database
from homeserver.services.rooms import rooms as rooms_module
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.rooms import Rooms
from tests.support.clock import FakeClock
from tests.support.database import Databases, storage_migrations
from tests.support.running import ThreadLoop
from tests.support.whole_server import WholeServer


def test_a_room_is_put_together_on_the_thread_that_reads_it(
    databases: Databases, time: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = databases.fresh("sqlite")
    server = WholeServer(url, time, folder=tmp_path)
    room_id = RoomId(server.register("alice").create_room())
    stores = server.services.traffic.ground.stores
    server.stop()
    threads = []

    class Noted(Room):
        def __init__(self, *args: object) -> None:
            threads.append(current_thread())
            super().__init__(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rooms_module, "Room", Noted)
    loop = ThreadLoop()
    database = open_database(url, loop, migrations=storage_migrations())
    database.start()
    try:
        rooms = Rooms(database, (stores.rooms, stores.state, stores.received_events), ServerName("test"))
        room = loop.result(rooms.load(room_id))
        assert len(room.joined) == 1
        assert threads != []
        assert current_thread() not in threads
    finally:
        loop.result(database.stop())
