"""State sets in layers equal plain dicts, whatever changes; the current state is what was put last."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.database.errors import DatabaseCorrupt
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.room_state import MAX_LAYERS, RoomStateStore, pack, unpack
from tests.support.running import result

ROOM = 1
HASH = bytes(16)
Change = tuple[int, dict[int, int]]
"""(how many sets back the parent is, what is added to it)."""

key = st.integers(min_value=1, max_value=2**63 - 1)
ids = st.dictionaries(key, key, max_size=50)
changes = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=3),
        st.dictionaries(st.integers(min_value=1, max_value=12), key, min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=40,
)


@pytest.fixture
def store() -> RoomStateStore:
    return RoomStateStore(Identifiers())


def layers_of(txn: Transaction, nid: int) -> list[tuple[int, int]]:
    """(entries, layers as noted) of the set's layers, newest first."""
    found = []
    wanted: int | None = nid
    while wanted is not None:
        entries, layers, wanted = txn.rows(
            "SELECT entries, layers, parent_nid FROM state_sets WHERE nid = %s", (wanted,)
        )[0]
        found.append((entries, layers))
    return found


def total_entries(txn: Transaction) -> int:
    return int(txn.value("SELECT SUM(entries) FROM state_sets"))


def build(
    store: RoomStateStore, database: Database, made: list[Change], first_nid: int = 1
) -> dict[int, dict[int, int]]:
    """Append the sets; {nid: the same set as a plain dict}."""
    plain: dict[int, dict[int, int]] = {0: {}}
    for nid, (back, added) in enumerate(made, first_nid):
        parent = max(0, nid - 1 - back)
        parent = parent if parent in plain else 0
        plain[nid] = plain[parent] | added
        result(database.write(store.append, ROOM, nid=nid, parent_nid=parent, hash_=HASH, added=dict(added)))
    return plain


@given(ids)
def test_packed_ids_come_back(given_ids: dict[int, int]) -> None:
    packed = pack(given_ids)
    assert len(packed) == 16 * len(given_ids)
    assert unpack(packed) == given_ids


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_layered_sets_equal_plain_dicts(
    store: RoomStateStore, database: Database, made: list[Change]
) -> None:
    result(database.write(lambda txn: txn.execute("DELETE FROM state_sets")))
    plain = build(store, database, made)
    for nid, expected in plain.items():
        assert result(database.read(store.state_ids, nid)) == expected
        assert result(database.read(store.pick, nid, [1, 5, 12, 99])) == {
            key: expected[key] for key in (1, 5, 12, 99) if key in expected
        }
        if nid:
            layers = result(database.read(layers_of, nid))
            assert len(layers) <= MAX_LAYERS
            assert layers[0][1] >= len(layers)
    assert result(database.read(store.many_state_ids, list(plain))) == plain


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes, changes, st.sets(st.integers(min_value=0, max_value=40), min_size=1))
def test_sets_side_by_side(
    store: RoomStateStore, database: Database, made: list[Change], apart: list[Change], chosen: set[int]
) -> None:
    """Of one family and of two: what all hold, and what each holds of the rest."""
    result(database.write(lambda txn: txn.execute("DELETE FROM state_sets")))
    plain = build(store, database, made) | build(store, database, apart, len(made) + 1)
    nids = [nid for nid in chosen if nid in plain] or [0]
    common, held = result(database.read(store.compared, nids))
    differing = {
        key for nid in nids for key in plain[nid] if len({plain[other].get(key) for other in nids}) > 1
    }
    for nid in nids:
        assert common | held[nid] == plain[nid]
        assert held[nid].keys() <= differing
    assert not common.keys() & differing


def test_many_branches_off_a_large_set_cost_little_each(store: RoomStateStore, database: Database) -> None:
    """Wherever in the life of the room they begin."""
    plain = {nid: nid for nid in range(1, 1_001)}
    result(database.write(store.append, ROOM, nid=1_000, parent_nid=0, hash_=HASH, added=plain))
    parent, nid = 1_000, 1_000
    for _ in range(300):
        nid += 1
        result(database.write(store.append, ROOM, nid=nid, parent_nid=parent, hash_=HASH, added={nid: nid}))
        parent = nid
    before = result(database.read(total_entries))
    for parent in range(1_000, 1_300, 7):
        for _ in range(10):
            nid += 1
            added = {5: nid}
            result(database.write(store.append, ROOM, nid=nid, parent_nid=parent, hash_=HASH, added=added))
            assert result(database.read(store.pick, nid, [5, 1_000])) == {5: nid, 1_000: 1_000}
    assert result(database.read(total_entries)) - before < 430 * 50


