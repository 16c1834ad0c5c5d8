"""`postroom serve` says where it is, stops when asked, and says why it cannot start."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.crash_world import V3, registration
from tests.support.http_client import Answer, HttpClient, Lost
from tests.support.server_process import ROOT, ServerProcess, children_cpu_s, free_port

STOP_SECONDS = 5


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of this test's own, not yet started."""
    process = ServerProcess(tmp_path / "own")
    yield process
    process.end()


def serve(config: Path) -> "subprocess.CompletedProcess[str]":
    """A start that is expected to fail."""
    command = [sys.executable, "-m", "homeserver", "serve", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)


def test_it_says_where_it_listens_how_to_add_a_user_and_where_its_files_are(own: ServerProcess) -> None:
    own.start()
    own.stop()
    said = own.log.read_text()
    assert f"listens at    {own.url}" in said
    assert "add-user NAME --config homeserver.yaml" in said or "add-user NAME" in said
    assert str(own.folder / "data") in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(own: ServerProcess, number: signal.Signals) -> None:
    own.start()
    asked = time.monotonic()
    os.kill(own.pid, number)
    assert own.stop(within=STOP_SECONDS) == 0
    assert time.monotonic() - asked < STOP_SECONDS
    assert not own.tracebacks()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_held_syncs_and_running_uploads_do_not_keep_it(own: ServerProcess, number: signal.Signals) -> None:
    """Held syncs are answered; a slow uploader, a slow reader and an idle connection are cut off."""

    async def scenario() -> None:
        http = HttpClient("127.0.0.1", own.port)
        http.token = (await http.ok("POST", f"{V3}/register", registration("alice")))["access_token"]
        since = (await http.ok("GET", f"{V3}/sync", query={"timeout": 0}))["next_batch"]
        query: dict[str, str | int] = {"since": since, "timeout": 30_000}
        held = [asyncio.create_task(http.request("GET", f"{V3}/sync", query=query)) for _ in range(50)]
        open_connections = []
        for head in (
            "POST /_matrix/media/v3/upload HTTP/1.1\r\nContent-Length: 1000000",
            f"PUT {V3}/user/@alice:peers.test/account_data/x HTTP/1.1\r\nContent-Length: 1000",
            "GET /_matrix/client/versions HTTP/1.1",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", own.port)
            writer.write(
                f"{head}\r\nHost: x\r\nAuthorization: Bearer {http.token}\r\n\r\n".encode() + b"x" * 500
            )
            open_connections.append((reader, writer))
        await asyncio.sleep(0.5)
        asked = time.monotonic()
        os.kill(own.pid, number)
        answers = await asyncio.gather(*held, return_exceptions=True)
        assert await asyncio.to_thread(own.stop, within=STOP_SECONDS) == 0
        assert time.monotonic() - asked < STOP_SECONDS
        assert {answer.status for answer in answers if isinstance(answer, Answer)} <= {200}
        assert all(isinstance(answer, Answer | Lost) for answer in answers)
        for _, writer in open_connections:
            writer.close()

    own.start()
    asyncio.run(scenario())
    assert not own.tracebacks()


def test_an_impatient_operator_changes_nothing(own: ServerProcess) -> None:
    own.start()
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        os.kill(own.pid, number)
    assert own.stop(within=STOP_SECONDS) == 0
    assert not own.tracebacks()


def test_a_hangup_is_no_reason_to_stop(own: ServerProcess) -> None:
    own.start()
    os.kill(own.pid, signal.SIGHUP)
    time.sleep(0.2)
    assert own.is_running


def test_it_makes_what_is_missing_and_says_so(own: ServerProcess) -> None:
    own.start()
    key = own.folder / "data" / "signing.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert "made a new one" in own.log.read_text()
    own.stop()
    before = key.read_bytes()
    own.start()
    assert key.read_bytes() == before


def test_a_taken_port(own: ServerProcess, server: ServerProcess) -> None:
    own.config.write_text(f"server_name: a.org\nlisten: 127.0.0.1:{server.port}\ndata_dir: {own.folder}\n")
    done = serve(own.config)
    assert done.returncode == 1
    assert f"Cannot start: Cannot listen on 127.0.0.1:{server.port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_servers_cannot_share_a_database(own: ServerProcess, server: ServerProcess) -> None:
    shared = f"data_dir: {server.folder}/data\ndatabase: sqlite:///homeserver.db\n"
    own.config.write_text(f"server_name: a.org\nlisten: 127.0.0.1:{own.port}\n{shared}")
    done = serve(own.config)
    assert done.returncode == 1
    assert "already serves the database" in done.stderr


@pytest.mark.parametrize("text", [None, "no certificate\n"])
def test_authorities_that_cannot_be_read(own: ServerProcess, text: str | None) -> None:
    authorities = own.folder / "ca.pem"
    if text is not None:
        authorities.write_text(text)
    settings = own.config.read_text() + f"federation: {{ca_file: {authorities}}}\n"
    own.config.write_text(settings)
    done = serve(own.config)
    assert done.returncode == 1
    assert f"Cannot start: Cannot read the certificate authorities in {authorities}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_only_a_listener_with_tls_keeps_browsers_to_it(own: ServerProcess) -> None:
    issued = Authority(own.folder).issue("localhost")
    port = free_port()
    own.config.write_text(
        f"server_name: a.org\nlisteners:\n- {{port: {own.port}}}\n- {{port: {port}, "
        f"tls: {{certificate: {issued.certificate}, key: {issued.key}, hsts_days: 30}}}}\n"
    )
    own.start()
    context = ssl.create_default_context(cafile=str(own.folder / "ca.pem"))
    secure = HTTPSConnection("localhost", port, timeout=10, context=context)
    told = []
    for connection in (secure, own.connection()):
        connection.request("GET", "/health")
        told.append(connection.getresponse().headers["Strict-Transport-Security"])
        connection.close()
    assert told == ["max-age=2592000", None]


UNUSABLE = {
    "no key": ("", "signing.key", "nonsense", "A line of a key file is"),
    "no certificate": (
        "listeners: [{port: 1, tls: {certificate: a.pem, key: a.pem}}]\n", "a.pem", "x", "a.pem"
    ),
    "a log file that is a folder": ("logging: {file: /}\n", "unused", "", "the log file"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "file", "content", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_files_are_named(own: ServerProcess, text: str, file: str, content: str, says: str) -> None:
    own.config.write_text(f"server_name: a.org\ndata_dir: .\n{text}")
    (own.folder / file).write_text(content)
    done = serve(own.config)
    assert done.returncode == 1
    assert "Cannot start" in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_can_be_json_in_a_file(own: ServerProcess) -> None:
    own.config.write_text(own.config.read_text() + "logging: {format: json, file: postroom.log}\n")
    own.start()
    own.stop()
    lines = (own.folder / "data" / "postroom.log").read_text().splitlines()
    assert '"level":"warning"' in lines[0]
    assert '"logger":"homeserver.app"' in lines[0]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_each_listener_answers_what_it_is_for(own: ServerProcess) -> None:
    inside = free_port()
    text = own.config.read_text().replace(
        f"listen: 127.0.0.1:{own.port}",
        f"listeners: [{{port: {own.port}, apis: [client]}}, {{port: {inside}, apis: [metrics, health]}}]",
    )
    own.config.write_text(text)
    own.start()
    assert get(f"{own.url}/health")[0] == 404
    assert get(f"{own.url}/_postroom/metrics")[0] == 404
    assert get(f"http://127.0.0.1:{inside}/_matrix/client/versions")[0] == 404
    assert get(f"http://127.0.0.1:{inside}/health")[0] == 200
    status, figures = get(f"http://127.0.0.1:{inside}/_postroom/metrics")
    assert status == 200
    assert 'postroom_http_answers_total{method="GET",path="/health",status="200"} 1' in figures
    assert "process_resident_memory_bytes " in figures


def test_it_starts_soon_and_small(own: ServerProcess) -> None:
    """In a few times what Python with its network takes, so that it holds on any machine, however busy."""
    own.start()
    seconds, bare = [], []
    for _ in range(3):
        own.stop()
        own.start()
        seconds.append(cpu_seconds(own.pid))
        before = children_cpu_s()
        subprocess.run([sys.executable, "-c", "import twisted.internet.reactor, sqlite3, ssl"], check=True)
        bare.append(children_cpu_s() - before)
    status = Path(f"/proc/{own.pid}/status").read_text()
    resident_kib = int(status.partition("VmRSS:")[2].split()[0])
    assert min(seconds) < 6 * min(bare)  # 0.5 s and 0.15 s
    assert resident_kib < 60 * 1024


def cpu_seconds(pid: int) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
