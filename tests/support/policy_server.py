"""A policy server of our own making: it signs what does not say "spam", until a test has it lie."""

from typing import Any

import orjson

from homeserver.protocol.ids import ServerName
from homeserver.protocol.room_versions import room_version
from homeserver.protocol.signatures import SigningKey, sign_event
from homeserver.runtime.http_client import HttpRequest
from tests.support.adversary import Adversary, Endpoint, Pdu

POLICY = ServerName("policy.example")
SIGN = "/_matrix/policy/v1/sign"


class Guard:
    """`server` is where it can be asked, `answer` what it says instead of the truth."""

    def __init__(self, server: Adversary, version: str) -> None:
        self.server = server
        self.key = SigningKey("policy_server", b"p" * 32)
        self.signs_with = self.key
        self.answer: Endpoint | None = None
        self.version = room_version(version)
        server.on(SIGN, self._sign)

    @property
    def content(self) -> dict[str, Any]:
        """Of the m.room.policy event of a room that uses it."""
        return {"via": self.server.name, "public_keys": {"ed25519": self.key.verify_key.to_base64()}}

    @property
    def asked(self) -> int:
        return len(self.server.requests_to(SIGN))

    def signature(self, pdu: Pdu) -> dict[str, Any]:
        signatures: Any = self.signed(pdu)["signatures"]
        return {
            self.server.name: {"ed25519:policy_server": signatures[self.server.name]["ed25519:policy_server"]}
        }

    def signed(self, pdu: Pdu) -> Pdu:
        return sign_event(self.version, pdu, self.server.name, self.signs_with)

    def _sign(self, request: HttpRequest) -> tuple[int, Any]:
        if self.answer is not None:
            return self.answer(request)
        pdu = orjson.loads(request.body or b"")
        if pdu["content"].get("body") == "spam":
            return 400, {"errcode": "M_FORBIDDEN", "error": "This looks like spam"}
        return 200, self.signature(pdu)
