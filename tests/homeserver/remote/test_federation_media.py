"""Files of other homeservers: in parts, elsewhere, or the old way."""

import pytest

from homeserver.protocol.ids import ServerName
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.errors import RemoteMisbehaved, RemoteRefused, RemoteUnreachable
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_media import boundary_of
from homeserver.remote.federation_requests import Identity, SignedRequests
from homeserver.remote.server_discovery import ServerDiscovery
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.clock import FakeClock
from tests.support.network import Network
from tests.support.running import result

US, THEM = ServerName("us.example"), ServerName("them.example")
BOUNDARY = "abcdef"
MIXED = {"content-type": f"multipart/mixed; boundary={BOUNDARY}"}
FILE = bytes(range(256)) * 20 + b"\r\n--abcde not quite\r\n--"


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def client(network: Network, time: FakeClock) -> FederationClient:
    outside = network.outside(US)
    identity = Identity(US, SigningKey("ours", b"o" * 32), ServerAcl({"allow": ["*"]}))
    discovery = ServerDiscovery(outside.http, outside.resolver, time)
    return FederationClient(SignedRequests(identity, outside.http, discovery, time), outside.http, time)


def parts(
    second: bytes, *, first: bytes = b"Content-Type: application/json\r\n\r\n{}", end: str = "--"
) -> bytes:
    line = f"\r\n--{BOUNDARY}".encode()
    return line[2:] + b"\r\n" + first + line + b"\r\n" + second + line + end.encode() + b"\r\n"


def take(client: FederationClient) -> tuple[str, str | None, bytes]:
    async def taking() -> tuple[str, str | None, bytes]:
        async with client.media_download(THEM, "media/id", timeout_ms=500) as media:
            return media.content_type, media.content_disposition, b"".join([c async for c in media.chunks])

    return result(taking())


@pytest.mark.parametrize("file", [FILE, b"", b"\r\n", b"x", b"\r\n--abcdeX", b"--abcdef", b"\r\n\r\n\r\n"])
def test_a_file_in_parts(client: FederationClient, network: Network, file: bytes) -> None:
    head = b"Content-Type: image/png\r\ncontent-disposition: inline; filename=a.png\r\n\r\n"
    network.add(THEM, lambda request: HttpAnswer(200, MIXED, parts(head + file)))
    assert take(client) == ("image/png", "inline; filename=a.png", file)
    ((_, request),) = network.sent
    assert request.path == "/_matrix/federation/v1/media/download/media%2Fid?timeout_ms=500"
    assert request.headers["Authorization"].startswith("X-Matrix ")


@pytest.mark.parametrize(
    "first", [b"\r\n{}", b"Content-Type: application/json\r\n\r\n{}", b"\r\n", b"A: b\r\n\r\n"]
)
@pytest.mark.parametrize("preamble", [b"", b"a preamble\r\n", b"\r\n"])
def test_forms_of_parts(client: FederationClient, network: Network, first: bytes, preamble: bytes) -> None:
    body = preamble + parts(b"\r\nthe file", first=first)
    network.add(THEM, lambda request: HttpAnswer(200, MIXED, body))
    assert take(client) == ("application/octet-stream", None, b"the file")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no parts at all",
        parts(b"")[:-20],
        parts(b"\r\ncut off", end="")[:-12],
        f"--{BOUNDARY}\r\n\r\n{{}}\r\n--{BOUNDARY}--\r\n".encode(),
        b"x" * 100_000,
        parts(b"X: " + b"x" * 100_000 + b"\r\n\r\nbody"),
    ],
)
def test_malformed_parts(client: FederationClient, network: Network, body: bytes) -> None:
    network.add(THEM, lambda request: HttpAnswer(200, MIXED, body))
    with pytest.raises(RemoteMisbehaved):
        take(client)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/mixed; boundary=abc", b"abc"),
        ('multipart/mixed; boundary="a b"', b"a b"),
        ("Multipart/Mixed; charset=x; BOUNDARY=abc", b"abc"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    ["", "image/png", "multipart/mixed", "multipart/mixed; boundary=", "image/png; boundary=a",
     f"multipart/mixed; boundary={'x' * 300}", "multipart/mixed; boundary*=idna''abc",
     "multipart/mixed; boundary*=undefined''abc", "multipart/mixed; boundary*=utf-8%00''abc",
     "multipart/mixed; boundary*0*=unicode_escape''%5C",],
)  # fmt: skip
def test_no_boundary(client: FederationClient, network: Network, content_type: str) -> None:
    network.add(THEM, lambda request: HttpAnswer(200, {"content-type": content_type}, parts(b"\r\nx")))
    with pytest.raises(RemoteMisbehaved):
        take(client)


