"""A database that is locked, full, gone, damaged or restarting gives clear errors, and recovers."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from homeserver.runtime.database import (
    CannotStart,
    Database,
    DatabaseCorrupt,
    DatabaseUnavailable,
    Transaction,
    open_database,
)
from homeserver.runtime.migrations import Migration
from tests.support.database import Databases
from tests.support.postgresql import Server
from tests.support.running import Running, ThreadLoop

TABLES = Migration(
    1,
    "tables",
    """
    CREATE TABLE notes (text TEXT NOT NULL);
    CREATE TABLE large (nid {AUTO_ID}, raw {BYTES} NOT NULL);
    """,
)


def insert(txn: Transaction, text: str) -> None:
    txn.execute("INSERT INTO notes (text) VALUES (%s)", (text,))


def texts(txn: Transaction) -> list[str]:
    return txn.column("SELECT text FROM notes ORDER BY text")


@pytest.fixture
def loop() -> ThreadLoop:
    return ThreadLoop()


def opened(url: str, loop: ThreadLoop, *, patience: float = 5.0) -> Database:
    database = open_database(url, loop, migrations=[TABLES], patience=patience)
    database.start()
    return database


class TestSqlite:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "test.db"

    @pytest.fixture
    def database(self, path: Path, loop: ThreadLoop) -> Iterator[Database]:
        database = opened(f"sqlite:///{path}", loop, patience=0.5)
        yield database
        loop.result(database.stop())

    def test_a_lock_that_is_let_go_is_waited_for(
        self, database: Database, path: Path, loop: ThreadLoop
    ) -> None:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, other.execute, ("ROLLBACK",)).start()
        loop.finish(*(database.write(insert, text) for text in "abc"))
        assert loop.result(database.read(texts)) == ["a", "b", "c"]
        other.close()

    def test_a_lock_that_is_kept_fails_the_write_but_no_read(
        self, database: Database, path: Path, loop: ThreadLoop
    ) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked by another program") as caught:
            loop.result(database.write(insert, "a"))
        assert (caught.value.status, caught.value.errcode) == (503, "M_UNKNOWN")
        assert loop.result(database.read(texts)) == []
        other.close()
        loop.result(database.write(insert, "b"))
        assert loop.result(database.read(texts)) == ["b"]

    def test_a_full_disk_fails_writes_until_there_is_room(
        self, database: Database, loop: ThreadLoop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend: Any = database._backend
        connect = backend.connect

        def connect_to_a_full_disk(*, writing: bool) -> Any:
            connection = connect(writing=writing)
            connection._raw.execute("PRAGMA max_page_count = 1")  # it has more already: none can be added
            return connection

        def insert_much(txn: Transaction) -> None:
            txn.execute("INSERT INTO large (raw) VALUES (%s)", (bytes(100_000),))

        monkeypatch.setattr(backend, "connect", connect_to_a_full_disk)
        database._writer._disconnect()
        running = [Running(database.write(insert_much)) for _ in range(3)]
        loop.until(lambda: all(one.is_done for one in running))
        for one in running:
            with pytest.raises(DatabaseUnavailable, match=r"The disk that holds the database .* is full"):
                one.result()
        assert loop.result(database.read(texts)) == []

        monkeypatch.setattr(backend, "connect", connect)
        loop.result(database.write(insert_much))

    def test_a_file_that_is_gone_fails_writes_until_it_is_back(
        self, database: Database, path: Path, loop: ThreadLoop
    ) -> None:
        loop.result(database.write(insert, "a"))
        path.rename(path.with_suffix(".away"))
        with pytest.raises(DatabaseUnavailable, match="is gone"):
            loop.result(database.write(insert, "b"))
        assert not path.exists()
        path.with_suffix(".away").rename(path)
        loop.result(database.write(insert, "c"))
        assert loop.result(database.read(texts)) == ["a", "c"]

    def test_a_file_that_was_replaced_is_not_written_to(
        self, database: Database, path: Path, loop: ThreadLoop
    ) -> None:
        other = path.with_suffix(".backup")
        sqlite3.connect(other).close()
        os.replace(other, path)
        with pytest.raises(DatabaseUnavailable, match="restart the server"):
            loop.result(database.write(insert, "a"))

    def test_a_damaged_page_fails_what_touches_it_and_nothing_else(
        self, path: Path, loop: ThreadLoop
    ) -> None:
        database = opened(f"sqlite:///{path}", loop)

        def fill(txn: Transaction) -> None:
            txn.executemany("INSERT INTO large (raw) VALUES (%s)", [(bytes(1_000),) for _ in range(500)])

        loop.result(database.write(fill))
        loop.result(database.stop())
        with path.open("r+b") as file:
            file.seek(20 * 4_096)
            file.write(b"\xff" * 60 * 4_096)

        database = opened(f"sqlite:///{path}", loop)
        with pytest.raises(DatabaseCorrupt, match=r"is damaged .* restore it from a backup") as caught:
            loop.result(database.read(lambda txn: txn.rows("SELECT nid, raw FROM large")))
        assert caught.value.status == 500
        running = [
            Running(database.write(insert, "a")),
            Running(database.write(lambda txn: txn.execute("DELETE FROM large"))),
            Running(database.write(insert, "b")),
        ]
        loop.until(lambda: all(one.is_done for one in running))
        with pytest.raises(DatabaseCorrupt):
            running[1].result()
        running[0].result()
        running[2].result()
        assert loop.result(database.read(texts)) == ["a", "b"]
        loop.result(database.stop())

    def test_what_is_no_database_is_not_started(self, path: Path) -> None:
        path.write_bytes(b"This is a text file, not a database. " * 100)
        with pytest.raises(CannotStart, match="is damaged"):
            open_database(f"sqlite:///{path}", inline=True).start()
        assert path.read_bytes().startswith(b"This is a text file")

    def test_a_directory_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CannotStart, match=r"no-such-place.*No such file or directory"):
            open_database(f"sqlite:///{tmp_path}/no-such-place/x.db", inline=True).start()

    def test_the_file_is_its_owners_alone(self, database: Database, path: Path, loop: ThreadLoop) -> None:
        loop.result(database.write(insert, "a"))
        for name in (path, f"{path}-wal", f"{path}.lock"):
            assert os.stat(name).st_mode & 0o077 == 0

    def test_too_many_waiting_writes_are_refused_at_once(
        self, database: Database, loop: ThreadLoop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("homeserver.runtime.database.database.MOST_WAITING", 0)
        with pytest.raises(DatabaseUnavailable, match="cannot keep up"):
            loop.result(database.write(insert, "a"))


class TestPostgresql:
    @pytest.fixture
    def server(self, databases: Databases) -> Server:
        return databases.server()

    @pytest.fixture
    def url(self, databases: Databases) -> str:
        return databases.empty("postgresql")

    @pytest.fixture
    def database(self, url: str, loop: ThreadLoop) -> Iterator[Database]:
        database = opened(url, loop)
        yield database
        loop.result(database.stop())

    def test_a_lost_connection_is_opened_again(
        self, database: Database, server: Server, loop: ThreadLoop
    ) -> None:
        for text in "abc":
            loop.result(database.write(insert, text))
            loop.result(database.read(texts))
            server.terminate_connections()
        assert loop.result(database.read(texts)) == ["a", "b", "c"]

    def test_a_connection_lost_in_the_middle_of_a_work_runs_it_again(
        self, database: Database, server: Server, loop: ThreadLoop
    ) -> None:
        runs: list[int] = []

        def work(txn: Transaction) -> int:
            insert(txn, "a")
            runs.append(1)
            if len(runs) == 1:
                server.terminate_connections()
            insert(txn, "b")
            return len(runs)

        assert loop.result(database.write(work)) == 2
        assert loop.result(database.read(texts)) == ["a", "b"]

    def test_a_connection_lost_during_the_commit_leaves_open_what_happened(
        self, database: Database, server: Server, loop: ThreadLoop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection: Any = database._writer.connect()
        commit: Callable[[], None] = connection.commit

        def lose_and_commit() -> None:
            server.terminate_connections()
            commit()

        monkeypatch.setattr(connection, "commit", lose_and_commit)
        with pytest.raises(DatabaseUnavailable, match="during a commit, which may have succeeded"):
            loop.result(database.write(insert, "a"))
        loop.result(database.write(insert, "b"))  # over a new connection
        assert "b" in loop.result(database.read(texts))

    @pytest.fixture
    def own_server(self, server: Server) -> Iterator[Server]:
        """One that may be killed."""
        own = Server()
        yield own
        own.stop()

    def test_a_server_that_is_down_fails_after_a_while_and_is_used_again(
        self, own_server: Server, loop: ThreadLoop
    ) -> None:
        database = opened(own_server.url(), loop, patience=0.3)
        loop.result(database.write(insert, "a"))
        own_server.kill()
        try:
            with pytest.raises(DatabaseUnavailable, match=r"restarting|is lost"):
                loop.result(database.write(insert, "b"))
            with pytest.raises(DatabaseUnavailable, match=r"restarting|is lost"):
                loop.result(database.read(texts))
        finally:
            own_server.start_again()
        loop.result(database.write(insert, "c"))
        assert loop.result(database.read(texts)) == ["a", "c"]
        loop.result(database.stop())

    def test_a_restart_within_the_patience_goes_unnoticed(self, own_server: Server, loop: ThreadLoop) -> None:
        database = opened(own_server.url(), loop, patience=20)
        own_server.kill()
        restart = threading.Timer(0.3, own_server.start_again)
        restart.start()
        loop.finish(*(database.write(insert, text) for text in "abc"))
        restart.join()
        assert loop.result(database.read(texts)) == ["a", "b", "c"]
        loop.result(database.stop())

    def test_works_that_get_in_each_others_way_are_run_again(
        self, url: str, database: Database, loop: ThreadLoop
    ) -> None:
        """A table lock held by another program for a while is waited for."""
        other = psycopg2.connect(url)
        other.cursor().execute("LOCK TABLE notes")
        threading.Timer(0.2, other.rollback).start()
        began = time.monotonic()
        loop.result(database.write(insert, "a"))
        assert time.monotonic() - began > 0.1
        other.close()

    def test_a_server_that_cannot_be_reached_is_not_started(self) -> None:
        with pytest.raises(CannotStart, match="Cannot connect to the database: "):
            open_database("postgresql:///x?host=/no/such/directory", inline=True).start()
