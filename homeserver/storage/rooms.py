"""Rooms, their members, aliases and place in the directory."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.ids import EventId, RoomAlias, RoomId, UserId
from homeserver.runtime.database import Transaction, marks
from homeserver.storage.identifiers import Identifiers


class RoomRow(NamedTuple):
    """A room as its writer left it. `heads`: JSON list of event ids; `state_hash`: of the current state."""

    nid: int
    room_id: RoomId
    version: str
    is_public: bool
    heads: bytes
    depth: int
    tip: int
    state_nid: int
    last_gap: int
    state_hash: bytes


class Member(NamedTuple):
    """A user's membership; `since` is the event that began it."""

    user_id: UserId
    membership: str
    event_nid: int
    since: int
    is_local: bool


class UserRoom(NamedTuple):
    """A room from its member's side."""

    room_id: RoomId
    membership: str
    event_nid: int
    since: int
    forgotten: bool


class AliasRow(NamedTuple):
    alias: RoomAlias
    room_id: RoomId
    creator: UserId


class RoomStore:
    """The rows beside a room's events and state."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers

    def create(self, txn: Transaction, room_id: RoomId, version: str) -> int:
        """Returns the room's nid. Its first events follow in the same transaction."""
        nid = txn.value(
            """
            INSERT INTO rooms (room_id, version, is_public, heads, depth, tip, state_nid)
            VALUES (%s, %s, %s, %s, 0, 0, 0) RETURNING nid""",
            (room_id, version, False, b"[]"),
        )
        assert isinstance(nid, int)
        return nid

    def get(self, txn: Transaction, room_id: RoomId) -> RoomRow | None:
        return txn.one(
            RoomRow,
            """
            SELECT r.nid, r.room_id, r.version, r.is_public, r.heads, r.depth, r.tip, r.state_nid,
                r.last_gap, s.hash
            FROM rooms AS r JOIN state_sets AS s ON s.nid = r.state_nid WHERE r.room_id = %s""",
            (room_id,),
        )

    def many(self, txn: Transaction, room_ids: Sequence[RoomId]) -> list[RoomRow]:
        return txn.all(
            RoomRow,
            f"""
            SELECT r.nid, r.room_id, r.version, r.is_public, r.heads, r.depth, r.tip, r.state_nid,
                r.last_gap, s.hash
            FROM rooms AS r JOIN state_sets AS s ON s.nid = r.state_nid
            WHERE r.room_id IN ({marks(room_ids)})""",
            room_ids,
        )

    def advance(
        self,
        txn: Transaction,
        room_nid: int,
        *,
        expected_tip: int,
        tip: int,
        heads: bytes,
        depth: int,
        state_nid: int,
    ) -> bool:
        """Move the room on from `expected_tip`; False when somebody else moved it."""
        return (
            txn.execute(
                """
                UPDATE rooms SET heads = %s, depth = %s, tip = %s, state_nid = %s
                WHERE nid = %s AND tip = %s""",
                (heads, depth, tip, state_nid, room_nid, expected_tip),
            )
            == 1
        )

    def members(self, txn: Transaction, room_nid: int) -> list[Member]:
        return txn.all(
            Member,
            """
            SELECT users.user_id, m.membership, m.event_nid, m.since_nid, m.is_local
            FROM memberships AS m JOIN user_ids AS users ON users.nid = m.user_nid WHERE m.room_nid = %s""",
            (room_nid,),
        )

    def put_member(self, txn: Transaction, room_nid: int, member: Member) -> None:
        user_nid = self._identifiers.user_nid(txn, member.user_id)
        txn.execute(
            """
            INSERT INTO memberships
                (room_nid, user_nid, membership, event_nid, since_nid, is_local, forgotten)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (room_nid, user_nid) DO UPDATE SET membership = excluded.membership,
                event_nid = excluded.event_nid, since_nid = excluded.since_nid,
                forgotten = excluded.forgotten""",
            (room_nid, user_nid, member.membership, member.event_nid, member.since, member.is_local, False),
        )

    def is_here(self, txn: Transaction, room_nid: int) -> bool:
        """Is anybody of this server joined?"""
        sql = (
            "SELECT 1 FROM memberships WHERE room_nid = %s AND is_local = %s AND membership = 'join' LIMIT 1"
        )
        return txn.value(sql, (room_nid, True)) is not None

    def forget(self, txn: Transaction, room_nid: int, user_id: UserId) -> None:
        user_nid = self._identifiers.user_nid(txn, user_id)
        txn.execute(
            "UPDATE memberships SET forgotten = %s WHERE room_nid = %s AND user_nid = %s",
            (True, room_nid, user_nid),
        )

    def of_user(self, txn: Transaction, user_id: UserId) -> list[UserRoom]:
        """Every room in which the user has or had a membership."""
        return txn.all(
            UserRoom,
            """
            SELECT rooms.room_id, m.membership, m.event_nid, m.since_nid, m.forgotten
            FROM user_ids AS users
            JOIN memberships AS m ON m.user_nid = users.nid JOIN rooms ON rooms.nid = m.room_nid
            WHERE users.user_id = %s""",
            (user_id,),
        )

    def set_public(self, txn: Transaction, room_id: RoomId, *, public: bool) -> None:
        txn.execute("UPDATE rooms SET is_public = %s WHERE room_id = %s", (public, room_id))

    def public(self, txn: Transaction) -> list[RoomId]:
        return [row[0] for row in txn.rows("SELECT room_id FROM rooms WHERE is_public = %s", (True,))]

    def add_alias(self, txn: Transaction, row: AliasRow) -> bool:
        """False when the alias is taken."""
        return (
            txn.execute(
                """
                INSERT INTO aliases (alias, room_nid, creator)
                SELECT %s, nid, %s FROM rooms WHERE room_id = %s
                ON CONFLICT (alias) DO NOTHING""",
                (row.alias, row.creator, row.room_id),
            )
            == 1
        )

    def alias(self, txn: Transaction, alias: RoomAlias) -> AliasRow | None:
        return txn.one(
            AliasRow,
            """
            SELECT a.alias, rooms.room_id, a.creator FROM aliases AS a JOIN rooms ON rooms.nid = a.room_nid
            WHERE a.alias = %s""",
            (alias,),
        )

    def move_aliases(self, txn: Transaction, from_room: RoomId, to_room: RoomId) -> None:
        """All aliases of one room lead to the other from now on."""
        txn.execute(
            """
            UPDATE aliases SET room_nid = (SELECT nid FROM rooms WHERE room_id = %s)
            WHERE room_nid = (SELECT nid FROM rooms WHERE room_id = %s)""",
            (to_room, from_room),
        )

    def remove_alias(self, txn: Transaction, alias: RoomAlias) -> None:
        txn.execute("DELETE FROM aliases WHERE alias = %s", (alias,))

    def aliases_of(self, txn: Transaction, room_id: RoomId) -> list[RoomAlias]:
        rows = txn.rows(
            """
            SELECT a.alias FROM aliases AS a JOIN rooms ON rooms.nid = a.room_nid
            WHERE rooms.room_id = %s ORDER BY a.alias""",
            (room_id,),
        )
        return [row[0] for row in rows]

    def event_ids(self, txn: Transaction, nids: Sequence[int]) -> dict[int, EventId]:
        rows = (
            txn.rows(f"SELECT nid, event_id FROM events WHERE nid IN ({marks(nids)})", nids) if nids else []
        )
        return {row[0]: row[1] for row in rows}
