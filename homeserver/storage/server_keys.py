"""Signing keys of other servers."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Transaction, marks

SERVERS_AT_ONCE = 500


class StoredKey(NamedTuple):
    """A key and the last moment for which its server vouched for it."""

    server_name: ServerName
    key_id: str
    public_key: bytes
    valid_until_ms: int


class StoredDocument(NamedTuple):
    """A document as its server signed it (JSON)."""

    server_name: ServerName
    key_id: str
    valid_until_ms: int
    document: bytes


class ServerKeyStore:
    """The table `server_keys`."""

    def of_servers(self, txn: Transaction, server_names: Collection[ServerName]) -> list[StoredKey]:
        """All keys of the servers."""
        names = list(server_names)
        found: list[StoredKey] = []
        for start in range(0, len(names), SERVERS_AT_ONCE):
            some = names[start : start + SERVERS_AT_ONCE]
            found += txn.all(
                StoredKey,
                f"""
                SELECT server_name, key_id, public_key, valid_until_ms FROM server_keys
                WHERE server_name IN ({marks(some)})""",
                some,
            )
        return found

    def documents_of(
        self, txn: Transaction, server_names: Collection[ServerName]
    ) -> dict[ServerName, list[StoredDocument]]:
        """For each key of the servers the document that vouches for it, newest first."""
        names = list(server_names)
        found: dict[ServerName, list[StoredDocument]] = {}
        for start in range(0, len(names), SERVERS_AT_ONCE):
            some = names[start : start + SERVERS_AT_ONCE]
            for document in txn.all(
                StoredDocument,
                f"""
                SELECT server_name, key_id, valid_until_ms, document FROM server_keys
                WHERE server_name IN ({marks(some)}) ORDER BY fetched_ms DESC, key_id""",
                some,
            ):
                found.setdefault(document.server_name, []).append(document)
        return found

    def keep(self, txn: Transaction, keys: Iterable[StoredKey], document: bytes, *, fetched_ms: int) -> None:
        """Keep what a document says, instead of what was said before."""
        txn.executemany(
            """
            INSERT INTO server_keys (server_name, key_id, public_key, valid_until_ms, fetched_ms, document)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (server_name, key_id) DO UPDATE SET
                public_key = excluded.public_key, valid_until_ms = excluded.valid_until_ms,
                fetched_ms = excluded.fetched_ms, document = excluded.document""",
            [(*key, fetched_ms, document) for key in keys],
        )
