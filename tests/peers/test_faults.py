"""The ground gives way under a running server: clients are told, nothing answered is lost, and it recovers.

What the tests break: the disk, the lock on the database, the file itself, PostgreSQL, a row.
"""

import asyncio
import os
import resource
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.crash_world import V3, registration
from tests.support.database import Databases
from tests.support.http_client import Answer, HttpClient
from tests.support.postgresql import Server as Postgresql
from tests.support.server_process import ServerProcess

KIB, MIB = 1024, 1024 * 1024
UPLOAD = "/_matrix/media/v3/upload"


class Chat:
    """One person in one room, who remembers what the server said yes to."""

    def __init__(self, server: ServerProcess) -> None:
        self.http = HttpClient("127.0.0.1", server.port)
        self.room = ""
        self.sent: dict[str, str] = {}  # transaction id -> event id

    async def begin(self) -> None:
        self.http.token = (await self.http.ok("POST", f"{V3}/register", registration("alice")))[
            "access_token"
        ]
        self.room = (await self.http.ok("POST", f"{V3}/createRoom", {}))["room_id"]
        await self.send_well("before")

    async def send(self, txn_id: str, size: int = 10) -> Answer:
        path = f"{V3}/rooms/{quote(self.room)}/send/m.room.message/{txn_id}"
        answer = await self.http.request("PUT", path, {"msgtype": "m.text", "body": "x" * size})
        if answer.status == 200:
            self.sent[txn_id] = answer.json["event_id"]
        return answer

    async def send_well(self, txn_id: str) -> None:
        answer = await self.send(txn_id)
        assert answer.status == 200, answer.body

    async def read(self) -> list[str]:
        """Every event of the room, from the newest on."""
        ids: list[str] = []
        query: dict[str, str | int] = {"dir": "b", "limit": 100}
        while True:
            page = await self.http.ok("GET", f"{V3}/rooms/{quote(self.room)}/messages", query=query)
            ids += [event["event_id"] for event in page["chunk"]]
            if "end" not in page:
                return ids
            query["from"] = page["end"]

    async def all_is_well(self) -> None:
        """It goes on, and all that was answered is there, once."""
        await self.send_well("after")
        await self.http.ok("GET", f"{V3}/sync", query={"timeout": 0})
        ids = await self.read()
        assert len(set(ids)) == len(ids)
        assert set(self.sent.values()) <= set(ids)


def check_refusal(answer: Answer, *words: str) -> None:
    """A standard error that says what is wrong and whose turn it is."""
    assert answer.status in (500, 503, 507), (answer.status, answer.body)
    assert answer.json["errcode"] == "M_UNKNOWN"
    for word in words:
        assert word in answer.json["error"]
    assert b"Traceback" not in answer.body


def run(server: ServerProcess, scenario: Callable[[Chat], Awaitable[None]]) -> None:
    async def whole() -> None:
        chat = Chat(server)
        await chat.begin()
        await scenario(chat)
        await chat.all_is_well()
        chat.http.close()

    asyncio.run(whole())
    assert server.stop() == 0


