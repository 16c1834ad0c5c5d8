"""A policy server, before a Postroom whose name and certificate it has. It signs what has no "spam" in it.

Everything but the questions of policy goes on to the Postroom, so that somebody of its name can be in rooms.
"""

import http.client
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from homeserver.protocol.ids import ServerName
from homeserver.protocol.room_versions import room_version
from homeserver.protocol.signatures import SigningKey, sign_event
from tests.peers.federation.servers import Peer

SIGN = ("/_matrix/policy/v1/sign", "/_matrix/policy/unstable/org.matrix.msc4284/sign")


class Guard:
    """Serves at the public port of a peer that is `proxied`. `asked`: the events it was asked about."""

    def __init__(self, peer: Peer, version: str) -> None:
        self.key = SigningKey("policy_server", b"p" * 32)
        self.asked: list[dict[str, Any]] = []
        self.peer = peer
        self.version = room_version(version)
        self._server = ThreadingHTTPServer((peer.host, peer.public_port), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(peer.certificate.certificate, peer.certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def policy(self) -> dict[str, Any]:
        """The content of m.room.policy."""
        return {"via": self.peer.name, "public_keys": {"ed25519": self.key.verify_key.to_base64()}}

    def judge(self, pdu: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(pdu)
        if "spam" in str(pdu["content"].get("body")):
            return 400, {"errcode": "M_FORBIDDEN", "error": "This looks like spam"}
        signed = sign_event(self.version, pdu, ServerName(self.peer.name), self.key)
        signatures: Any = signed["signatures"]
        return 200, {self.peer.name: {self.key.key_id: signatures[self.peer.name][self.key.key_id]}}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(guard: Guard) -> type[BaseHTTPRequestHandler]:
    context = ssl.create_default_context(cafile=str(guard.peer.ca_file))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path in SIGN:
                status, answer = guard.judge(json.loads(body))
                self._send(status, json.dumps(answer).encode(), "application/json")
            else:
                self._send(*self._pass_on(body))

        def _pass_on(self, body: bytes) -> tuple[int, bytes, str]:
            peer = guard.peer
            connection = http.client.HTTPSConnection(peer.host, peer.behind, timeout=30, context=context)
            try:
                connection.request(self.command, self.path, body or None, dict(self.headers))
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.headers.get("Content-Type", "application/json")
            finally:
                connection.close()

        def _send(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
