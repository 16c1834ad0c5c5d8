"""The content repository through the Router."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.api.client.media import INLINE_TYPES
from homeserver.api.client.routes.media import MEDIA
from homeserver.config.media import Media as MediaConfig
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route, Router
from homeserver.protocol.errors import MissingToken
from homeserver.protocol.ids import UserId
from homeserver.protocol.requester import Requester
from homeserver.runtime.database import Database
from homeserver.services.media import MediaServices
from tests.support.clock import FakeClock
from tests.support.http import Answer, dispatch, start, with_query
from tests.support.media import open_media
from tests.support.pictures import opened, picture
from tests.support.running import result

DOWNLOAD = "/_matrix/client/v1/media/download"
THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
OLD_DOWNLOAD = "/_matrix/media/v3/download"
UPLOAD = "/_matrix/media/v3/upload"
CREATE = "/_matrix/media/v1/create"


def who_asks(request: Request, route: Route) -> Requester | None:
    """The token is the user ID."""
    token = request.access_token()
    if token is None and route.auth is Auth.USER:
        raise MissingToken
    return None if token is None else Requester(UserId(token))


class Server:
    """The media routes alone."""

    def __init__(self, media: MediaServices) -> None:
        self.media = media
        self.router = Router(self, MEDIA, authenticate=who_asks)

    def ask(
        self, method: str, path: str, body: Any = None, /, *, user: str | None = "@alice:test",
        headers: dict[str, str] | None = None, **query: Any,
    ) -> Answer:  # fmt: skip
        sent = dict(headers or {})
        if user:
            sent["Authorization"] = f"Bearer {user}"
        return dispatch(self.router, method, with_query(path, query), sent, body)

    def upload(self, data: bytes, content_type: str = "image/png", **query: Any) -> str:
        """The media's address: server/media_id."""
        answer = self.ask("POST", UPLOAD, data, headers={"Content-Type": content_type}, **query)
        assert answer.status == 200, answer.body
        uri: str = answer.json["content_uri"]
        return uri.removeprefix("mxc://")


@pytest.fixture
def server(tmp_path: Path, sqlite_database: Database, time: FakeClock) -> Server:
    media = open_media(tmp_path, sqlite_database, time, MediaConfig(max_upload_mib=30))
    result(media.start())
    return Server(media)


def test_what_is_uploaded_is_downloaded(server: Server) -> None:
    data = picture(50, 50)
    address = server.upload(data, filename="cat.png")

    answer = server.ask("GET", f"{DOWNLOAD}/{address}")

    assert address.startswith("test/")
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'inline; filename="cat.png"'


def test_every_file_is_sandboxed(server: Server) -> None:
    address = server.upload(picture(50, 50))
    for path in (f"{DOWNLOAD}/{address}", f"{THUMBNAIL}/{address}?width=32&height=32"):
        headers = server.ask("GET", path).headers
        assert headers["Content-Security-Policy"].startswith(
            "sandbox; default-src 'none'; script-src 'none';"
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert headers["Cache-Control"].startswith("private")


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/plain; charset=utf-8", "inline"),
        ("IMAGE/PNG", "inline"),
        ("video/mp4", "inline"),
        ("nonsense", "attachment"),
    ],
)
def test_only_harmless_types_are_shown_inline(server: Server, content_type: str, disposition: str) -> None:
    address = server.upload(b"<script>", content_type)

    headers = server.ask("GET", f"{DOWNLOAD}/{address}").headers

    assert headers["Content-Disposition"] == disposition
    assert headers["Content-Type"] in (content_type, "application/octet-stream")


def test_nothing_that_runs_scripts_is_inline() -> None:
    assert not INLINE_TYPES & {"text/html", "image/svg+xml", "application/xml", "text/xml", "application/pdf"}
    assert len(INLINE_TYPES) == 26


def test_the_caller_may_name_the_file(server: Server) -> None:
    address = server.upload(b"x", filename="ours.txt")

    answer = server.ask("GET", f"{DOWNLOAD}/{address}/Gr%C3%BC%C3%9Fe%2F%22.txt")

    assert answer.headers["Content-Disposition"].endswith("filename*=utf-8''Gr%C3%BC%C3%9Fe%2F%22.txt")


def test_ranges_and_validators(server: Server) -> None:
    address = server.upload(b"0123456789", "text/plain")

    part = server.ask("GET", f"{DOWNLOAD}/{address}", headers={"Range": "bytes=2-4"})
    again = server.ask("GET", f"{DOWNLOAD}/{address}", headers={"If-None-Match": part.headers["ETag"]})

    assert (part.status, part.body) == (206, b"234")
    assert (again.status, again.body) == (304, b"")