async def send_until_refused(chat: Chat) -> Answer:
    for number in range(2_000):
        answer = await chat.send(f"fill{number}", 30 * KIB)
        if answer.status != 200:
            return answer
    raise AssertionError("The disk never got full")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB, where a disk may be mounted."""
    disk = tmp_path / "server" / "data"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", str(disk)], capture_output=True
    ).returncode
    if mounted != 0:
        pytest.skip("mounting is not allowed here: the next test does without")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def remount_larger(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting is for root: the next test does without")
def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")

    async def scenario(chat: Chat) -> None:
        check_refusal(await send_until_refused(chat), "full", "make room")
        check_refusal(await chat.http.request("POST", UPLOAD, os.urandom(MIB)), "full")
        check_refusal(await chat.http.request("POST", f"{V3}/createRoom", {"topic": "x" * 30 * KIB}), "full")
        assert set(chat.sent.values()) <= set(await chat.read())
        await asyncio.to_thread(remount_larger, small_disk)
        await chat.http.ok("POST", UPLOAD, os.urandom(MIB))

    try:
        server.start()
        run(server, scenario)
    finally:
        server.end()
    assert not server.tracebacks(), server.tracebacks()


def test_files_that_may_not_grow(server: ServerProcess) -> None:
    """What a quota does; the kernel says EFBIG instead of ENOSPC."""

    async def scenario(chat: Chat) -> None:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (3 * MIB, resource.RLIM_INFINITY))
        check_refusal(await send_until_refused(chat), "disk")
        check_refusal(await chat.http.request("POST", UPLOAD, os.urandom(4 * MIB)), "full")
        assert set(chat.sent.values()) <= set(await chat.read())
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await chat.http.ok("POST", UPLOAD, os.urandom(4 * MIB))

    run(server, scenario)


@pytest.mark.slow
def test_a_locked_database(server: ServerProcess) -> None:
    async def scenario(chat: Chat) -> None:
        other = sqlite3.connect(server.folder / "data" / "homeserver.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        waiting = [asyncio.create_task(chat.send(f"locked{number}")) for number in range(5)]
        await asyncio.sleep(0.5)
        assert await chat.read()  # readers do not notice
        for answer in await asyncio.gather(*waiting):
            check_refusal(answer, "locked by another program", "try again")
        again = asyncio.create_task(chat.send("locked0"))
        await asyncio.sleep(0.3)
        assert not again.done()
        other.execute("ROLLBACK")
        assert (await again).status == 200
        other.close()

    run(server, scenario)


def test_a_database_that_vanished(server: ServerProcess) -> None:
    path = server.folder / "data" / "homeserver.db"

    async def scenario(chat: Chat) -> None:
        path.rename(path.with_suffix(".away"))
        check_refusal(await chat.send("gone"), "is gone", "put it back")
        check_refusal(await chat.http.request("POST", f"{V3}/createRoom", {}), "is gone")
        assert not path.exists()
        path.with_suffix(".away").rename(path)
        await chat.send_well("gone")

    run(server, scenario)


@pytest.fixture
def postgresql(databases: Databases) -> Iterator[Postgresql]:
    """One that may be stopped. Skips or fails like the shared one where there is none."""
    databases.server()
    own = Postgresql()
    yield own
    own.stop()


@pytest.mark.slow
def test_postgresql_stopped_and_started_again(postgresql: Postgresql, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", database=postgresql.create_database("postroom"))

    async def scenario(chat: Chat) -> None:
        postgresql.kill()
        try:
            waiting = [asyncio.create_task(chat.send(f"down{number}")) for number in range(3)]
            reading = asyncio.create_task(chat.http.request("GET", f"{V3}/pushers"))
            for answer in await asyncio.gather(*waiting, reading):
                check_refusal(answer, "database")
            late = asyncio.create_task(chat.send("late"))
            await asyncio.sleep(0.2)
        finally:
            postgresql.start_again()
        answer = await late  # it was answered within the patience
        assert answer.status == 200, answer.body
        for number in range(3):
            await chat.send_well(f"down{number}")

    try:
        server.start()
        run(server, scenario)
    finally:
        server.end()
    assert not server.tracebacks(), server.tracebacks()


def test_a_damaged_row(server: ServerProcess) -> None:
    """A message that is garbage is missing from sync and history, and that is all."""

    async def scenario(chat: Chat) -> None:
        await chat.send_well("damaged")
        await chat.send_well("whole")
        event_id = chat.sent.pop("damaged")
        assert server.stop() == 0
        path = server.folder / "data" / "homeserver.db"
        with sqlite3.connect(path) as database:
            database.execute("UPDATE events SET raw = X'00FF' WHERE event_id = ?", (event_id,))
        database.close()
        chat.http.close()
        server.start()
        synced: Any = await chat.http.ok("GET", f"{V3}/sync", query={"timeout": 0})
        timeline = synced["rooms"]["join"][chat.room]["timeline"]["events"]
        assert chat.sent["whole"] == timeline[-1]["event_id"]
        assert event_id not in await chat.read()
        assert server.log_end().count(event_id) == 1

    run(server, scenario)
