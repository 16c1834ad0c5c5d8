"""What `postroom doctor SERVER` says of servers that cannot be connected to, over real sockets."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from homeserver.commands.connection_advice import advice_on_name
from tests.support.certificates import Authority, Issued

ROOT = Path(__file__).parents[3]
HOST = "127.0.0.1"


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def listening(issued: Issued | None) -> Iterator[int]:
    """A web server with the certificate, or without TLS; its port."""
    server = ThreadingHTTPServer((HOST, 0), Answering)
    if issued is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def doctor(folder: Path, authority: Authority, port: int) -> str:
    """What it prints."""
    config = folder / "homeserver.yaml"
    config.write_text(
        f"server_name: us.example\nfederation: {{ca_file: {authority.file}, allow_private_addresses: true}}\n"
    )
    command = [sys.executable, "-m", "homeserver", "doctor", "--config", str(config), f"{HOST}:{port}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_a_certificate_for_another_name(tmp_path: Path, authority: Authority) -> None:
    with listening(authority.issue("one.example", "two.example")) as port:
        told = doctor(tmp_path, authority, port)
    assert "The certificate is for one.example, two.example: it must be for 127.0.0.1" in told


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        ("no.example cannot be resolved: Name or service not known", "spelt"),
        ("no.example cannot be resolved: Temporary failure in name resolution", "resolv.conf"),
        ("no.example could not be looked up within 10 s", "resolv.conf"),
    ],
)
def test_a_name_without_an_address(problem: str, advice: str) -> None:
    assert advice in advice_on_name(problem, "no.example")


def test_a_certificate_that_has_expired(tmp_path: Path, authority: Authority) -> None:
    with listening(authority.issue(HOST, days=-2)) as port:
        told = doctor(tmp_path, authority, port)
    assert "certificate has expired" in told
    assert "The certificate is valid from 20" in told
    assert "renew it" in told


def test_a_certificate_of_an_authority_that_nobody_knows(tmp_path: Path, authority: Authority) -> None:
    with listening(Authority(tmp_path / "other", "Other CA").issue(HOST)) as port:
        told = doctor(tmp_path, authority, port)
    assert "fullchain.pem" in told
    assert "`ca_file`" in told


def test_no_tls(tmp_path: Path, authority: Authority) -> None:
    with listening(None) as port:
        assert "plain HTTP where TLS is expected" in doctor(tmp_path, authority, port)


def test_nobody_listens(tmp_path: Path, authority: Authority) -> None:
    with closing(socket.create_server((HOST, 0))) as taken:
        port = taken.getsockname()[1]
    told = doctor(tmp_path, authority, port)
    assert "Nothing listens there" in told


def test_another_web_server(tmp_path: Path, authority: Authority) -> None:
    with listening(authority.issue(HOST)) as port:
        told = doctor(tmp_path, authority, port)
    assert "ok    connection" in told
    assert "the proxy there must pass /_matrix/ on" in told
