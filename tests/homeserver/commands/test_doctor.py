"""`postroom doctor` looks at everything around a server, and changes nothing."""

import socket
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from homeserver.commands import doctor
from homeserver.commands.doctor import Fetched, Finding
from homeserver.config import Config, load, parse
from tests.homeserver.commands.conftest import Postroom
from tests.support.server_process import ServerProcess


def config(folder: Path, text: str = "", *, name: str = "example.org") -> Config:
    return parse(f"server_name: {name}\n{text}", folder / "homeserver.yaml")


def verdicts(findings: object) -> list[str]:
    return [finding.verdict for finding in findings]  # type: ignore[attr-defined]


def test_a_running_server_is_healthy(
    server: ServerProcess, postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "resolve", lambda host: ["192.0.2.1"])
    monkeypatch.setattr(doctor, "check_well_known", lambda config: iter(()))
    monkeypatch.setattr(doctor, "check_tls", lambda config: iter(()))
    found = {finding.subject: finding for finding in doctor.check_running(load(server.config))}
    assert found["server"] == Finding("server", "ok", f"answers at {server.url}")
    database = list(doctor.check_database(load(server.config)))
    assert verdicts(database) == ["ok"]
    assert "schema" in database[0].says


def test_it_prints_a_line_for_everything_and_fails_if_something_must_be_repaired(
    server: ServerProcess, postroom: Postroom
) -> None:
    done = postroom("doctor", "--config", str(server.config))
    for subject in ("server", "name", "well-known", "TLS", "clock", "database", "disk", "key"):
        assert f"  {subject} " in done.stdout
    assert f"ok    server      answers at {server.url}" in done.stdout
    assert "fail  name        peers.test cannot be resolved" in done.stdout
    assert done.exit_code == 1


def test_a_server_of_this_machine_needs_no_name(folder: Path, postroom: Postroom) -> None:
    postroom("init", "--server-name", "localhost", "--listen", "127.0.0.1:1")
    done = postroom("doctor")
    assert done.exit_code == 0
    assert "skip  name" in done.stdout
    assert "warn  server      does not answer at http://127.0.0.1:1" in done.stdout


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b'{"m.homeserver": {"base_url": "https://matrix.example.org/"}, "m.server": "x:443"}', "ok"),
        (b'{"m.homeserver": {"base_url": "https://elsewhere.org"}, "m.server": ""}', "warn"),
        (b'{"m.homeserver": 5}', "warn"),
        (b"[]", "warn"),
        (b"<html>", "warn"),
    ],
)
def test_well_known_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, verdict: str
) -> None:
    monkeypatch.setattr(doctor, "fetch", lambda url: Fetched(answer, None))
    found = doctor.check_well_known(config(tmp_path, "public_url: https://matrix.example.org"))
    assert verdicts(found) == [verdict, verdict]


def test_without_federation_nobody_asks_for_the_server_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(url: str) -> Fetched:
        asked.append(url)
        return Fetched(b"{}", None)

    monkeypatch.setattr(doctor, "fetch", fetch)
    list(doctor.check_well_known(config(tmp_path, "federation: {enabled: false}")))
    assert asked == ["https://example.org/.well-known/matrix/client"]


def test_a_clock_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "kernel_clock_is_synchronised", lambda: True)
    monkeypatch.setattr(doctor, "fetch", lambda url: Fetched(b"", 1_000_000_000.0))
    assert verdicts(doctor.check_clock(config(tmp_path))) == ["warn"]


@pytest.mark.parametrize(("days", "verdict"), [(-1.0, "warn"), (3.0, "warn"), (60.0, "ok")])
def test_a_certificate_that_ends_soon(days: float, verdict: str) -> None:
    assert doctor.expiry_finding("it", days).verdict == verdict


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nothing")
    listeners = "listeners: [{port: 8448, tls: {certificate: a.pem, key: a.pem}}]"
    found = doctor.check_tls(config(tmp_path, f"data_dir: .\n{listeners}", name="localhost"))
    assert verdicts(found)[0] == "fail"


def test_nobody_listens_where_clients_look(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    found = list(doctor.check_tls(config(tmp_path, f"public_url: https://127.0.0.1:{port}")))
    assert verdicts(found) == ["fail"]
    assert "public_url" in found[0].advice


def test_a_database_that_is_not_there_yet(tmp_path: Path) -> None:
    assert verdicts(doctor.check_database(config(tmp_path))) == ["warn"]


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, whatever its name says" * 100)
    found = doctor.check_database(config(tmp_path, "data_dir: .\ndatabase: sqlite:///x.db"))
    assert verdicts(found) == ["fail"]


@pytest.mark.parametrize(
    ("number", "verdict", "says"), [(9999, "fail", "newer"), (1, "ok", "will be brought")]
)
def test_a_database_of_another_version(tmp_path: Path, number: int, verdict: str, says: str) -> None:
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("CREATE TABLE applied_migrations (number BIGINT PRIMARY KEY)")
        database.execute("INSERT INTO applied_migrations VALUES (?)", (number,))
    found = list(doctor.check_database(config(tmp_path, "data_dir: .\ndatabase: sqlite:///x.db")))
    assert verdicts(found) == [verdict]
    assert says in found[0].says


def test_an_empty_database(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.db").close()
    (tmp_path / "x.db").touch()
    found = doctor.check_database(config(tmp_path, "data_dir: .\ndatabase: sqlite:///x.db"))
    assert verdicts(found) == ["warn"]


def test_a_database_server_that_is_not_there_and_a_password_nobody_sees(tmp_path: Path) -> None:
    found = list(doctor.check_database(config(tmp_path, "database: postgresql://me:hush@127.0.0.1:1/x")))
    assert verdicts(found) == ["fail"]
    assert "hush" not in found[0].says


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text("secret")
    path.chmod(0o644)
    assert doctor.check_signing_key(path).verdict == "fail"
    path.chmod(0o600)
    assert doctor.check_signing_key(path).verdict == "ok"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 60)
    own = replace(config(tmp_path), data_dir=tmp_path / "not" / "there" / "yet")
    assert "fail" in verdicts(doctor.check_disk(own))
