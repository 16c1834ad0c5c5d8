"""Receipts as rows."""

import pytest

from homeserver.protocol.ids import EventId, UserId
from homeserver.runtime.database import Database
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.receipts import PRIVATE, Receipt, ReceiptStore
from tests.support.running import result

ALICE, BOB = UserId("@alice:here"), UserId("@bob:here")
ROOM, OTHER_ROOM = 7, 8


@pytest.fixture
def store() -> ReceiptStore:
    return ReceiptStore(Identifiers())


def receipt(
    user: UserId, nid: int, position: int, *, type_: str = "m.read", thread: str | None = None
) -> Receipt:
    return Receipt(user, type_, thread, EventId(f"$event{nid}"), nid, 1_000 + nid, position)


def advance(database: Database, store: ReceiptStore, *receipts: Receipt, room: int = ROOM) -> list[bool]:
    return [result(database.write(store.advance, room, one)) for one in receipts]


def changed(
    database: Database, store: ReceiptStore, since: int, *, viewer: UserId = ALICE, limit: int = 10
) -> list[Receipt]:
    return result(database.read(store.changed_since, ROOM, since, viewer=viewer, limit=limit))


def test_only_what_is_ahead_is_kept(database: Database, store: ReceiptStore) -> None:
    ahead = receipt(ALICE, 5, 1)
    assert advance(database, store, ahead, receipt(ALICE, 5, 2), receipt(ALICE, 4, 3)) == [True, False, False]
    assert changed(database, store, 0) == [ahead]


def test_types_threads_rooms_and_users_do_not_meet(database: Database, store: ReceiptStore) -> None:
    kept = [
        receipt(ALICE, 5, 1),
        receipt(ALICE, 3, 2, thread="main"),
        receipt(ALICE, 2, 3, type_=PRIVATE),
        receipt(BOB, 1, 4),
    ]
    assert advance(database, store, *kept) == [True] * 4
    assert advance(database, store, receipt(ALICE, 1, 5), room=OTHER_ROOM) == [True]
    assert changed(database, store, 0) == kept[::-1]
    assert changed(database, store, 2) == kept[:1:-1]


def test_private_receipts_and_the_limit_are_about_others(database: Database, store: ReceiptStore) -> None:
    own = [receipt(ALICE, 1, 1), receipt(ALICE, 1, 2, type_=PRIVATE)]
    others = [receipt(BOB, 1, 3), receipt(BOB, 1, 4, thread="main"), receipt(BOB, 9, 5, type_=PRIVATE)]
    advance(database, store, *own, *others)
    assert changed(database, store, 0) == [others[1], others[0], *own[::-1]]
    assert changed(database, store, 0, limit=1) == [others[1], *own[::-1]]


def test_the_newest_position_counts_private_receipts_too(database: Database, store: ReceiptStore) -> None:
    advance(database, store, receipt(ALICE, 1, 1), receipt(BOB, 1, 6, type_=PRIVATE))
    assert result(database.read(store.last_positions, [ROOM, OTHER_ROOM])) == {ROOM: 6}
    assert result(database.read(store.last_positions, [])) == {}


def test_how_far_a_user_has_read(database: Database, store: ReceiptStore) -> None:
    advance(
        database,
        store,
        receipt(ALICE, 3, 1),
        receipt(ALICE, 5, 2, type_=PRIVATE),
        receipt(ALICE, 4, 3, thread="$root"),
    )
    identifiers = Identifiers()
    user_nid = result(database.read(identifiers.user_nid, ALICE))
    assert result(database.read(store.read_up_to, user_nid, [ROOM, OTHER_ROOM])) == {
        ROOM: {None: 5, "$root": 4}
    }


def test_a_reader_whom_nobody_knows_sees_what_is_public(database: Database, store: ReceiptStore) -> None:
    advance(database, store, receipt(ALICE, 1, 1), receipt(ALICE, 1, 2, type_=PRIVATE))
    assert changed(database, store, 0, viewer=UserId("@new:here")) == [receipt(ALICE, 1, 1)]
