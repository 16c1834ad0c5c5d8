"""Media between servers: as it is served, and as it is fetched and kept."""

from typing import Any

from homeserver.protocol.ids import ServerName
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.adversary import V1, Adversary
from tests.support.federation import Federation
from tests.support.people import Person
from tests.support.pictures import picture
from tests.support.running import result
from tests.support.whole_server import WholeServer

MEDIA = "/_matrix/client/v1/media"


def upload(person: Person, content: bytes, name: str | None = None) -> str:
    """The media ID."""
    pending = person.server.start_request(
        "POST", "/_matrix/media/v3/upload", content, token=person.token, query={"filename": name},
    )  # fmt: skip
    uri: str = pending.answer.json["content_uri"]
    return uri.rpartition("/")[2]


def fetch(person: Person, origin: str, media_id: str, **query: Any) -> Any:
    return person.request("GET", f"{MEDIA}/download/{origin}/{media_id}", **query)


def test_a_file_of_another_server_is_fetched_once(federation: Federation, alice: Person, bob: Person) -> None:
    content = bytes(range(256)) * 300
    media_id = upload(alice, content, name="né.pdf")
    for _ in range(2):
        answer = fetch(bob, "one", media_id)
        assert answer.status == 200
        assert answer.body == content
        assert "n%C3%A9.pdf" in answer.headers["Content-Disposition"]
    asked = [request.path for host, request in federation.network.sent if "media" in request.path]
    assert len(asked) == 1
    assert asked[0].startswith(f"{V1}/media/download/{media_id}")


def test_a_copy_outlives_its_server_and_a_restart(federation: Federation, alice: Person, bob: Person) -> None:
    media_id = upload(alice, b"precious")
    fetch(bob, "one", media_id)
    federation.network.down.add("one")
    federation.all["two"].restart()
    assert fetch(bob, "one", media_id).body == b"precious"


def test_thumbnails_are_made_of_copies(alice: Person, bob: Person) -> None:
    media_id = upload(alice, picture(200, 100))
    answer = bob.request("GET", f"{MEDIA}/thumbnail/one/{media_id}?width=32&height=32&method=crop")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("image/")


def test_what_cannot_be_had_is_not_found(federation: Federation, alice: Person, bob: Person) -> None:
    assert fetch(bob, "one", "unknown").errcode == "M_NOT_FOUND"
    assert fetch(bob, "gone.example", "any").errcode == "M_NOT_FOUND"
    before = len(federation.network.sent)
    assert fetch(bob, "one", "unknown").errcode == "M_NOT_FOUND"
    assert len(federation.network.sent) == before
    federation.time.advance(61)
    fetch(bob, "one", "unknown")
    assert len(federation.network.sent) > before
    assert alice.user_id


def test_long_unused_copies_are_given_up(federation: Federation, alice: Person, bob: Person) -> None:
    two = federation.all["two"]
    kept, old = upload(alice, b"kept"), upload(alice, b"old")
    fetch(bob, "one", kept)
    fetch(bob, "one", old)
    for _ in range(31):
        federation.time.advance(86_400)
        fetch(bob, "one", kept)
    other = upload(alice, b"another")
    fetch(bob, "one", other)
    copies = _copies(two)
    assert copies == {kept, other}
    assert fetch(bob, "one", old).body == b"old"


def test_copies_beyond_the_size_are_given_up_by_their_last_use(
    federation: Federation, alice: Person, bob: Person
) -> None:
    two = federation.all["two"]
    media = two.services.media.downloads._remote  # the test is about what the configuration sets
    media._max_total = 2_500  # type: ignore[attr-defined]
    ids = []
    for n in range(4):
        federation.time.advance(7_200)
        ids.append(upload(alice, bytes([n]) * 1_000))
        fetch(bob, "one", ids[-1])
    assert _copies(two) == set(ids[2:])


def test_a_file_that_is_uploaded_here_too_stays(federation: Federation, alice: Person, bob: Person) -> None:
    remote = upload(alice, b"the same")
    fetch(bob, "one", remote)
    own = upload(bob, b"the same")
    federation.time.advance(86_400 * 31)
    fetch(bob, "one", upload(alice, b"something"))
    assert remote not in _copies(federation.all["two"])
    assert fetch(bob, "two", own).body == b"the same"


def test_files_that_are_too_large_are_not_kept(federation: Federation, alice: Person, bob: Person) -> None:
    two = federation.all["two"]
    media = two.services.media.downloads._remote
    media._max_size = 100  # type: ignore[attr-defined]
    media_id = upload(alice, b"x" * 101)
    assert fetch(bob, "one", media_id).errcode == "M_TOO_LARGE"
    assert _copies(two) == set()


def test_servers_without_the_new_endpoint_are_asked_the_old_way(federation: Federation, bob: Person) -> None:
    def old(request: HttpRequest) -> HttpAnswer:
        if request.path.startswith("/_matrix/media/v3/download/old.example/thing"):
            assert "Authorization" not in request.headers
            return HttpAnswer(200, {"content-type": "text/plain"}, b"from long ago")
        return HttpAnswer(404, {}, b'{"errcode":"M_UNRECOGNIZED","error":""}')

    federation.network.add("old.example", old)
    assert fetch(bob, "old.example", "thing").body == b"from long ago"


# What this server serves


def test_a_file_is_served_in_two_parts(server: WholeServer) -> None:
    alice = server.register("alice")
    peer = Adversary(server, "peer.example", seed=b"p")
    media_id = upload(alice, b"hello", name="a.txt")
    answer = peer.request("GET", f"{V1}/media/download/{media_id}")
    assert answer.headers["Content-Type"].startswith("multipart/mixed; boundary=")
    boundary = answer.headers["Content-Type"].partition("boundary=")[2].encode()
    empty, metadata, file, end = answer.body.split(b"--" + boundary)
    assert (empty, end) == (b"", b"--\r\n")
    assert metadata == b"\r\nContent-Type: application/json\r\n\r\n{}\r\n"
    head, _, body = file.partition(b"\r\n\r\n")
    assert body == b"hello\r\n"
    assert b"Content-Disposition: " in head
    assert b"a.txt" in head


def test_large_files_are_served_whole(server: WholeServer) -> None:
    alice = server.register("alice")
    peer = Adversary(server, "peer.example", seed=b"p")
    content = bytes(range(250)) * 4_000
    media_id = upload(alice, content)
    answer = peer.request("GET", f"{V1}/media/download/{media_id}")
    assert content in answer.body


def test_only_what_is_here_is_served(server: WholeServer) -> None:
    alice = server.register("alice")
    peer = Adversary(server, "peer.example", seed=b"p")
    assert peer.request("GET", f"{V1}/media/download/unknown").errcode == "M_NOT_FOUND"
    media_id = upload(alice, b"no picture")
    path = f"{V1}/media/thumbnail/{media_id}"
    assert peer.request("GET", f"{path}?width=32&height=32").errcode == "M_UNKNOWN"
    assert peer.request("GET", path).errcode == "M_MISSING_PARAM"
    media_id = upload(alice, picture(64, 64))
    answer = peer.request("GET", f"{V1}/media/thumbnail/{media_id}?width=32&height=32")
    assert b"Content-Type: image/" in answer.body


def _copies(server: WholeServer) -> set[str]:
    """The media IDs of what is kept of server one."""
    rows = result(
        server.database.read(
            lambda txn: txn.rows("SELECT media_id FROM remote_media WHERE origin = %s", (ServerName("one"),))
        )
    )
    return {media_id for (media_id,) in rows}
