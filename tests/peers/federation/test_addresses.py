"""Nobody makes a server connect into the network it stands in: server names that mean private addresses.

The doors of a running server, over real sockets; redirects and delegation to such addresses are tested with
the HTTP client itself.
"""

import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.peers.federation.people import Neighbour, Outside
from tests.peers.federation.servers import PostroomPeer
from tests.support.certificates import Authority
from tests.support.people import V1, path
from tests.support.remote_servers import SocketServer, answering, plain


class Careful(PostroomPeer):
    """As it is shipped: private addresses are not for others' names."""

    def config_text(self) -> str:
        return super().config_text().replace("addresses: true", "addresses: false")


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Neighbour]:
    peer = Careful(tmp_path_factory.mktemp("careful"), authority, "127.0.0.8")
    peer.start()
    yield Outside(peer).register("alice")
    peer.end()
    assert not peer.tracebacks(), peer.tracebacks()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "0.0.0.0"],
)
def test_names_that_lead_inside(alice: Neighbour, host: str) -> None:
    inside = SocketServer(answering(plain(b"secret")))
    name = f"{host}:{inside.port}"
    alice.request("GET", path("directory", "room", f"#x:{name}"))
    alice.request("GET", path("profile", f"@x:{name}"))
    alice.request("GET", f"{V1}/media/download/{name}/abc")
    alice.request("GET", f"/publicRooms?server={name}")
    alice.request("POST", f"{path('join', '!x:' + name)}?server_name={name}")
    alice.request("POST", f"{path('knock', '!x:' + name)}?server_name={name}")
    room = alice.create_room()
    alice.request("POST", path("rooms", room, "invite"), {"user_id": f"@x:{name}"})
    inside.close()
    assert inside.connections == 0


def test_a_key_request_for_a_name_that_leads_inside(alice: Neighbour, authority: Authority) -> None:
    """A request signed by such a name would have the server fetch its keys there."""
    inside = SocketServer(answering(plain(b"{}")))
    name = f"127.0.0.1:{inside.port}"
    peer = alice.server.process  # type: ignore[attr-defined]
    header = f'X-Matrix origin="{name}",destination="{peer.name}",key="ed25519:a",sig="{"A" * 86}"'
    assert status_of(peer, authority.file, header) in (401, 403)
    inside.close()
    assert inside.connections == 0


def status_of(peer: PostroomPeer, ca_file: Path, authorization: str) -> int:
    """The status of a request over federation with this header."""
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = HTTPSConnection(peer.name, context=context, timeout=20)
    connection.request("GET", "/_matrix/federation/v1/publicRooms", headers={"Authorization": authorization})
    status = connection.getresponse().status
    connection.close()
    return status
