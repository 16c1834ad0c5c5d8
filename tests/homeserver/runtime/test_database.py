"""What a caller may rely on, on both databases, with threads and without."""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from homeserver.protocol.errors import Forbidden
from homeserver.runtime import log_context
from homeserver.runtime.concurrency import gather
from homeserver.runtime.database import (
    CannotStart,
    DatabaseUnavailable,
    Transaction,
    UnstorableValue,
    marks,
    open_database,
)
from homeserver.runtime.migrations import DialectName, Migration
from tests.support.running import Running, ThreadLoop

T = TypeVar("T")

TABLES = Migration(
    1,
    "tables",
    """
    CREATE TABLE notes (nid {AUTO_ID}, text TEXT NOT NULL UNIQUE, raw {BYTES}, is_read BOOLEAN, size BIGINT);
    CREATE TABLE counts (name TEXT PRIMARY KEY, count BIGINT NOT NULL);
    """,
)


@dataclass(frozen=True)
class Note:
    nid: int
    text: str


class Opened:
    """A database and the loop that its threads (if any) report to."""

    def __init__(self, url: str, *, inline: bool) -> None:
        self.loop = ThreadLoop()
        self.database = open_database(url, self.loop, inline=inline, durable=False, migrations=[TABLES])
        self.database.start()

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.result(coroutine)

    def write(self, work: Callable[..., T], *args: object) -> T:
        return self.result(self.database.write(work, *args))

    def read(self, work: Callable[..., T], *args: object) -> T:
        return self.result(self.database.read(work, *args))

    def texts(self) -> list[str]:
        return self.read(all_texts)


def insert(txn: Transaction, text: str) -> int:
    nid: int = txn.value("INSERT INTO notes (text) VALUES (%s) RETURNING nid", (text,))
    return nid


def insert_and_fail(txn: Transaction, text: str) -> None:
    insert(txn, text)
    raise Forbidden(f"not {text}")


def all_texts(txn: Transaction) -> list[str]:
    return txn.column("SELECT text FROM notes ORDER BY nid")


@pytest.fixture(params=[True, False], ids=["inline", "threads"])
def opened(request: pytest.FixtureRequest, empty_database_url: str) -> Iterator[Opened]:
    one = Opened(empty_database_url, inline=request.param)
    yield one
    one.loop.result(one.database.stop())


@pytest.fixture
def threaded(empty_database_url: str) -> Iterator[Opened]:
    one = Opened(empty_database_url, inline=False)
    yield one
    one.loop.result(one.database.stop())


