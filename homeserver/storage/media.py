"""Media records: who uploaded what, where its bytes lie, and what is still awaited.

Owns no files. Content is known by its SHA-256 in hex; several media IDs may share one content.
https://spec.matrix.org/latest/client-server-api/#content-repository
"""

from typing import NamedTuple

from homeserver.protocol.ids import UserId
from homeserver.runtime.database import Transaction, marks


class Media(NamedTuple):
    """One media ID. `content_hash` and `uploaded_ms` are None while the upload is awaited."""

    media_id: str
    user_id: UserId
    created_ms: int
    expires_ms: int | None
    uploaded_ms: int | None
    content_hash: str | None
    size: int
    content_type: str
    file_name: str | None
    quarantined_by: str | None


class Usage(NamedTuple):
    """What a user has stored."""

    bytes: int
    files: int


class Content(NamedTuple):
    """What arrived in an upload."""

    content_hash: str
    size: int
    content_type: str
    file_name: str | None


class MediaStore:
    """The tables `media` and `media_usage`."""

    def promise(
        self, txn: Transaction, media_id: str, user_id: UserId, *, created_ms: int, expires_ms: int
    ) -> None:
        """Note a media ID whose content is to follow."""
        txn.execute(
            """
            INSERT INTO media (media_id, user_id, created_ms, expires_ms, size, content_type)
            VALUES (%s, %s, %s, %s, 0, 'application/octet-stream')""",
            (media_id, user_id, created_ms, expires_ms),
        )

    def add(self, txn: Transaction, media_id: str, user_id: UserId, content: Content, *, now_ms: int) -> None:
        """Note uploaded content under a new media ID. Content once quarantined stays quarantined."""
        txn.execute(
            """
            INSERT INTO media (media_id, user_id, created_ms, uploaded_ms, content_hash, size, content_type,
                               file_name, quarantined_by)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            (media_id, user_id, now_ms, now_ms, *content, self._quarantine_of(txn, content.content_hash)),
        )
        self._count(txn, user_id, content.size)

    def keep_promise(
        self, txn: Transaction, media_id: str, user_id: UserId, content: Content, *, now_ms: int
    ) -> bool:
        """Give a promised media ID its content; False if it has some already or is not there."""
        filled = txn.execute(
            """
            UPDATE media SET expires_ms = NULL, uploaded_ms = %s, content_hash = %s, size = %s,
                             content_type = %s, file_name = %s, quarantined_by = %s
            WHERE media_id = %s AND user_id = %s AND uploaded_ms IS NULL""",
            (now_ms, *content, self._quarantine_of(txn, content.content_hash), media_id, user_id),
        )
        if filled:
            self._count(txn, user_id, content.size)
        return bool(filled)

    def find(self, txn: Transaction, media_id: str) -> Media | None:
        return txn.one(
            Media,
            """
            SELECT media_id, user_id, created_ms, expires_ms, uploaded_ms, content_hash, size, content_type,
                   file_name, quarantined_by
            FROM media WHERE media_id = %s""",
            (media_id,),
        )

    def usage(self, txn: Transaction, user_id: UserId) -> Usage:
        found = txn.one(Usage, "SELECT bytes, files FROM media_usage WHERE user_id = %s", (user_id,))
        return found or Usage(0, 0)

    def first_promises(self, txn: Transaction, user_id: UserId, *, now_ms: int, limit: int) -> list[int]:
        """When the user's unkept promises lapse, soonest first, at most `limit` of them."""
        rows = txn.rows(
            """
            SELECT expires_ms FROM media WHERE user_id = %s AND expires_ms > %s
            ORDER BY expires_ms LIMIT %s""",
            (user_id, now_ms, limit),
        )
        return [expires_ms for (expires_ms,) in rows]

    def forget_lapsed(self, txn: Transaction, *, now_ms: int) -> int:
        """Remove promises that were not kept in time; how many."""
        return txn.execute("DELETE FROM media WHERE expires_ms <= %s", (now_ms,))

    def referenced(self, txn: Transaction, content_hashes: set[str]) -> set[str]:
        """Which of these contents belong to a media ID of this server or another."""
        if not content_hashes:
            return set()
        some = tuple(content_hashes)
        rows = txn.rows(
            f"""
            SELECT content_hash FROM media WHERE content_hash IN ({marks(some)})
            UNION SELECT content_hash FROM remote_media WHERE content_hash IN ({marks(some)})""",
            some * 2,
        )
        return {content_hash for (content_hash,) in rows}

    def quarantine(self, txn: Transaction, media_id: str, by: UserId) -> int:
        """Stop serving this content under every media ID it has; how many there are."""
        return txn.execute(
            """
            UPDATE media SET quarantined_by = %s
            WHERE media_id = %s OR content_hash = (SELECT content_hash FROM media WHERE media_id = %s)""",
            (by, media_id, media_id),
        )

    def release(self, txn: Transaction, media_id: str) -> int:
        """Undo `quarantine`."""
        return txn.execute(
            """
            UPDATE media SET quarantined_by = NULL
            WHERE media_id = %s OR content_hash = (SELECT content_hash FROM media WHERE media_id = %s)""",
            (media_id, media_id),
        )

    def _quarantine_of(self, txn: Transaction, content_hash: str) -> str | None:
        row = txn.row(
            """
            SELECT quarantined_by FROM media
            WHERE content_hash = %s AND quarantined_by IS NOT NULL LIMIT 1""",
            (content_hash,),
        )
        return None if row is None else row[0]

    def _count(self, txn: Transaction, user_id: UserId, size: int) -> None:
        txn.execute(
            """
            INSERT INTO media_usage (user_id, bytes, files) VALUES (%s, %s, 1)
            ON CONFLICT (user_id) DO UPDATE SET bytes = media_usage.bytes + excluded.bytes,
                                                files = media_usage.files + 1""",
            (user_id, size),
        )