def test_branches_that_go_on_share_what_lies_below(store: RoomStateStore, database: Database) -> None:
    plain = {nid: nid for nid in range(1, 1_001)}
    result(database.write(store.append, ROOM, nid=1_000, parent_nid=0, hash_=HASH, added=plain))
    nid = 1_000
    for _ in range(43):  # a few more, and all would be merged into one
        nid += 1
        result(database.write(store.append, ROOM, nid=nid, parent_nid=nid - 1, hash_=HASH, added={nid: nid}))
    trunk, before = nid, result(database.read(total_entries))
    for branch in range(20):
        parent, held = trunk, {key: key for key in range(1, trunk + 1)}
        for key in range(20):
            nid += 1
            added = {branch * 20 + key + 1: nid}
            result(database.write(store.append, ROOM, nid=nid, parent_nid=parent, hash_=HASH, added=added))
            parent, held = nid, held | added
        assert result(database.read(store.state_ids, parent)) == held
    assert result(database.read(total_entries)) - before < 400 * 20


@pytest.mark.parametrize("layers", range(1, 9))
def test_a_key_may_be_taken_away(store: RoomStateStore, database: Database, layers: int) -> None:
    first = {key: key for key in range(1, 101)}
    result(database.write(store.append, ROOM, nid=100, parent_nid=0, hash_=HASH, added=first))
    result(database.write(store.append, ROOM, nid=101, parent_nid=100, hash_=HASH, added={7: 0, 8: 108}))
    for nid in range(102, 102 + layers):
        result(database.write(store.append, ROOM, nid=nid, parent_nid=nid - 1, hash_=HASH, added={9: nid}))
    last = 101 + layers
    expected = {key: nid for key, nid in first.items() if key != 7} | {8: 108, 9: last}
    assert result(database.read(store.state_ids, last)) == expected
    assert result(database.read(store.many_state_ids, [last, 100])) == {last: expected, 100: first}
    assert result(database.read(store.pick, last, [7, 8, 9, 10])) == {8: 108, 9: last, 10: 10}
    common, held = result(database.read(store.compared, [last, 100]))
    assert held == {last: {8: 108, 9: last}, 100: {7: 7, 8: 8, 9: 9}}
    assert common == {key: nid for key, nid in first.items() if key not in (7, 8, 9)}
    result(database.write(store.append, ROOM, nid=999, parent_nid=last, hash_=HASH, added={7: 999}))
    assert result(database.read(store.state_ids, 999)) == expected | {7: 999}


def test_a_large_room_changes_cheaply(store: RoomStateStore, database: Database) -> None:
    """2,000 members come and change: what is written for each stays far below the whole."""
    random = Random(1)
    plain: dict[int, int] = {}
    parent = 0
    for nid in range(1, 2_001):
        changed = {nid: nid} if nid % 3 else {random.randint(1, nid): nid}
        plain |= changed
        result(database.write(store.append, ROOM, nid=nid, parent_nid=parent, hash_=HASH, added=changed))
        parent = nid
    assert result(database.read(store.state_ids, parent)) == plain
    total = result(database.read(total_entries))
    assert total < 2_000 * len(plain) / 10
    assert len(result(database.read(layers_of, parent))) <= MAX_LAYERS


def test_the_state_before_the_first_event_is_empty(store: RoomStateStore, database: Database) -> None:
    assert result(database.read(store.state_ids, 0)) == {}
    assert result(database.read(store.keyed, 0)) == {}


def test_sets_are_told_by_type_and_state_key(database: Database) -> None:
    identifiers = Identifiers()
    store = RoomStateStore(identifiers)

    def write(txn: Transaction) -> None:
        name = identifiers.state_key_nid(txn, ("m.room.name", ""))
        member = identifiers.state_key_nid(txn, ("m.room.member", "@alice:test"))
        store.append(txn, ROOM, nid=7, parent_nid=0, hash_=HASH, added={name: 5, member: 7})

    result(database.write(write))
    fresh = RoomStateStore(Identifiers())
    assert result(database.read(fresh.keyed, 7)) == {
        ("m.room.name", ""): 5,
        ("m.room.member", "@alice:test"): 7,
    }


def test_a_missing_or_broken_layer_is_said_to_be_damage(store: RoomStateStore, database: Database) -> None:
    build(store, database, [(0, {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}), (0, {6: 6})])
    with pytest.raises(DatabaseCorrupt):
        result(database.read(store.state_ids, 99))
    result(
        database.write(lambda txn: txn.execute("UPDATE state_sets SET added = %s WHERE nid = 1", (b"odd",)))
    )
    with pytest.raises(DatabaseCorrupt):
        result(database.read(store.state_ids, 2))
