"""Copies of other servers' files: where they came from, when they were last wanted.

Owns no files. A content may be shared with local uploads: `MediaStore.referenced` knows what is needed.
"""

from typing import NamedTuple

from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Transaction
from homeserver.storage.media import Content


class RemoteFile(NamedTuple):
    """One file of another server."""

    origin: ServerName
    media_id: str
    content_hash: str
    size: int
    content_type: str
    file_name: str | None
    fetched_ms: int
    used_ms: int
    quarantined_by: str | None


_COLUMNS = (
    "origin, media_id, content_hash, size, content_type, file_name, fetched_ms, used_ms, quarantined_by"
)


class RemoteMediaStore:
    """The table `remote_media`."""

    def find(self, txn: Transaction, origin: ServerName, media_id: str) -> RemoteFile | None:
        return txn.one(
            RemoteFile,
            f"SELECT {_COLUMNS} FROM remote_media WHERE origin = %s AND media_id = %s",
            (origin, media_id),
        )

    def put(
        self, txn: Transaction, origin: ServerName, media_id: str, content: Content, *, now_ms: int
    ) -> None:
        """Note a copy, in place of an older one. Content that is quarantined here stays so."""
        quarantined_by = txn.value(
            """
            SELECT quarantined_by FROM media WHERE content_hash = %s AND quarantined_by IS NOT NULL
            UNION SELECT quarantined_by FROM remote_media
            WHERE content_hash = %s AND quarantined_by IS NOT NULL LIMIT 1""",
            (content.content_hash, content.content_hash),
        )
        txn.execute("DELETE FROM remote_media WHERE origin = %s AND media_id = %s", (origin, media_id))
        txn.execute(
            f"INSERT INTO remote_media ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (origin, media_id, *content, now_ms, now_ms, quarantined_by),
        )

    def used(self, txn: Transaction, origin: ServerName, media_id: str, *, now_ms: int) -> None:
        txn.execute(
            "UPDATE remote_media SET used_ms = %s WHERE origin = %s AND media_id = %s",
            (now_ms, origin, media_id),
        )

    def size(self, txn: Transaction) -> int:
        """Bytes of all copies; those with the same content count once each."""
        return int(txn.value("SELECT COALESCE(SUM(size), 0) FROM remote_media"))

    def least_used(self, txn: Transaction, *, before_ms: int, limit: int) -> list[RemoteFile]:
        """Those not wanted since the time, longest unused first. Quarantined ones stay."""
        return txn.all(
            RemoteFile,
            f"""
            SELECT {_COLUMNS} FROM remote_media WHERE used_ms < %s AND quarantined_by IS NULL
            ORDER BY used_ms LIMIT %s""",
            (before_ms, limit),
        )

    def remove(self, txn: Transaction, origin: ServerName, media_id: str) -> None:
        txn.execute("DELETE FROM remote_media WHERE origin = %s AND media_id = %s", (origin, media_id))
