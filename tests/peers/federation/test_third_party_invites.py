"""Invites by e-mail address between Postroom and Synapse, with an identity server that both trust."""

import json
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.http_client import HttpRequest
from tests.peers.federation.people import Neighbour, Outside
from tests.peers.federation.servers import Peer, PostroomPeer, SynapsePeer
from tests.peers.federation.sides import Sides, both_ways, same_state
from tests.support.certificates import Authority
from tests.support.identity_server import ON_BIND, IdentityServer
from tests.support.network import Network
from tests.support.people import path
from tests.support.remote_servers import SocketServer, plain, read_request

pytestmark = [pytest.mark.xdist_group("third-party invites"), pytest.mark.slow]
numbers = count(1)


class LiveIdentityServer(IdentityServer):
    """Listens on loopback, with TLS."""

    def __init__(self, authority: Authority) -> None:
        super().__init__("to be named", Network())
        self._authority = authority
        self._listening = SocketServer(self._serve, tls=authority.issue("127.0.0.1"))
        self.name = ServerName(f"127.0.0.1:{self._listening.port}")

    def close(self) -> None:
        self._listening.close()

    def tell(self, server: Outside, address: str, whom: Neighbour) -> None:
        """An address is somebody's: by POST, which is what servers out there understand."""
        context = ssl.create_default_context(cafile=self._authority.file)
        connection = HTTPSConnection(server.name, context=context, timeout=30)
        body = json.dumps(self.binding(address, whom.user_id))
        connection.request("POST", ON_BIND, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()

    def _serve(self, connection: socket.socket) -> None:
        while (request := _parsed(*read_request(connection))) is not None:
            answer = self.answer(request)
            connection.sendall(plain(answer.body, f"{answer.status} Done", "Content-Type: application/json"))


def _parsed(head: bytes, body: bytes) -> HttpRequest | None:
    first, *lines = head.decode().split("\r\n")
    if not first:
        return None
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.title()] = value.strip()
    method, target, _ = first.split(" ")
    return HttpRequest(method, target, headers, body)


class TrustingPostroom(PostroomPeer):
    """One that gives addresses to the identity server."""

    trusted = ""

    def config_text(self) -> str:
        return f"{super().config_text()}  identity_servers: ['{self.trusted}']\n"


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Iterator[LiveIdentityServer]:
    server = LiveIdentityServer(authority)
    yield server
    server.close()


@pytest.fixture(scope="module")
def servers(
    authority: Authority, identity: LiveIdentityServer, synapse_is_there: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Outside, Outside]]:  # fmt: skip
    """A Postroom and a Synapse. For all but federation that believes whom its environment names."""
    TrustingPostroom.trusted = identity.name
    folder: Path = tmp_path_factory.mktemp("third-party")
    postroom = TrustingPostroom(folder / "postroom", authority, "127.0.0.2")
    synapse = SynapsePeer(folder / "synapse", authority, "127.0.0.3")
    processes: list[Peer] = [postroom, synapse]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.file))
        synapse.start()
    postroom.start()
    yield Outside(postroom), Outside(synapse)
    for process in processes:
        process.end()
    assert not postroom.tracebacks(), postroom.tracebacks()


@pytest.fixture(params=both_ways("postroom", "synapse"))
def sides(request: pytest.FixtureRequest, servers: tuple[Outside, Outside]) -> Sides:
    postroom, synapse = servers
    return Sides(postroom, synapse) if request.param == "postroom" else Sides(synapse, postroom)


def invite(anna: Neighbour, room: str, identity: IdentityServer) -> str:
    """Somebody new; their address."""
    address = f"somebody{next(numbers)}@example.org"
    anna.ask("POST", path("rooms", room, "invite"), identity.invitation(address))
    return address


def token_of(identity: IdentityServer, address: str) -> str:
    (stored,) = [each for each in identity.stored if each["address"] == address]
    return str(stored["token"])


def test_the_offer_is_exchanged_with_who_made_it(sides: Sides, identity: LiveIdentityServer) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat", name="The den")
    address = invite(anna, room, identity)
    offer = anna.state_of(room, "m.room.third_party_invite", token_of(identity, address))
    assert offer["display_name"] == "b...@e..."
    identity.tell(sides.guest, address, bela)
    stripped = bela.invite_soon(room)["invite_state"]["events"]
    (mine,) = [e for e in stripped if e["type"] == "m.room.member" and e["state_key"] == bela.user_id]
    assert mine["content"]["third_party_invite"]["signed"]["mxid"] == bela.user_id
    sides.enter(room, bela, anna)
    same_state(room, anna, bela)


def test_a_server_in_the_room_completes_the_offer(sides: Sides, identity: LiveIdentityServer) -> None:
    anna, bela, room = sides.shared_room()
    carla = sides.another_guest()
    address = invite(anna, room, identity)
    bela.soon(lambda: bela.state_of(room, "m.room.third_party_invite", token_of(identity, address)))
    identity.tell(sides.guest, address, carla)
    carla.invite_soon(room)
    anna.sees_member_soon(room, carla, "invite")
    assert anna.state(room)["m.room.member", carla.user_id]["sender"] == anna.user_id
    carla.join(room)
    anna.sees_member_soon(room, carla, "join")
    same_state(room, anna, bela, carla)


def test_who_is_known_is_invited_as_the_user(sides: Sides, identity: LiveIdentityServer) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    identity.bound["known@example.org"] = bela.user_id
    anna.ask("POST", path("rooms", room, "invite"), identity.invitation("known@example.org"))
    bela.invite_soon(room)


@pytest.mark.parametrize("why", ["taken back", "key revoked"])
def test_an_offer_that_has_ended(sides: Sides, identity: LiveIdentityServer, why: str) -> None:
    anna, bela = sides.people()
    room = anna.create_room(preset="private_chat")
    identity.key = SigningKey.generate()  # of which nobody has heard yet whether it is valid
    address = invite(anna, room, identity)
    if why == "taken back":
        anna.set_state(room, "m.room.third_party_invite", {}, state_key=token_of(identity, address))
    identity.keys_are_valid = why != "key revoked"
    signed: dict[str, Any] = identity.signed(bela.user_id, token_of(identity, address), sender=anna.user_id)
    answer = bela.request("POST", path("join", room), {"third_party_signed": signed})
    identity.keys_are_valid = True
    assert answer.status >= 400
    assert anna.member(room, bela) is None
