"""Fresh databases for tests: migrated once in a session, then copied (SQLite) or emptied (PostgreSQL).

`Databases` is the session's factory behind the fixtures `database`, `empty_database` and `database_url`.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg2
import pytest

from homeserver.runtime.database import open_database
from homeserver.runtime.migrations import DialectName, Migration, read_migrations
from tests.support.postgresql import NoPostgresql, Server
from tests.support.running import result

MIGRATIONS = Path(__file__).resolve().parents[2] / "homeserver" / "storage" / "migrations"

EMPTY_EVERYTHING = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'applied_migrations'
    LOOP
        EXECUTE format('DELETE FROM public.%I', name);
    END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'template' LOOP
        EXECUTE format('INSERT INTO public.%I SELECT * FROM template.%I', name, name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences
        WHERE schemaname = 'public' AND last_value IS NOT NULL
    LOOP
        EXECUTE format('ALTER SEQUENCE public.%I RESTART', name);
    END LOOP;
END $$
"""
KEEP_FIRST_ROWS = """
CREATE SCHEMA template;
DO $$
DECLARE name text; has_rows boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'applied_migrations'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM public.%I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('CREATE TABLE template.%I AS TABLE public.%I', name, name);
        END IF;
    END LOOP;
END $$
"""


class Databases:
    """Hands out the URL of a database that holds the storage's tables and nothing else."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count(1)
        self._template: Path | None = None
        self._server: Server | None = None
        self._why_no_server: str | None = None
        self._shared_url: str | None = None

    def fresh(self, dialect: DialectName) -> str:
        """Migrated and empty. On PostgreSQL there is one per session, emptied: use only one at a time."""
        if dialect == "sqlite":
            return self._copy_of_template()
        if self._shared_url is None:
            self._shared_url = self.empty("postgresql")
            _migrate(self._shared_url)
            self._command(self._shared_url, KEEP_FIRST_ROWS)
        else:
            self._command(self._shared_url, EMPTY_EVERYTHING)
        return self._shared_url

    def empty(self, dialect: DialectName) -> str:
        """Without any table, and the caller's alone."""
        name = f"test_{next(self._numbers)}"
        if dialect == "sqlite":
            return f"sqlite:///{self._directory / name}.db"
        return self.server().create_database(name)

    def server(self) -> Server:
        """The session's PostgreSQL; without one the test is skipped, or fails if peers are required."""
        if self._server is None and self._why_no_server is None:
            try:
                self._server = Server()
            except NoPostgresql as error:
                self._why_no_server = str(error)
        if self._server is None:
            if os.environ.get("POSTROOM_REQUIRE_PEERS") == "1":
                pytest.fail(f"PostgreSQL is required: {self._why_no_server}")
            pytest.skip(f"needs PostgreSQL: {self._why_no_server}")
        return self._server

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def _copy_of_template(self) -> str:
        if self._template is None:
            self._template = self._directory / "template.db"
            _migrate(f"sqlite:///{self._template}")
        copy = self._directory / f"test_{next(self._numbers)}.db"
        shutil.copyfile(self._template, copy)
        return f"sqlite:///{copy}"

    def _command(self, url: str, sql: str) -> None:
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)


def storage_migrations() -> Sequence[Migration]:
    return read_migrations(MIGRATIONS)


def _migrate(url: str) -> None:
    database = open_database(url, inline=True, durable=False, migrations=storage_migrations())
    database.start()
    result(database.stop())
