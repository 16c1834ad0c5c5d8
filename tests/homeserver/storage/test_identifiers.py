import pytest

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.identifiers import CHUNK, MOST_REMEMBERED, UNKNOWN, Identifiers
from tests.support.running import result

ALICE, BOB, CAROL = UserId("@alice:example.org"), UserId("@bob:example.org"), UserId("@carol:example.net")
ROOM = RoomId("!room:example.org")


@pytest.fixture
def identifiers() -> Identifiers:
    return Identifiers()


def users(txn: Transaction) -> int:
    count: int = txn.value("SELECT COUNT(*) FROM user_ids")
    return count


def add_room(txn: Transaction, room_id: RoomId) -> None:
    txn.execute(
        """
        INSERT INTO rooms (room_id, version, is_public, heads, depth, tip, state_nid)
        VALUES (%s, '12', %s, %s, 0, 0, 0)""",
        (room_id, False, b"[]"),
    )


def test_a_new_user_gets_a_number_once(database: Database, identifiers: Identifiers) -> None:
    first = result(database.write(identifiers.user_nid, ALICE))
    assert first > UNKNOWN
    assert result(database.write(identifiers.user_nid, ALICE)) == first
    assert result(database.read(users)) == 1


def test_numbers_outlive_the_process(database: Database, identifiers: Identifiers) -> None:
    nid = result(database.write(identifiers.user_nid, ALICE))
    assert result(database.write(Identifiers().user_nid, ALICE)) == nid
    assert result(database.read(Identifiers().user_nid, ALICE)) == nid


def test_a_read_finds_nobody_new(database: Database, identifiers: Identifiers) -> None:
    assert result(database.read(identifiers.user_nid, ALICE)) == UNKNOWN
    assert result(database.read(identifiers.user_nids, [ALICE])) == {}
    assert result(database.read(identifiers.state_key_nid, ("m.room.name", ""))) == UNKNOWN
    assert result(database.read(users)) == 0


def test_a_number_that_was_rolled_back_is_not_remembered(
    database: Database, identifiers: Identifiers
) -> None:
    def fail_after_naming(txn: Transaction) -> None:
        identifiers.user_nid(txn, ALICE)
        identifiers.state_key_nid(txn, ("m.room.name", ""))
        raise KeyError

    with pytest.raises(KeyError):
        result(database.write(fail_after_naming))

    bob = result(database.write(identifiers.user_nid, BOB))
    topic = result(database.write(identifiers.state_key_nid, ("m.room.topic", "")))
    assert result(database.write(identifiers.user_nid, ALICE)) != bob
    assert result(database.write(identifiers.state_key_nid, ("m.room.name", ""))) != topic


def test_many_users_at_once(database: Database, identifiers: Identifiers) -> None:
    alice = result(database.write(identifiers.user_nid, ALICE))
    result(database.write(Identifiers().user_nid, BOB))
    nids = result(database.write(identifiers.user_nids, [BOB, ALICE, CAROL, BOB]))
    assert nids.keys() == {ALICE, BOB, CAROL}
    assert nids[ALICE] == alice
    assert len(set(nids.values())) == 3
    assert result(database.read(identifiers.user_nids, [CAROL, UserId("@nobody:x")])) == {CAROL: nids[CAROL]}


def test_more_users_than_one_statement_takes(database: Database, identifiers: Identifiers) -> None:
    many = [UserId(f"@u{number}:example.org") for number in range(CHUNK + 5)]
    nids = result(database.write(identifiers.user_nids, many))
    assert list(nids) == many
    assert result(database.read(Identifiers().user_nids, many)) == nids


def test_a_room_is_known_once_its_store_has_made_it(database: Database, identifiers: Identifiers) -> None:
    assert result(database.read(identifiers.room_nid, ROOM)) is None
    result(database.write(add_room, ROOM))
    nid = result(database.read(identifiers.room_nid, ROOM))
    assert nid is not None
    assert result(database.write(identifiers.room_nid, ROOM)) == nid


def test_state_keys_go_both_ways(database: Database, identifiers: Identifiers) -> None:
    name, member = ("m.room.name", ""), ("m.room.member", ALICE)
    name_nid = result(database.write(identifiers.state_key_nid, name))
    member_nid = result(database.write(identifiers.state_key_nid, member))
    assert name_nid != member_nid
    assert result(database.write(Identifiers().state_key_nid, name)) == name_nid
    for _ in range(2):  # from the database, then from memory
        assert result(database.read(identifiers.state_keys, [member_nid, name_nid, 999_999])) == {
            name_nid: name,
            member_nid: member,
        }


def test_memory_is_bounded(sqlite_database: Database, identifiers: Identifiers) -> None:
    many = [UserId(f"@u{number}:example.org") for number in range(MOST_REMEMBERED + 1)]
    nids = result(sqlite_database.write(identifiers.user_nids, many))
    assert len(identifiers._users) <= MOST_REMEMBERED
    assert result(sqlite_database.read(identifiers.user_nid, many[0])) == nids[many[0]]


def test_many_state_keys_at_once(database: Database, identifiers: Identifiers) -> None:
    name = ("m.room.name", "")
    known = result(database.write(identifiers.state_key_nid, name))
    many = [("m.room.member", f"@u{number}:example.org") for number in range(CHUNK + 5)]
    nids = result(database.write(identifiers.state_key_nids, [*many, name, many[0]]))
    assert nids[name] == known
    assert set(nids) == {*many, name}
    assert len(set(nids.values())) == len(many) + 1
    assert result(database.read(Identifiers().state_key_nids, [*many, ("a", "b")])) == {
        key: nids[key] for key in many
    }
