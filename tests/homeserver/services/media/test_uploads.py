"""Uploads: what is answered is kept, what is refused leaves nothing behind."""

import hashlib
import resource
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeserver.config.media import Media as MediaConfig
from homeserver.protocol.errors import (
    CannotOverwriteMedia,
    Forbidden,
    LimitExceeded,
    MatrixError,
    NotFound,
    TooLarge,
)
from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Database, open_database
from homeserver.runtime.threads import Threads
from homeserver.services.media import MediaServices, media_services
from homeserver.services.media.files import MediaFiles, StorageFull
from homeserver.services.media.repository import Repository
from homeserver.services.media.uploads import (
    MIB,
    Announced,
    QuotaExceeded,
    clean_name,
    clean_type,
    new_media_id,
)
from homeserver.storage.media import MediaStore
from tests.support.clock import FakeClock
from tests.support.database import Databases, storage_migrations
from tests.support.media import ALICE, ANY, BOB, SERVER, files_under, open_media, pieces
from tests.support.running import Running, ThreadLoop, result

HELLO_HASH = hashlib.sha256(b"hello").hexdigest()


def upload(media: MediaServices, *data: bytes, announced: Announced = ANY) -> str:
    return result(media.uploads.upload(ALICE, announced, pieces(*data)))


def fill(media: MediaServices, media_id: str, data: bytes = b"hello") -> None:
    result(media.uploads.fill(ALICE, SERVER, media_id, ANY, pieces(data)))


def content_of(media: MediaServices, media_id: str) -> bytes:
    found = result(media.downloads.find(SERVER, media_id, timeout_ms=0))
    return result(media.downloads.content(found).read(0, found.size))


def test_an_upload_can_be_read_back(media: MediaServices) -> None:
    media_id = upload(media, b"hel", b"", b"lo")

    assert content_of(media, media_id) == b"hello"


def test_an_empty_file_is_a_file(media: MediaServices) -> None:
    assert content_of(media, upload(media)) == b""


def test_equal_content_is_kept_once(media: MediaServices, root: Path) -> None:
    first, second = upload(media, b"hello"), upload(media, b"hello")

    assert first != second
    assert files_under(root) == [root / "content" / HELLO_HASH[:2] / HELLO_HASH[2:4] / HELLO_HASH]


def test_content_that_was_cut_short_on_disk_is_replaced(media: MediaServices, root: Path) -> None:
    media_id = upload(media, b"hello")
    files_under(root)[0].write_bytes(b"he")

    upload(media, b"hello")

    assert content_of(media, media_id) == b"hello"