def test_twenty_megabytes_there_and_back(server: Server) -> None:
    data = bytes(range(256)) * 4096 * 20
    address = server.upload(data, "application/octet-stream")

    assert server.ask("GET", f"{DOWNLOAD}/{address}").body == data


def test_the_limit_is_told_and_held(server: Server) -> None:
    for path in ("/_matrix/client/v1/media/config", "/_matrix/media/v3/config"):
        assert server.ask("GET", path).json == {"m.upload.size": 30 * 1024 * 1024}

    answer = server.ask("POST", UPLOAD, b"x" * (30 * 1024 * 1024 + 1))

    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")


def test_who_uploads_and_downloads_must_say_who_they_are(server: Server) -> None:
    address = server.upload(b"x")
    for method, path in (
        ("POST", UPLOAD),
        ("POST", CREATE),
        ("PUT", f"{UPLOAD}/{address}"),
        ("GET", f"{DOWNLOAD}/{address}"),
        ("GET", f"{DOWNLOAD}/{address}/x.png"),
        ("GET", f"{THUMBNAIL}/{address}?width=1&height=1"),
        ("GET", "/_matrix/client/v1/media/config"),
        ("GET", "/_matrix/media/v3/config"),
    ):
        assert server.ask(method, path, user=None).errcode == "M_MISSING_TOKEN"


def test_the_old_endpoints_are_frozen(server: Server) -> None:
    address = server.upload(picture(50, 50))
    for path in (
        f"{OLD_DOWNLOAD}/{address}",
        f"{OLD_DOWNLOAD}/{address}/cat.png",
        f"/_matrix/media/r0/download/{address}",
        f"/_matrix/media/v3/thumbnail/{address}?width=32&height=32",
    ):
        answer = server.ask("GET", path, user=None)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


def test_asynchronous_upload(server: Server, time: FakeClock) -> None:
    created = server.ask("POST", CREATE, {}).json
    address = created["content_uri"].removeprefix("mxc://")
    assert created["unused_expires_at"] == time.now_ms() + 24 * 3_600_000

    early = server.ask("GET", f"{DOWNLOAD}/{address}", timeout_ms=0)
    waiting = start(server.router, "GET", f"{DOWNLOAD}/{address}", {"Authorization": "Bearer @bob:test"})
    sent = server.ask("PUT", f"{UPLOAD}/{address}", b"later", headers={"Content-Type": "text/plain"})
    again = server.ask("PUT", f"{UPLOAD}/{address}", b"never")

    assert (early.status, early.errcode) == (504, "M_NOT_YET_UPLOADED")
    assert (sent.status, sent.json) == (200, {})
    assert waiting.answer.body == b"later"
    assert (again.status, again.errcode) == (409, "M_CANNOT_OVERWRITE_MEDIA")


def test_another_user_may_not_fill_a_media_id(server: Server) -> None:
    address = server.ask("POST", CREATE).json["content_uri"].removeprefix("mxc://")

    answer = server.ask("PUT", f"{UPLOAD}/{address}", b"x", user="@bob:test")

    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    "address",
    [
        "test/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "test/..",
        "test/unknown",
        "elsewhere.example/abc",
    ],
)
def test_what_is_not_there_is_not_found(server: Server, address: str) -> None:
    answer = server.ask("GET", f"{DOWNLOAD}/{address}")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


def test_a_server_name_must_be_one(server: Server) -> None:
    assert server.ask("GET", f"{DOWNLOAD}/%2e%2e%2f/abc").errcode == "M_INVALID_PARAM"


def test_thumbnail(server: Server) -> None:
    address = server.upload(picture(400, 300))

    answer = server.ask("GET", f"{THUMBNAIL}/{address}", width=32, height=32, method="crop")

    assert opened(answer.body).size == (32, 32)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'inline; filename="thumbnail.png"'


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"width": 32}, "M_MISSING_PARAM"),
        ({"width": 0, "height": 32}, "M_INVALID_PARAM"),
        ({"width": -5, "height": 32}, "M_INVALID_PARAM"),
        ({"width": "a", "height": 32}, "M_INVALID_PARAM"),
        ({"width": 32, "height": 32, "method": "stretch"}, "M_INVALID_PARAM"),
        ({"width": 32, "height": 32, "animated": "perhaps"}, "M_INVALID_PARAM"),
    ],
)
def test_thumbnails_of_impossible_sizes(server: Server, query: dict[str, Any], errcode: str) -> None:
    address = server.upload(picture(400, 300))

    answer = server.ask("GET", f"{THUMBNAIL}/{address}", **query)

    assert (answer.status, answer.errcode) == (400, errcode)


def test_a_text_has_no_thumbnail(server: Server) -> None:
    address = server.upload(b"hello", "image/png")

    answer = server.ask("GET", f"{THUMBNAIL}/{address}", width=32, height=32)

    assert (answer.status, answer.errcode) == (400, "M_UNKNOWN")