def located(url: str) -> HttpAnswer:
    return HttpAnswer(200, MIXED, parts(f"Location: {url}\r\n\r\n".encode()))


def test_a_file_that_is_elsewhere(client: FederationClient, network: Network) -> None:
    network.add(THEM, lambda request: located("https://cdn.example/file?sig=1"))
    network.add("cdn.example", lambda request: HttpAnswer(200, {"content-type": "image/gif"}, FILE))
    assert take(client) == ("image/gif", None, FILE)
    host, request = network.sent[-1]
    assert (host, request.path) == ("cdn.example", "/file?sig=1")
    assert "Authorization" not in request.headers


def test_redirects_of_the_other_place(client: FederationClient, network: Network) -> None:
    def elsewhere(request: HttpRequest) -> HttpAnswer:
        if request.path == "/file":
            return HttpAnswer(302, {"location": "https://cdn.example/other"}, b"")
        return HttpAnswer(200, {}, b"here")

    network.add(THEM, lambda request: located("https://cdn.example/file"))
    network.add("cdn.example", elsewhere)
    assert take(client)[2] == b"here"


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://cdn.example/", HttpAnswer(200, {}, b"x")),
        ("file:///etc/passwd", HttpAnswer(200, {}, b"x")),
        ("https://cdn.example/", HttpAnswer(403, {}, b"x")),
        ("https://cdn.example/", HttpAnswer(302, {}, b"x")),
        ("https://cdn.example/", HttpAnswer(302, {"location": "https://cdn.example/"}, b"x")),
        ("https://cdn.example/", HttpAnswer(302, {"location": "http://cdn.example/"}, b"x")),
    ],
)
def test_other_places_that_are_of_no_use(
    client: FederationClient, network: Network, url: str, answer: HttpAnswer
) -> None:
    network.add(THEM, lambda request: located(url))
    network.add("cdn.example", lambda request: answer)
    with pytest.raises(RemoteMisbehaved):
        take(client)


def test_another_place_that_is_not_there(client: FederationClient, network: Network) -> None:
    network.add(THEM, lambda request: located("https://cdn.example/"))
    with pytest.raises(RemoteUnreachable):
        take(client)


def test_the_old_way(client: FederationClient, network: Network) -> None:
    def old(request: HttpRequest) -> HttpAnswer:
        if request.path.startswith("/_matrix/federation"):
            return HttpAnswer(404, {}, b'{"errcode":"M_UNRECOGNIZED"}')
        return HttpAnswer(200, {"content-type": "text/plain"}, b"old file")

    network.add(THEM, old)
    assert take(client) == ("text/plain", None, b"old file")
    _, request = network.sent[-1]
    assert request.path == (
        "/_matrix/media/v3/download/them.example/media%2Fid?allow_remote=false&timeout_ms=500"
    )
    assert "Authorization" not in request.headers


def test_a_file_that_is_not_there_is_not_looked_for_twice(client: FederationClient, network: Network) -> None:
    network.add(THEM, lambda request: HttpAnswer(404, {}, b'{"errcode":"M_NOT_FOUND"}'))
    with pytest.raises(RemoteRefused):
        take(client)
    assert len(network.sent) == 1
