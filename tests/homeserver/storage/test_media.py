"""The media tables, on both databases."""

from typing import Any

import pytest

from homeserver.runtime.database import Database
from homeserver.storage.media import Content, MediaStore, Usage
from tests.support.media import ALICE, BOB
from tests.support.running import result

HASH = "ab" * 32
PICTURE = Content(HASH, 1000, "image/png", "cat.png")


@pytest.fixture
def store() -> MediaStore:
    return MediaStore()


@pytest.fixture
def write(database: Database) -> Any:
    return lambda *args, **kwargs: result(database.write(*args, **kwargs))


def test_what_was_added_is_found(store: MediaStore, write: Any) -> None:
    write(store.add, "one", ALICE, PICTURE, now_ms=5)

    media = write(store.find, "one")

    assert (media.user_id, media.uploaded_ms, media.expires_ms) == (ALICE, 5, None)
    assert Content(media.content_hash, media.size, media.content_type, media.file_name) == PICTURE
    assert write(store.find, "two") is None


def test_usage_counts_every_upload_of_a_user(store: MediaStore, write: Any) -> None:
    write(store.add, "one", ALICE, PICTURE, now_ms=5)
    write(store.add, "two", ALICE, PICTURE._replace(content_hash="cd" * 32, size=24), now_ms=6)
    write(store.add, "three", BOB, PICTURE, now_ms=7)

    assert write(store.usage, ALICE) == Usage(1024, 2)
    assert write(store.usage, BOB) == Usage(1000, 1)


def test_a_promise_is_kept_once_and_by_its_owner(store: MediaStore, write: Any) -> None:
    write(store.promise, "later", ALICE, created_ms=1, expires_ms=100)

    assert not write(store.keep_promise, "later", BOB, PICTURE, now_ms=2)
    assert write(store.keep_promise, "later", ALICE, PICTURE, now_ms=3)
    assert not write(store.keep_promise, "later", ALICE, PICTURE, now_ms=4)

    media = write(store.find, "later")
    assert (media.created_ms, media.uploaded_ms, media.expires_ms) == (1, 3, None)
    assert write(store.usage, ALICE) == Usage(1000, 1)


def test_promises_lapse(store: MediaStore, write: Any) -> None:
    for number, expires_ms in enumerate((30, 10, 20)):
        write(store.promise, f"later{number}", ALICE, created_ms=1, expires_ms=expires_ms)

    assert write(store.first_promises, ALICE, now_ms=10, limit=5) == [20, 30]
    assert write(store.first_promises, ALICE, now_ms=1, limit=2) == [10, 20]
    assert write(store.forget_lapsed, now_ms=20) == 2
    assert write(store.find, "later0") is not None
    assert write(store.find, "later1") is None


def test_referenced_tells_which_contents_are_in_use(store: MediaStore, write: Any) -> None:
    write(store.add, "one", ALICE, PICTURE, now_ms=5)

    assert write(store.referenced, {HASH, "ee" * 32}) == {HASH}
    assert write(store.referenced, set()) == set()


def test_quarantine_covers_every_copy_past_and_future(store: MediaStore, write: Any) -> None:
    write(store.add, "one", ALICE, PICTURE, now_ms=1)
    write(store.add, "two", BOB, PICTURE, now_ms=1)
    write(store.promise, "three", ALICE, created_ms=1, expires_ms=9)

    assert write(store.quarantine, "one", BOB) == 2
    write(store.add, "four", ALICE, PICTURE, now_ms=2)
    write(store.keep_promise, "three", ALICE, PICTURE, now_ms=2)

    assert {write(store.find, name).quarantined_by for name in ("one", "two", "three", "four")} == {BOB}
    assert write(store.release, "four") == 4
    assert write(store.find, "one").quarantined_by is None
