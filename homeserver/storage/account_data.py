"""What clients keep with their account: account data and tags, filters, differences of push rules."""

from typing import NamedTuple

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.database import Transaction


class AccountDataEntry(NamedTuple):
    """One event of account data. `room_id` None: global. `content` is JSON."""

    room_id: RoomId | None
    type: str
    content: bytes
    position: int


def _entry(room_id: str, type_: str, content: bytes, position: int) -> AccountDataEntry:
    return AccountDataEntry(RoomId(room_id) if room_id else None, type_, content, position)


class AccountDataStore:
    """Global account data and that of a room, the tags of a room (m.tag) included."""

    def put(self, txn: Transaction, user_id: UserId, entry: AccountDataEntry) -> None:
        """Replace what the user has of this type."""
        txn.execute(
            """
            INSERT INTO account_data (user_id, room_id, type, content, position)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (user_id, room_id, type)
            DO UPDATE SET content = excluded.content, position = excluded.position""",
            (user_id, entry.room_id or "", entry.type, entry.content, entry.position),
        )

    def content(self, txn: Transaction, user_id: UserId, room_id: RoomId | None, type_: str) -> bytes | None:
        """The content as it was put, None if there is none."""
        content: bytes | None = txn.value(
            "SELECT content FROM account_data WHERE user_id = %s AND room_id = %s AND type = %s",
            (user_id, room_id or "", type_),
        )
        return content

    def changed_since(self, txn: Transaction, user_id: UserId, position: int) -> list[AccountDataEntry]:
        """Everything of the user put after `position`, oldest first; all of it for position 0."""
        return txn.all(
            _entry,
            """
            SELECT room_id, type, content, position FROM account_data
            WHERE user_id = %s AND position > %s ORDER BY position""",
            (user_id, position),
        )

    def last_position(self, txn: Transaction, user_id: UserId) -> int:
        """When the user's account data last changed; 0: never."""
        position: int | None = txn.value(
            "SELECT MAX(position) FROM account_data WHERE user_id = %s", (user_id,)
        )
        return position or 0

    def of_type(self, txn: Transaction, type_: str) -> list[tuple[UserId, bytes]]:
        """Everybody's global account data of a type. There is an index for m.ignored_user_list only."""
        return txn.rows(
            "SELECT user_id, content FROM account_data WHERE type = %s AND room_id = '' ORDER BY user_id",
            (type_,),
        )

    def remove_all(self, txn: Transaction, user_id: UserId) -> None:
        """Forget everything of the user, here and in what goes with it: filters."""
        txn.execute("DELETE FROM account_data WHERE user_id = %s", (user_id,))
        txn.execute("DELETE FROM filters WHERE user_id = %s", (user_id,))

    def count(self, txn: Transaction, user_id: UserId) -> int:
        """How many types, over all rooms, the user keeps."""
        count: int = txn.value("SELECT COUNT(*) FROM account_data WHERE user_id = %s", (user_id,))
        return count


class FilterStore:
    """Filters never change: an id always means the same content."""

    def put(self, txn: Transaction, user_id: UserId, filter_id: str, *, content: bytes) -> None:
        """Keep the filter; nothing happens if it is there already."""
        txn.execute(
            """
            INSERT INTO filters (user_id, filter_id, content) VALUES (%s, %s, %s)
            ON CONFLICT (user_id, filter_id) DO NOTHING""",
            (user_id, filter_id, content),
        )

    def content(self, txn: Transaction, user_id: UserId, filter_id: str) -> bytes | None:
        content: bytes | None = txn.value(
            "SELECT content FROM filters WHERE user_id = %s AND filter_id = %s", (user_id, filter_id)
        )
        return content

    def count(self, txn: Transaction, user_id: UserId) -> int:
        count: int = txn.value("SELECT COUNT(*) FROM filters WHERE user_id = %s", (user_id,))
        return count


class PushRuleStore:
    """How users' push rules differ from the predefined ones, as JSON that services.push.rules reads."""

    def put(self, txn: Transaction, user_id: UserId, changes: bytes) -> None:
        txn.execute(
            """
            INSERT INTO push_rules (user_id, changes) VALUES (%s, %s)
            ON CONFLICT (user_id) DO UPDATE SET changes = excluded.changes""",
            (user_id, changes),
        )

    def remove(self, txn: Transaction, user_id: UserId) -> None:
        """The user is back to the predefined rules."""
        txn.execute("DELETE FROM push_rules WHERE user_id = %s", (user_id,))

    def changes(self, txn: Transaction, user_id: UserId) -> bytes | None:
        changes: bytes | None = txn.value("SELECT changes FROM push_rules WHERE user_id = %s", (user_id,))
        return changes

    def everyones(self, txn: Transaction) -> list[tuple[UserId, bytes]]:
        """All users who changed their rules, and how."""
        return txn.rows("SELECT user_id, changes FROM push_rules ORDER BY user_id")
