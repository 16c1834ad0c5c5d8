"""HTTP over real sockets: TCP, Unix sockets, and TLS with a certificate made here."""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from homeserver.http.reply import Answer, Stream
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route, Router
from homeserver.http.server import HttpServer
from homeserver.http.tls import ServerTls, UnusableCertificate, strict_transport_security
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import run
from homeserver.runtime.reactor import EPollReactor


async def echo(services: object, request: Request, name: str) -> Answer:
    return {"name": name, "size": len(request.body), "ip": request.client_ip}


async def large(services: object, request: Request) -> Answer:
    return Stream((b"x" * 100_000 for _ in range(50)), length=5_000_000)


ROUTES = (
    Route("GET", "/echo/{name}", echo, Auth.NONE),
    Route("PUT", "/echo/{name}", echo, Auth.NONE, max_body=10_000_000),
    Route("GET", "/large", large, Auth.NONE),
)


class Certificate:
    """A self-signed certificate for localhost."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.write()

    def write(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


class Running:
    """A reactor in a thread of its own, with a server on it."""

    def __init__(self) -> None:
        self._reactor: Any = EPollReactor()
        router = Router(None, ROUTES, authenticate=lambda request, route: None)
        self.server = HttpServer(router, Clock(self._reactor), headers={"X-Everywhere": "yes"})
        self._thread = Thread(target=self._reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)

    def listen(self, address: str = "127.0.0.1", tls: ServerTls | None = None) -> int:
        """Before `start`."""
        return self.server.listen(self._reactor, 0, address, tls=tls)

    def start(self) -> None:
        self.server.start()
        self._thread.start()

    def call(self, function: Callable[[], object]) -> None:
        self._reactor.callFromThread(function)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.call(lambda: run(self.server.stop(within_seconds=2)).addBoth(lambda _: self._reactor.stop()))
            self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


def trusting(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_tcp(running: Running) -> None:
    port = running.listen()
    running.start()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for body in (b"", b"x", b"x" * 1_000_000):
        client.request("PUT", "/echo/a", body)
        assert client.getresponse().read() == b'{"name":"a","size":%d,"ip":"127.0.0.1"}' % len(body)
    client.request("GET", "/large")
    assert len(client.getresponse().read()) == 5_000_000
    client.close()


def test_tls(running: Running, certificate: Certificate) -> None:
    port = running.listen(tls=ServerTls(certificate.certificate, certificate.key))
    running.start()
    client = http.client.HTTPSConnection("localhost", port, timeout=10, context=trusting(certificate))
    for body in (b"", b"x" * 1_000_000):
        client.request("PUT", "/echo/a", body)
        assert client.getresponse().read() == b'{"name":"a","size":%d,"ip":"127.0.0.1"}' % len(body)
    client.request("GET", "/large")
    assert len(client.getresponse().read()) == 5_000_000
    assert isinstance(client.sock, ssl.SSLSocket)
    assert client.sock.selected_alpn_protocol() == "http/1.1"
    client.close()


@pytest.mark.parametrize("target", ["/large", "/nowhere", "nonsense"])
def test_some_headers_stand_on_every_answer(running: Running, target: str) -> None:
    port = running.listen()
    running.start()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", target)
    assert client.getresponse().headers["X-Everywhere"] == "yes"
    client.close()


def test_browsers_are_kept_to_tls_or_let_go() -> None:
    """RFC 6797 section 6.1.1"""
    assert strict_transport_security(365) == {"Strict-Transport-Security": "max-age=31536000"}
    assert strict_transport_security(0) == {"Strict-Transport-Security": "max-age=0"}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(running: Running, certificate: Certificate) -> None:
    port = running.listen(tls=ServerTls(certificate.certificate, certificate.key))
    running.start()
    context = trusting(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(("localhost", port), 10) as plain:
        context.wrap_socket(plain, server_hostname="localhost")


def test_plain_http_to_a_tls_port_ends(running: Running, certificate: Certificate) -> None:
    port = running.listen(tls=ServerTls(certificate.certificate, certificate.key))
    running.start()
    with socket.create_connection(("localhost", port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        try:
            while piece := plain.recv(1000):
                received += piece
        except ConnectionResetError:
            pass
    assert b"HTTP/1.1 200" not in received


def test_a_renewed_certificate_is_used_after_a_reload(running: Running, certificate: Certificate) -> None:
    tls = ServerTls(certificate.certificate, certificate.key)
    port = running.listen(tls=tls)
    running.start()
    certificate.write()
    tls.reload()
    client = http.client.HTTPSConnection("localhost", port, timeout=10, context=trusting(certificate))
    client.request("GET", "/echo/a")
    assert client.getresponse().status == 200
    client.close()


def test_an_unusable_renewal_leaves_the_old_certificate(
    running: Running, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServerTls(certificate.certificate, certificate.key)
    port = running.listen(tls=tls)
    running.start()
    context = trusting(certificate)
    certificate.key.write_text("nonsense")
    tls.reload()
    assert str(certificate.key) in caplog.text
    client = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    client.request("GET", "/echo/a")
    assert client.getresponse().status == 200
    client.close()


def test_unusable_files_are_named(certificate: Certificate, tmp_path: Path) -> None:
    with pytest.raises(UnusableCertificate, match=r"missing\.pem"):
        ServerTls(tmp_path / "missing.pem", certificate.key)
    (tmp_path / "other").mkdir()
    other = Certificate(tmp_path / "other")
    with pytest.raises(UnusableCertificate):
        ServerTls(certificate.certificate, other.key)


def test_a_unix_socket(running: Running, tmp_path: Path) -> None:
    running.listen(f"unix:{tmp_path}/http")
    running.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(f"{tmp_path}/http")
        client.sendall(b"GET /echo/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := client.recv(10_000):
            received += piece
    assert received.endswith(b'{"name":"a","size":0,"ip":""}')


def test_stopping_frees_the_port(running: Running) -> None:
    port = running.listen()
    running.start()
    running.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