class TestTransaction:
    def test_rows_and_records(self, opened: Opened) -> None:
        def work(txn: Transaction) -> None:
            first, second = insert(txn, "a"), insert(txn, "b")
            in_order = "SELECT nid, text FROM notes ORDER BY nid"
            assert txn.rows(in_order) == [(first, "a"), (second, "b")]
            assert txn.row(in_order) == (first, "a")
            assert txn.value(in_order) == first
            assert txn.column(in_order) == [first, second]
            assert txn.all(Note, in_order) == [Note(first, "a"), Note(second, "b")]
            assert txn.one(Note, in_order) == Note(first, "a")

        opened.write(work)

    def test_no_rows(self, opened: Opened) -> None:
        def work(txn: Transaction) -> None:
            nothing = "SELECT nid, text FROM notes"
            assert txn.rows(nothing) == txn.column(nothing) == txn.all(Note, nothing) == []
            assert txn.row(nothing) is txn.value(nothing) is txn.one(Note, nothing) is None

        opened.read(work)

    def test_execute_counts_the_rows_it_changed(self, opened: Opened) -> None:
        def work(txn: Transaction) -> tuple[int, int]:
            insert(txn, "a")
            insert(txn, "b")
            return (
                txn.execute("UPDATE notes SET size = %s", (1,)),
                txn.execute("DELETE FROM notes WHERE text = %s", ("x",)),
            )

        assert opened.write(work) == (2, 0)

    def test_values_come_back_as_they_went(self, opened: Opened) -> None:
        raw, size = bytes(range(256)), 2**63 - 1

        def work(txn: Transaction) -> Any:
            txn.execute(
                "INSERT INTO notes (text, raw, is_read, size) VALUES (%s, %s, %s, %s)",
                ("quote ' ü 😀 \\ %s", raw, True, size),
            )
            return txn.row("SELECT text, raw, is_read, size FROM notes")

        text, raw_again, is_read, size_again = opened.write(work)
        assert text == "quote ' ü 😀 \\ %s"
        assert type(raw_again) is bytes
        assert raw_again == raw
        assert is_read in (True, 1)
        assert size_again == size

    def test_a_sum_is_an_integer(self, opened: Opened) -> None:
        def work(txn: Transaction) -> object:
            txn.executemany("INSERT INTO notes (text, size) VALUES (%s, %s)", [("a", 2**40), ("b", 1)])
            return txn.value("SELECT SUM(size) FROM notes")

        total = opened.write(work)
        assert type(total) is int
        assert total == 2**40 + 1

    def test_a_literal_percent_sign_is_written_twice(self, opened: Opened) -> None:
        def work(txn: Transaction) -> list[str]:
            insert(txn, "100%")
            insert(txn, "abc")
            with_params = txn.column("SELECT text FROM notes WHERE text LIKE '%%b%%' AND nid > %s", (0,))
            without = txn.column("SELECT text FROM notes WHERE text LIKE 'a%%'")
            assert with_params == without
            return with_params

        assert opened.write(work) == ["abc"]

    def test_marks_make_a_list(self, opened: Opened) -> None:
        def work(txn: Transaction) -> list[str]:
            for text in "abc":
                insert(txn, text)
            wanted = ["a", "c", "x"]
            return txn.column(f"SELECT text FROM notes WHERE text IN ({marks(wanted)}) ORDER BY text", wanted)

        assert opened.write(work) == ["a", "c"]

    @pytest.mark.parametrize(
        "ending",
        ["", "ON CONFLICT (name) DO NOTHING", "ON CONFLICT (name) DO UPDATE SET count = excluded.count"],
    )
    def test_executemany_inserts_many(self, opened: Opened, ending: str) -> None:
        rows = [(f"n{number}", number) for number in range(1_234)]

        def work(txn: Transaction) -> Any:
            txn.executemany(f"INSERT INTO counts (name, count) VALUES (%s, %s) {ending}", iter(rows))
            return txn.row("SELECT COUNT(*), SUM(count) FROM counts")

        assert opened.write(work) == (1_234, sum(range(1_234)))

    def test_executemany_runs_in_order(self, opened: Opened) -> None:
        def work(txn: Transaction) -> object:
            sql = """
                INSERT INTO counts (name, count) VALUES (%s, %s)
                ON CONFLICT (name) DO UPDATE SET count = counts.count * 10 + excluded.count"""
            txn.executemany(sql, [("a", 1), ("a", 2), ("a", 3)])
            txn.executemany("UPDATE counts SET count = count + %s WHERE name = %s", [(1, "a"), (5, "b")])
            return txn.value("SELECT count FROM counts WHERE name = %s", ("a",))

        assert opened.write(work) == 124

    def test_executemany_inserts_many_in_order(self, opened: Opened) -> None:
        added = list(range(1, 236))

        def work(txn: Transaction) -> object:
            sql = """
                INSERT INTO counts (name, count) VALUES (%s, %s)
                ON CONFLICT (name) DO UPDATE SET count = (counts.count * 7 + excluded.count) %% 1000003"""
            txn.executemany(sql, [("a", number) for number in added])
            return txn.value("SELECT count FROM counts")

        expected = 0
        for number in added:
            expected = (expected * 7 + number) % 1_000_003
        assert opened.write(work) == expected

    def test_executemany_of_nothing(self, opened: Opened) -> None:
        opened.write(lambda txn: txn.executemany("INSERT INTO counts (name, count) VALUES (%s, %s)", []))
        assert opened.read(lambda txn: txn.value("SELECT COUNT(*) FROM counts")) == 0

    @pytest.mark.parametrize("text", ["nul \0", "lone \ud800"])
    def test_text_that_no_database_keeps(self, opened: Opened, text: str, dialect: DialectName) -> None:
        if dialect == "sqlite" and "\0" in text:
            assert opened.write(insert, text) > 0  # SQLite does keep it
            return
        with pytest.raises(UnstorableValue):
            opened.write(insert, text)
        assert opened.write(insert, "fine") > 0

    def test_a_number_that_no_database_keeps(self, opened: Opened) -> None:
        with pytest.raises(UnstorableValue):
            opened.write(lambda txn: txn.execute("INSERT INTO counts VALUES ('a', %s)", (2**63,)))

    def test_it_knows_its_dialect_and_purpose(self, opened: Opened, dialect: DialectName) -> None:
        def work(txn: Transaction) -> tuple[str, bool]:
            return txn.dialect, txn.is_writing

        assert opened.write(work) == (dialect, True)
        assert opened.read(work) == (dialect, False)
        assert opened.database.dialect == dialect


