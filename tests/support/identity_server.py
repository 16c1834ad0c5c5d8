"""An identity server in memory: it knows whose addresses are, keeps invites, and tells when one was bound.

identity = IdentityServer("id.example", federation.network)
alice.ask("POST", path("rooms", room, "invite"), identity.invitation("bob@example.org"))
identity.bind("bob@example.org", bob, tell=two)
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from homeserver.protocol.ids import ServerName
from homeserver.protocol.signatures import SigningKey, sign_json
from homeserver.protocol.third_party_invites import lookup_hash
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.http import Answer
from tests.support.network import Network
from tests.support.people import Person
from tests.support.whole_server import WholeServer

V2 = "/_matrix/identity/v2"
ON_BIND = "/_matrix/federation/v1/3pid/onbind"
PEPPER = "matrixrocks"
TOKEN = "the-token-of-alice"


class IdentityServer:
    """`stored` are the invites it was given, `bound` says whose addresses are, `keys_are_valid` what of keys.

    `asked` are the paths of all requests, `algorithms` what it offers for look-ups; `answers` overrule it.
    """

    def __init__(self, name: str, network: Network) -> None:
        self.name = ServerName(name)
        self.key = SigningKey("0", b"i" * 32)
        self.stored: list[dict[str, Any]] = []
        self.bound: dict[str, str] = {}
        self.asked: list[str] = []
        self.algorithms = ["sha256"]
        self.keys_are_valid = True
        self.answers: dict[str, tuple[int, Any]] = {}
        network.add(name, self.answer)

    @property
    def public_key(self) -> str:
        """The key that offers name."""
        return self.key.verify_key.to_base64()

    def invitation(self, address: str, token: str = TOKEN) -> dict[str, Any]:
        """The body of a client's invite."""
        return {"id_server": self.name, "id_access_token": token, "medium": "email", "address": address}

    def signed(self, mxid: str, token: str, **more: str) -> dict[str, Any]:
        """Its word that the invited is this user."""
        return sign_json({"mxid": mxid, "token": token, **more}, self.name, self.key)

    def binding(self, address: str, mxid: str) -> dict[str, Any]:
        """The address turns out to be the user's: what their server is to be told."""
        self.bound[address] = mxid
        invites = [
            {
                "medium": "email", "address": address, "mxid": mxid, "room_id": invite["room_id"],
                "sender": invite["sender"], "signed": self.signed(mxid, invite["token"]),
            }
            for invite in self.stored if invite["address"] == address
        ]  # fmt: skip
        return {"medium": "email", "address": address, "mxid": mxid, "invites": invites}

    def bind(self, address: str, whom: Person, tell: WholeServer, *, method: str = "PUT") -> Answer:
        """The address turns out to be the person's: tell their server, as the specification has it."""
        body = self.binding(address, whom.user_id)
        pending = tell.start_request(method, ON_BIND, body, ip="9.9.9.9")
        tell.time.advance(0)
        return pending.answer

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """What it says to a request."""
        parts = urlsplit(request.path)
        self.asked.append(parts.path)
        if parts.path in self.answers:
            return _json(*self.answers[parts.path])
        if parts.path == "/key":
            known = parse_qs(parts.query)["public_key"] == [self.public_key]
            return _json(200, {"valid": known and self.keys_are_valid})
        in_query = parse_qs(parts.query).get("access_token", [""])[0]
        if TOKEN not in (in_query, request.headers.get("Authorization", "").removeprefix("Bearer ")):
            return _json(401, {"errcode": "M_UNAUTHORIZED", "error": "Who are you?"})
        body = orjson.loads(request.body or b"{}")
        if parts.path == f"{V2}/hash_details":
            return _json(200, {"lookup_pepper": PEPPER, "algorithms": self.algorithms})
        if parts.path == f"{V2}/lookup":
            return self._look_up(body)
        assert parts.path == f"{V2}/store-invite"
        return self._store(body)

    def _look_up(self, body: dict[str, Any]) -> HttpAnswer:
        assert body["pepper"] == PEPPER
        hashed = body["algorithm"] == "sha256"
        known = {
            lookup_hash(address, "email", PEPPER) if hashed else f"{address} email": mxid
            for address, mxid in self.bound.items()
        }
        return _json(
            200, {"mappings": {asked: known[asked] for asked in body["addresses"] if asked in known}}
        )

    def _store(self, body: dict[str, Any]) -> HttpAnswer:
        token = f"token-{len(self.stored) + 1}"
        self.stored.append({**body, "token": token})
        key = {"public_key": self.public_key, "key_validity_url": f"https://{self.name}/key"}
        return _json(200, {"token": token, "public_keys": [key], "display_name": "b...@e..."})


def _json(status: int, value: Any) -> HttpAnswer:
    return HttpAnswer(status, {"content-type": "application/json"}, orjson.dumps(value))