def test_a_large_file_is_never_whole_in_memory(media: MediaServices) -> None:
    async def body() -> AsyncIterator[bytes]:
        for number in range(320):
            yield bytes([number % 251]) * 65_536

    tracemalloc.start()
    media_id = result(media.uploads.upload(ALICE, ANY, body()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert result(media.downloads.find(SERVER, media_id, timeout_ms=0)).size == 20 * MIB
    assert peak < 2 * MIB


@pytest.mark.parametrize(
    ("announced", "data"),
    [(Announced(MIB + 1, None, None), [b""]), (ANY, [b"x" * MIB, b"y"])],
    ids=["announced", "found out while it comes"],
)
def test_too_large_is_refused_and_leaves_nothing(
    root: Path, sqlite_database: Database, time: FakeClock, announced: Announced, data: list[bytes]
) -> None:
    media = open_media(root, sqlite_database, time, MediaConfig(max_upload_mib=1))
    result(media.start())

    with pytest.raises(TooLarge, match="1048576 bytes"):
        upload(media, *data, announced=announced)

    assert files_under(root) == []


def test_a_quota_holds_for_all_files_together(root: Path, sqlite_database: Database, time: FakeClock) -> None:
    media = open_media(root, sqlite_database, time, MediaConfig(quota_per_user_mib=1))
    result(media.start())
    upload(media, b"x" * 600_000)

    with pytest.raises(QuotaExceeded, match="448576 are left"):
        upload(media, b"y" * 500_000)

    assert len(files_under(root)) == 1
    assert issubclass(QuotaExceeded, Forbidden)
    result(media.uploads.upload(BOB, ANY, pieces(b"y" * 500_000)))


def test_uploads_at_the_same_time_share_the_quota(
    root: Path, sqlite_database: Database, time: FakeClock
) -> None:
    media = open_media(root, sqlite_database, time, MediaConfig(quota_per_user_mib=1))
    result(media.start())

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 600_000
        await time.sleep(5)

    running = Running(media.uploads.upload(ALICE, ANY, slow()))
    with pytest.raises(QuotaExceeded):
        upload(media, b"y" * 600_000)
    time.advance(6)

    assert content_of(media, running.result()) == b"x" * 600_000
    upload(media, b"z" * 400_000)


def test_a_client_that_goes_away_leaves_nothing(media: MediaServices, root: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        raise MatrixError("gone")

    with pytest.raises(MatrixError, match="gone"):
        result(media.uploads.upload(ALICE, ANY, broken()))

    assert files_under(root) == []


def test_a_cancelled_upload_leaves_nothing(media: MediaServices, root: Path, time: FakeClock) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        await time.sleep(1000)

    running = Running(media.uploads.upload(ALICE, ANY, stalled()))
    assert len(files_under(root)) == 1
    running.cancel()

    assert files_under(root) == []


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files may not grow beyond `size`, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_leaves_nothing(media: MediaServices, root: Path) -> None:
    with disk_of(4 * MIB), pytest.raises(StorageFull, match="disk is full") as raised:
        upload(media, *[b"x" * MIB] * 6)

    assert raised.value.status == 507
    assert files_under(root) == []
    assert content_of(media, upload(media, b"hello")) == b"hello"


def test_a_record_that_cannot_be_written_takes_its_file_along(
    media: MediaServices, root: Path, database: Database
) -> None:
    result(database.write(lambda txn: txn.execute("ALTER TABLE media_usage RENAME TO hidden")))
    try:
        with pytest.raises(Exception, match="media_usage"):
            upload(media, b"hello")
    finally:
        result(database.write(lambda txn: txn.execute("ALTER TABLE hidden RENAME TO media_usage")))

    assert files_under(root) == []


def test_a_start_removes_what_a_killed_server_left(
    media: MediaServices, root: Path, database: Database, time: FakeClock
) -> None:
    kept = upload(media, b"hello")
    lost_hash = hashlib.sha256(b"lost").hexdigest()
    lost = root / "content" / lost_hash[:2] / lost_hash[2:4] / lost_hash
    lost.parent.mkdir(parents=True)
    lost.write_bytes(b"lost")
    for name in ("0123.part", f"{lost_hash}.ab.mark", f"{HELLO_HASH}.cd.mark"):
        (root / "incoming" / name).write_bytes(b"")

    again = open_media(root, database, time)
    result(again.start())

    assert [path.name for path in files_under(root)] == [HELLO_HASH]
    assert content_of(again, kept) == b"hello"


def test_a_promised_upload_is_filled_once(media: MediaServices) -> None:
    promise = result(media.uploads.promise(ALICE))
    fill(media, promise.media_id)

    assert content_of(media, promise.media_id) == b"hello"
    with pytest.raises(CannotOverwriteMedia):
        fill(media, promise.media_id, b"other")
    assert content_of(media, promise.media_id) == b"hello"


def test_two_uploads_to_one_promise_at_the_same_time(media: MediaServices, time: FakeClock) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"slow"
        await time.sleep(5)

    promise = result(media.uploads.promise(ALICE))
    running = Running(media.uploads.fill(ALICE, SERVER, promise.media_id, ANY, slow()))
    with pytest.raises(CannotOverwriteMedia):
        fill(media, promise.media_id)
    time.advance(6)

    running.result()
    assert content_of(media, promise.media_id) == b"slow"


def test_only_who_created_a_media_id_fills_it(media: MediaServices) -> None:
    promise = result(media.uploads.promise(BOB))

    with pytest.raises(Forbidden, match="somebody else"):
        fill(media, promise.media_id)
    with pytest.raises(NotFound):
        fill(media, new_media_id())
    with pytest.raises(NotFound, match="elsewhere"):
        result(media.uploads.fill(BOB, ServerName("elsewhere"), promise.media_id, ANY, pieces(b"x")))


def test_a_media_id_of_an_ordinary_upload_cannot_be_filled(media: MediaServices) -> None:
    with pytest.raises(CannotOverwriteMedia):
        fill(media, upload(media, b"hello"), b"other")


def test_a_promise_lapses(media: MediaServices, time: FakeClock) -> None:
    promise = result(media.uploads.promise(ALICE))
    assert promise.expires_ms == time.now_ms() + 24 * 3_600_000

    time.advance(24 * 3600)

    with pytest.raises(NotFound, match="expired"):
        fill(media, promise.media_id)
    with pytest.raises(NotFound):
        content_of(media, promise.media_id)


def test_few_promises_at_a_time(root: Path, sqlite_database: Database, time: FakeClock) -> None:
    media = open_media(root, sqlite_database, time, MediaConfig(async_uploads_per_user=2))
    result(media.start())
    first = result(media.uploads.promise(ALICE))
    time.advance(10)
    result(media.uploads.promise(ALICE))

    with pytest.raises(LimitExceeded) as raised:
        result(media.uploads.promise(ALICE))
    assert raised.value.retry_after_ms == first.expires_ms - time.now_ms()

    result(media.uploads.promise(BOB))
    fill(media, first.media_id)
    result(media.uploads.promise(ALICE))


def test_lapsed_promises_are_forgotten_in_time(
    media: MediaServices, database: Database, time: FakeClock
) -> None:
    result(media.uploads.promise(ALICE))
    time.advance(25 * 3600)
    result(media.uploads.promise(ALICE))

    assert result(database.read(lambda txn: txn.value("SELECT COUNT(*) FROM media"))) == 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("image/png", "image/png"),
        (" text/plain; charset=utf-8 ", "text/plain; charset=utf-8"),
        ("application/vnd.api+json", "application/vnd.api+json"),
        (None, "application/octet-stream"),
        ("", "application/octet-stream"),
        ("picture", "application/octet-stream"),
        ("text/html\r\nSet-Cookie: a=b", "application/octet-stream"),
        ("text/plain evil", "application/octet-stream"),
        ("text/" + "x" * 5000, "application/octet-stream"),
    ],
)
def test_only_media_types_are_kept(sent: str | None, kept: str) -> None:
    assert clean_type(sent) == kept


def test_names_are_kept_as_they_are() -> None:
    assert clean_name("Straße 1/2.png") == "Straße 1/2.png"
    assert clean_name("a\x00b") == "ab"
    assert clean_name("") is None
    assert clean_name(None) is None
    assert clean_name("x" * 1000) == "x" * 255


def test_media_ids_follow_the_grammar_and_cannot_be_guessed() -> None:
    ids = {new_media_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 32 and one.replace("-", "a").replace("_", "a").isalnum() for one in ids)


def test_many_uploads_of_the_same_content_at_once(root: Path, databases: Databases, time: FakeClock) -> None:
    """With real threads: nobody's file is removed by somebody else's failure."""
    loop = ThreadLoop()
    url = databases.fresh("sqlite")
    database = open_database(url, loop, migrations=storage_migrations())
    database.start()
    threads = Threads(loop, "files", 4)
    config = MediaConfig(quota_per_user_mib=1)
    media = media_services(
        Repository(SERVER, config, database, MediaStore(), MediaFiles(root, threads), time)
    )
    loop.result(media.start())

    async def one() -> str | None:
        try:
            return await media.uploads.upload(ALICE, ANY, pieces(b"x" * 300_000))
        except QuotaExceeded:
            return None

    ids = loop.finish(*(one() for _ in range(12)))
    assert 1 <= len([one for one in ids if one]) <= 3
    assert len(files_under(root)) == 1
    loop.result(threads.stop())
    loop.result(database.stop())
