"""Downloads: who gets which file, and how long they wait for it."""

from datetime import date
from pathlib import Path

import pytest

from homeserver.config.media import Media as MediaConfig
from homeserver.protocol.errors import NotFound, NotYetUploaded
from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Database
from homeserver.services.media import MediaServices
from homeserver.services.media.downloads import is_media_id
from homeserver.services.media.files import StorageUnavailable
from homeserver.storage.media import MediaStore
from tests.support.clock import FakeClock
from tests.support.media import ALICE, ANY, BOB, SERVER, files_under, open_media, pieces
from tests.support.running import Running, result

YEAR_S = 365 * 86_400


def upload(media: MediaServices, data: bytes = b"hello") -> str:
    return result(media.uploads.upload(ALICE, ANY, pieces(data)))


def test_waiting_ends_when_the_upload_arrives(media: MediaServices, time: FakeClock) -> None:
    promise = result(media.uploads.promise(ALICE))
    waiting = [Running(media.downloads.find(SERVER, promise.media_id, timeout_ms=20_000)) for _ in range(2)]
    time.advance(10)
    assert not any(one.is_done for one in waiting)

    result(media.uploads.fill(ALICE, SERVER, promise.media_id, ANY, pieces(b"hello")))

    assert [one.result().size for one in waiting] == [5, 5]
    assert time.timers == 0


def test_waiting_ends_with_its_time(media: MediaServices, time: FakeClock) -> None:
    promise = result(media.uploads.promise(ALICE))
    waiting = Running(media.downloads.find(SERVER, promise.media_id, timeout_ms=20_000))
    time.advance(20)

    with pytest.raises(NotYetUploaded):
        waiting.result()


def test_nobody_waits_for_ever(media: MediaServices, time: FakeClock) -> None:
    promise = result(media.uploads.promise(ALICE))
    waiting = Running(media.downloads.find(SERVER, promise.media_id, timeout_ms=10**15))
    time.advance(61)
    assert waiting.is_done


def test_zero_does_not_wait(media: MediaServices) -> None:
    promise = result(media.uploads.promise(ALICE))
    with pytest.raises(NotYetUploaded):
        result(media.downloads.find(SERVER, promise.media_id, timeout_ms=0))


@pytest.mark.parametrize(
    "media_id", ["../../etc/passwd", "..", "", "a/b", "a.b", "ä", "x" * 300, "%2e%2e", "a\nb", "a\n"]
)
def test_what_is_no_media_id_is_not_looked_for(media: MediaServices, media_id: str) -> None:
    assert not is_media_id(media_id)
    with pytest.raises(NotFound):
        result(media.downloads.find(SERVER, media_id, timeout_ms=0))


def test_other_servers_media_is_not_found(media: MediaServices) -> None:
    with pytest.raises(NotFound, match="does not federate"):
        result(media.downloads.find(ServerName("elsewhere"), "abc", timeout_ms=0))
    with pytest.raises(NotFound, match="not allowed"):
        result(media.downloads.find(ServerName("elsewhere"), "abc", timeout_ms=0, allow_remote=False))


def test_quarantined_media_is_not_found(media: MediaServices, database: Database) -> None:
    first, second = upload(media), upload(media)
    result(database.write(MediaStore().quarantine, first, BOB))

    for media_id in (first, second, upload(media)):
        with pytest.raises(NotFound):
            result(media.downloads.find(SERVER, media_id, timeout_ms=0))


def test_unauthenticated_access_ends_with_the_freeze(
    root: Path, sqlite_database: Database, time: FakeClock
) -> None:
    config = MediaConfig(unauthenticated_before=date(2024, 1, 1))
    media = open_media(root, sqlite_database, time, config)
    result(media.start())
    old = upload(media)
    time.advance(YEAR_S)
    new = upload(media)

    def find(media_id: str) -> int:
        found = media.downloads.find_unauthenticated(SERVER, media_id, timeout_ms=0, allow_remote=True)
        return result(found).size

    assert find(old) == 5
    with pytest.raises(NotFound, match="signed-in"):
        find(new)


def test_unauthenticated_access_is_off_at_first(media: MediaServices) -> None:
    with pytest.raises(NotFound):
        result(media.downloads.find_unauthenticated(SERVER, upload(media), timeout_ms=0, allow_remote=True))


def test_a_file_that_is_gone_is_told(media: MediaServices, root: Path) -> None:
    found = result(media.downloads.find(SERVER, upload(media), timeout_ms=0))
    files_under(root)[0].unlink()

    with pytest.raises(NotFound, match="missing"):
        result(media.downloads.content(found).read(0, 5))


def test_a_file_that_is_too_short_breaks_off(media: MediaServices, root: Path) -> None:
    found = result(media.downloads.find(SERVER, upload(media), timeout_ms=0))
    files_under(root)[0].write_bytes(b"he")

    async def read() -> list[bytes]:
        return [piece async for piece in media.downloads.content(found).pieces(0, 5)]

    with pytest.raises(StorageUnavailable):
        result(read())