class TestWriting:
    def test_a_write_returns_what_its_work_returns(self, opened: Opened) -> None:
        assert opened.write(lambda txn, *numbers: sum(numbers), 1, 2, 3) == 6

    def test_keyword_arguments_reach_the_work(self, opened: Opened) -> None:
        def work(txn: Transaction, *, text: str) -> str:
            return text

        assert opened.result(opened.database.write(work, text="x")) == "x"

    def test_a_read_sees_every_answered_write(self, opened: Opened) -> None:
        for number in range(20):
            opened.write(insert, f"n{number}")
            assert len(opened.texts()) == number + 1

    def test_a_failing_work_leaves_nothing_and_raises_its_own_error(self, opened: Opened) -> None:
        with pytest.raises(Forbidden, match="not a"):
            opened.write(insert_and_fail, "a")
        assert opened.texts() == []

    def test_only_the_failing_work_of_a_group_fails(self, opened: Opened) -> None:
        writes = [
            Running(opened.database.write(insert_and_fail if number % 7 == 3 else insert, f"n{number}"))
            for number in range(50)
        ]
        opened.loop.until(lambda: all(write.is_done for write in writes))
        for number, write in enumerate(writes):
            if number % 7 == 3:
                with pytest.raises(Forbidden, match=f"not n{number}"):
                    write.result()
            else:
                write.result()
        assert opened.texts() == [f"n{number}" for number in range(50) if number % 7 != 3]

    def test_a_broken_constraint_fails_only_its_work(self, opened: Opened) -> None:
        writes = [Running(opened.database.write(insert, text)) for text in ("a", "b", "a", "c")]
        opened.loop.until(lambda: all(write.is_done for write in writes))
        with pytest.raises(Exception, match=r"(?i)unique"):
            writes[2].result()
        assert opened.texts() == ["a", "b", "c"]

    @pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM no_such_table", "SELECT 1 +"])
    def test_sql_that_is_wrong_undoes_only_its_own_work(self, opened: Opened, sql: str) -> None:
        def wrong(txn: Transaction) -> None:
            txn.execute(sql)

        works = [insert, wrong, insert, wrong, insert]
        writes = [
            Running(opened.database.write(work, *([f"n{number}"] if work is insert else [])))  # type: ignore[arg-type]
            for number, work in enumerate(works)
        ]
        opened.loop.until(lambda: all(write.is_done for write in writes))
        assert opened.texts() == ["n0", "n2", "n4"]

    def test_a_work_that_swallows_a_database_error_fails(self, opened: Opened, dialect: DialectName) -> None:
        def careless(txn: Transaction) -> None:
            insert(txn, "x")
            try:
                txn.execute("SELECT * FROM no_such_table")
            except Exception:
                return

        writes = [
            Running(opened.database.write(insert, "a")),
            Running(opened.database.write(careless)),
            Running(opened.database.write(insert, "b")),
        ]
        opened.loop.until(lambda: all(write.is_done for write in writes))
        if dialect == "postgresql":  # where the error has ended the transaction
            with pytest.raises(Exception, match="swallowed"):
                writes[1].result()
            assert opened.texts() == ["a", "b"]
        else:
            assert opened.texts() == ["a", "x", "b"]

    def test_writes_take_effect_in_the_order_of_the_calls(self, threaded: Opened) -> None:
        threaded.loop.finish(*(threaded.database.write(insert, f"n{number}") for number in range(200)))
        assert threaded.texts() == [f"n{number}" for number in range(200)]

    def test_a_burst_shares_commits(self, threaded: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = threaded.database._writer.connect()
        commits = []
        commit = connection.commit
        monkeypatch.setattr(connection, "commit", lambda: (commits.append(1), commit())[1])
        threaded.loop.finish(*(threaded.database.write(insert, f"n{number}") for number in range(300)))
        assert len(commits) < 100

    def test_a_write_cannot_be_cancelled(self, threaded: Opened) -> None:
        async def write_and_tell() -> str:
            await threaded.database.write(insert, "a")
            return "answered"

        running = Running(write_and_tell())
        running.cancel()
        threaded.loop.until(lambda: running.is_done)
        assert running.result() == "answered"
        assert threaded.texts() == ["a"]

    def test_a_cancelled_read_does_not_disturb(self, threaded: Opened) -> None:
        running = Running(threaded.database.read(all_texts))
        running.cancel()
        assert running.is_done
        assert threaded.texts() == []

    def test_the_log_context_follows_the_work(self, opened: Opened) -> None:
        async def two() -> list[str]:
            log_context.enter("request-7")
            return [
                await opened.database.write(lambda txn: log_context.current()),
                await opened.database.read(lambda txn: log_context.current()),
            ]

        assert opened.result(two()) == ["request-7", "request-7"]

    def test_many_writers_and_readers(self, threaded: Opened) -> None:
        def add_one(txn: Transaction, name: str) -> int:
            txn.execute(
                """
                INSERT INTO counts (name, count) VALUES (%s, 1)
                ON CONFLICT (name) DO UPDATE SET count = counts.count + 1""",
                (name,),
            )
            return count_of(txn, name)

        def count_of(txn: Transaction, name: str) -> int:
            return txn.value("SELECT count FROM counts WHERE name = %s", (name,)) or 0

        async def person(name: str) -> None:
            for number in range(1, 21):
                assert await threaded.database.write(add_one, name) == number
                assert await threaded.database.read(count_of, name) == number
                assert await threaded.database.look_up(count_of, name) == number

        threaded.result(gather(*(person(f"p{number}") for number in range(16))))


class TestAfterCommit:
    def test_effects_come_after_the_commit_and_before_the_answers(self, opened: Opened) -> None:
        seen: list[str] = []

        def work(txn: Transaction, text: str) -> None:
            insert(txn, text)
            txn.after_commit(seen.append, f"effect of {text}")

        async def ask(text: str) -> None:
            await opened.database.write(work, text)
            seen.append(f"answer to {text}")

        opened.loop.finish(*(ask(text) for text in "abc"))
        assert [entry[-1] for entry in seen if entry.startswith("effect")] == ["a", "b", "c"]
        assert [entry[-1] for entry in seen if entry.startswith("answer")] == ["a", "b", "c"]
        for text in "abc":
            assert seen.index(f"effect of {text}") < seen.index(f"answer to {text}")

    def test_a_work_that_runs_twice_has_its_effect_once(self, threaded: Opened) -> None:
        seen: list[str] = []
        runs: list[str] = []

        def work(txn: Transaction, text: str) -> None:
            runs.append(text)
            txn.after_commit(seen.append, text)

        def failing(txn: Transaction) -> None:
            txn.after_commit(seen.append, "never")
            raise Forbidden

        writes = [
            Running(threaded.database.write(work, "a")),
            Running(threaded.database.write(failing)),
            Running(threaded.database.write(work, "b")),
        ]
        threaded.loop.until(lambda: all(write.is_done for write in writes))
        assert seen == ["a", "b"]
        assert sorted(set(runs)) == ["a", "b"]

    def test_an_effect_that_fails_is_logged_and_stops_nothing(
        self, opened: Opened, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[str] = []

        def work(txn: Transaction) -> str:
            txn.after_commit(seen.index, "missing")
            txn.after_commit(seen.append, "second")
            return "done"

        assert opened.write(work) == "done"
        assert seen == ["second"]
        assert "What follows a commit failed" in caplog.text

    def test_a_read_commits_nothing(self, opened: Opened) -> None:
        with pytest.raises(RuntimeError, match="read"):
            opened.read(lambda txn: txn.after_commit(print))


class TestReading:
    def test_a_read_cannot_write(self, opened: Opened) -> None:
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            opened.read(insert, "a")
        assert opened.texts() == []

    def test_a_read_has_one_view_from_beginning_to_end(self, threaded: Opened) -> None:
        seen: list[int] = []

        def look_twice(txn: Transaction) -> list[int]:
            first = len(all_texts(txn))
            # what another connection commits meanwhile is not part of this view
            other = open_database(url, inline=True, durable=False, serving=False, migrations=[TABLES])
            other.start()
            Running(other.write(insert, f"n{first}")).result()
            Running(other.stop()).result()
            seen.append(first)
            return [first, len(all_texts(txn))]

        backend: Any = threaded.database._backend
        url = f"sqlite:///{backend._path}" if threaded.database.dialect == "sqlite" else backend._url
        assert threaded.read(look_twice) == [0, 0]
        assert threaded.read(look_twice) == [1, 1]

    def test_a_failing_read_raises_its_own_error(self, opened: Opened) -> None:
        def work(txn: Transaction) -> None:
            all_texts(txn)
            raise Forbidden("no")

        with pytest.raises(Forbidden, match="no"):
            opened.read(work)
        assert opened.texts() == []

    def test_a_tiny_read_is_the_same_thing(self, opened: Opened) -> None:
        opened.write(insert, "a")
        assert opened.result(opened.database.look_up(all_texts)) == ["a"]

    def test_on_sqlite_a_tiny_read_does_not_wait_for_a_thread(self, threaded: Opened) -> None:
        running = Running(threaded.database.look_up(all_texts))
        assert (
            running.is_done
            == threaded.database.prefers_direct_reads
            == (threaded.database.dialect == "sqlite")
        )
        threaded.loop.until(lambda: running.is_done)


class TestStartingAndStopping:
    def test_stop_finishes_what_was_asked_for(self, empty_database_url: str) -> None:
        one = Opened(empty_database_url, inline=False)
        writes = [Running(one.database.write(insert, f"n{number}")) for number in range(100)]
        one.result(one.database.stop())
        one.loop.until(lambda: all(write.is_done for write in writes))
        again = Opened(empty_database_url, inline=True)
        assert len(again.texts()) == 100
        again.result(again.database.stop())

    def test_a_stopped_database_refuses(self, empty_database_url: str) -> None:
        one = Opened(empty_database_url, inline=False)
        one.result(one.database.stop())
        one.result(one.database.stop())
        for ask in (one.database.read, one.database.write, one.database.look_up):
            with pytest.raises(DatabaseUnavailable, match="stopping"):
                one.result(ask(all_texts))

    def test_two_servers_do_not_share_a_database(self, empty_database_url: str) -> None:
        first = Opened(empty_database_url, inline=True)
        with pytest.raises(CannotStart, match=r"(?i)another server"):
            Opened(empty_database_url, inline=True)
        assert first.write(insert, "a")
        first.result(first.database.stop())
        second = Opened(empty_database_url, inline=True)
        assert second.texts() == ["a"]
        second.result(second.database.stop())

    def test_a_command_may_run_beside_the_server(self, empty_database_url: str) -> None:
        server = Opened(empty_database_url, inline=True)
        command = open_database(empty_database_url, inline=True, serving=False, migrations=[TABLES])
        command.start()
        assert Running(command.write(insert, "from the command")).result()
        Running(command.stop()).result()
        assert server.texts() == ["from the command"]
        server.result(server.database.stop())

    @pytest.mark.parametrize("url", ["", "mysql://x", "sqlite://relative.db", "sqlite:///", "/var/x.db"])
    def test_a_url_it_does_not_know(self, url: str) -> None:
        with pytest.raises(CannotStart, match="Not a database URL"):
            open_database(url, inline=True)

    def test_threads_need_the_reactor(self) -> None:
        with pytest.raises(ValueError, match="reactor"):
            open_database("sqlite:///x.db")
