from pathlib import Path

import pytest

from homeserver.runtime.database import CannotStart, Database, Transaction, open_database
from homeserver.runtime.migrations import DialectName, Migration, read_migrations
from tests.support.database import MIGRATIONS
from tests.support.running import result

FIRST = Migration(1, "first", "CREATE TABLE one (nid {ID}, raw {BYTES} NOT NULL);")
SECOND = Migration(
    2, "second", "CREATE TABLE two (nid {AUTO_ID}, text TEXT);\nINSERT INTO two (text) VALUES ('x');"
)


def opened(url: str, *migrations: Migration) -> Database:
    database = open_database(url, inline=True, durable=False, migrations=migrations)
    database.start()
    return database


def applied(txn: Transaction) -> list[tuple[int, str]]:
    return txn.rows("SELECT number, name FROM applied_migrations ORDER BY number")


def test_each_step_is_applied_once(empty_database_url: str) -> None:
    for _ in range(2):
        database = opened(empty_database_url, FIRST, SECOND)
        assert result(database.read(applied)) == [(1, "first"), (2, "second")]
        assert result(database.read(lambda txn: txn.value("SELECT COUNT(*) FROM two"))) == 1
        result(database.stop())


def test_a_newer_version_adds_what_is_missing(empty_database_url: str) -> None:
    result(opened(empty_database_url, FIRST).stop())
    database = opened(empty_database_url, FIRST, SECOND)
    assert result(database.read(applied)) == [(1, "first"), (2, "second")]
    result(database.stop())


def test_an_older_version_does_not_touch_it(empty_database_url: str) -> None:
    result(opened(empty_database_url, FIRST, SECOND).stop())
    with pytest.raises(CannotStart, match=r"newer version .*migration 2.*upgrade"):
        opened(empty_database_url, FIRST)
    result(opened(empty_database_url, FIRST, SECOND).stop())


def test_a_step_that_fails_leaves_nothing_and_may_be_repeated(empty_database_url: str) -> None:
    broken = Migration(2, "broken", "CREATE TABLE two (nid {ID}); INSERT INTO no_such_table VALUES (1);")
    with pytest.raises(Exception, match="no_such_table"):
        opened(empty_database_url, FIRST, broken)
    database = opened(empty_database_url, FIRST, SECOND)
    assert result(database.read(applied)) == [(1, "first"), (2, "second")]
    result(database.stop())


def test_tokens_mean_the_same_on_both(empty_database_url: str) -> None:
    def work(txn: Transaction) -> list[object]:
        txn.execute("INSERT INTO one (nid, raw) VALUES (%s, %s)", (5, b"\0\xff"))
        first = txn.value("INSERT INTO two (text) VALUES ('y') RETURNING nid")
        second = txn.value("INSERT INTO two (text) VALUES ('z') RETURNING nid")
        return [*txn.row("SELECT nid, raw FROM one"), second - first]

    database = opened(empty_database_url, FIRST, SECOND)
    assert result(database.write(work)) == [5, b"\0\xff", 1]
    result(database.stop())


def test_a_step_may_differ_by_dialect(empty_database_url: str, dialect: DialectName) -> None:
    database = opened(
        empty_database_url,
        Migration(1, "search", "CREATE TABLE for_sqlite (x TEXT)", "sqlite"),
        Migration(1, "search", "CREATE TABLE for_postgresql (x TEXT)", "postgresql"),
    )
    assert result(database.read(lambda txn: txn.rows(f"SELECT x FROM for_{dialect}"))) == []
    result(database.stop())


def test_two_steps_of_one_number_are_a_mistake(empty_database_url: str) -> None:
    with pytest.raises(ValueError, match="same number"):
        opened(empty_database_url, FIRST, Migration(1, "again", "SELECT 1"))


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT 1;\nSELECT 2", ["SELECT 1;", "SELECT 2"]),
        ("SELECT ';';", ["SELECT ';';"]),
        ("-- one; two\nSELECT 1;\n-- the end; really\n", ["-- one; two\nSELECT 1;"]),
        ("", []),
        (
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DELETE FROM c; END; SELECT 1;",
            ["CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DELETE FROM c; END;", "SELECT 1;"],
        ),
    ],
)
def test_sqlite_gets_one_statement_at_a_time(sql: str, statements: list[str]) -> None:
    assert [each.strip() for each in Migration(1, "x", sql).statements("sqlite")] == statements


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "0010_ten.sql").write_text("SELECT 10")
    (tmp_path / "0002_two.sqlite.sql").write_text("SELECT 2")
    (tmp_path / "0002_two.postgresql.sql").write_text("SELECT 22")
    (tmp_path / "README").write_text("not SQL")
    found = read_migrations(tmp_path)
    assert [(each.number, each.name) for each in found] == [(2, "two"), (2, "two"), (10, "ten")]
    assert {each.dialect for each in found} == {None, "sqlite", "postgresql"}


def test_a_file_with_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "add_users.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match="is not named"):
        read_migrations(tmp_path)


def test_the_storages_own_steps_apply(empty_database_url: str) -> None:
    steps = read_migrations(MIGRATIONS)
    database = opened(empty_database_url, *steps)
    assert len(result(database.read(applied))) == len({step.number for step in steps})
    result(database.stop())
