"""Rooms, members, aliases: rows beside events and state, on each kind of database."""

import pytest

from homeserver.protocol.ids import RoomAlias, RoomId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.room_state import RoomStateStore
from homeserver.storage.rooms import AliasRow, Member, RoomRow, RoomStore, UserRoom
from tests.support.running import result

ROOM, OTHER = RoomId("!room:test"), RoomId("!other")
ALICE, BOB = UserId("@alice:test"), UserId("@bob:far.example")
DEN, ATTIC = RoomAlias("#den:test"), RoomAlias("#attic:test")


@pytest.fixture
def store() -> RoomStore:
    return RoomStore(Identifiers())


@pytest.fixture
def room(store: RoomStore, database: Database) -> int:
    return create(store, database, ROOM, "12")


def create(store: RoomStore, database: Database, room_id: RoomId, version: str) -> int:
    """A room that has moved to its first state, as all have that are read."""

    def write(txn: Transaction) -> int:
        nid = store.create(txn, room_id, version)
        RoomStateStore(Identifiers()).append(
            txn, nid, nid=nid, parent_nid=0, hash_=bytes([nid] * 16), added={1: nid}
        )
        store.advance(txn, nid, expected_tip=0, tip=nid, heads=b"[]", depth=1, state_nid=nid)
        return nid

    return result(database.write(write))


def member(user_id: UserId, membership: str, nid: int, since: int | None = None) -> Member:
    return Member(user_id, membership, nid, nid if since is None else since, user_id == ALICE)


def test_a_new_room_is_where_its_first_events_took_it(
    store: RoomStore, database: Database, room: int
) -> None:
    row = result(database.read(store.get, ROOM))
    assert isinstance(row, RoomRow)
    assert (row.nid, row.room_id, row.version, bool(row.is_public)) == (room, ROOM, "12", False)
    assert (row.heads, row.depth, row.tip, row.state_nid) == (b"[]", 1, room, room)
    assert row.state_hash == bytes([room] * 16)
    assert result(database.read(store.get, OTHER)) is None


def test_a_room_is_made_once(store: RoomStore, database: Database, room: int) -> None:
    with pytest.raises(Exception, match=r"(?i)unique"):
        result(database.write(store.create, ROOM, "11"))


def test_many_rooms_are_read_at_once(store: RoomStore, database: Database, room: int) -> None:
    create(store, database, OTHER, "11")
    rows = result(database.read(store.many, [ROOM, OTHER, RoomId("!nowhere")]))
    assert {row.room_id for row in rows} == {ROOM, OTHER}


def advance(store: RoomStore, database: Database, room: int, expected: int, tip: int) -> bool:
    moved: bool = result(
        database.write(
            store.advance, room, expected_tip=expected, tip=tip, heads=b'["$x"]', depth=tip, state_nid=room
        )
    )
    return moved


def test_a_room_moves_on_from_where_it_is_and_nowhere_else(
    store: RoomStore, database: Database, room: int
) -> None:
    assert advance(store, database, room, room, 50)
    assert not advance(store, database, room, room, 60)
    assert not advance(store, database, room, 40, 60)
    assert advance(store, database, room, 50, 60)
    assert not advance(store, database, room + 1, 0, 1)
    row = result(database.read(store.get, ROOM))
    assert row is not None
    assert (row.heads, row.depth, row.tip, row.state_nid) == (b'["$x"]', 60, 60, room)


def test_members_keep_their_last_membership(store: RoomStore, database: Database, room: int) -> None:
    for one in (member(ALICE, "join", 1), member(BOB, "invite", 2), member(ALICE, "join", 3, since=1)):
        result(database.write(store.put_member, room, one))
    members = {one.user_id: one for one in result(database.read(store.members, room))}
    assert (members[ALICE].event_nid, members[ALICE].since, bool(members[ALICE].is_local)) == (3, 1, True)
    assert (members[BOB].membership, bool(members[BOB].is_local)) == ("invite", False)


def test_a_server_is_where_its_users_are_joined(store: RoomStore, database: Database, room: int) -> None:
    for one, is_here in (
        (member(BOB, "join", 1), False),  # of another server
        (member(ALICE, "invite", 2), False),
        (member(ALICE, "join", 3), True),
        (member(ALICE, "leave", 4), False),
    ):
        result(database.write(store.put_member, room, one))
        assert result(database.read(store.is_here, room)) is is_here


def test_a_user_has_rooms(store: RoomStore, database: Database, room: int) -> None:
    other = create(store, database, OTHER, "11")
    result(database.write(store.put_member, room, member(ALICE, "join", 1)))
    result(database.write(store.put_member, other, member(ALICE, "leave", 2)))
    rooms = {row.room_id: row for row in result(database.read(store.of_user, ALICE))}
    assert rooms[ROOM] == UserRoom(ROOM, "join", 1, 1, rooms[ROOM].forgotten)
    assert rooms[OTHER].membership == "leave"
    assert result(database.read(store.of_user, BOB)) == []


def test_a_room_is_forgotten_until_the_next_membership(
    store: RoomStore, database: Database, room: int
) -> None:
    result(database.write(store.put_member, room, member(ALICE, "leave", 1)))
    result(database.write(store.forget, room, ALICE))
    assert [bool(row.forgotten) for row in result(database.read(store.of_user, ALICE))] == [True]
    result(database.write(store.put_member, room, member(ALICE, "invite", 2)))
    assert [bool(row.forgotten) for row in result(database.read(store.of_user, ALICE))] == [False]


def test_public_rooms_are_listed(store: RoomStore, database: Database, room: int) -> None:
    create(store, database, OTHER, "11")
    result(database.write(store.set_public, ROOM, public=True))
    assert result(database.read(store.public)) == [ROOM]
    result(database.write(store.set_public, ROOM, public=False))
    assert result(database.read(store.public)) == []


def test_an_alias_is_given_once(store: RoomStore, database: Database, room: int) -> None:
    create(store, database, OTHER, "11")
    assert result(database.write(store.add_alias, AliasRow(DEN, ROOM, ALICE)))
    assert not result(database.write(store.add_alias, AliasRow(DEN, OTHER, BOB)))
    assert result(database.read(store.alias, DEN)) == AliasRow(DEN, ROOM, ALICE)
    assert result(database.read(store.alias, ATTIC)) is None


def test_an_alias_needs_a_room(store: RoomStore, database: Database) -> None:
    assert not result(database.write(store.add_alias, AliasRow(DEN, ROOM, ALICE)))


def test_aliases_come_and_go(store: RoomStore, database: Database, room: int) -> None:
    for alias in (DEN, ATTIC):
        result(database.write(store.add_alias, AliasRow(alias, ROOM, ALICE)))
    assert result(database.read(store.aliases_of, ROOM)) == [ATTIC, DEN]
    result(database.write(store.remove_alias, ATTIC))
    assert result(database.read(store.aliases_of, ROOM)) == [DEN]
    assert result(database.read(store.aliases_of, OTHER)) == []
