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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
            assert layers[0][1] == len(layers)
    assert result(database.read(store.many_state_ids, list(plain))) == plain


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
    total = result(database.read(lambda txn: txn.value("SELECT SUM(entries) FROM state_sets")))
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
