"""Vouching for other servers' keys: what they said of themselves, with this server's signature added.

https://spec.matrix.org/latest/server-server-api/#querying-keys-through-another-server
"""

from collections.abc import Mapping, Sequence

import orjson

from homeserver.protocol.ids import ServerName, is_server_name
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.server_names import ServerAcl
from homeserver.protocol.signatures import sign_json
from homeserver.runtime.concurrency import gather
from homeserver.runtime.database import Database
from homeserver.services.key_ring import KeyRing, OwnKeys
from homeserver.storage.server_keys import ServerKeyStore, StoredDocument

MAX_SERVERS = 500
MAX_FETCHES = 30
"""So many servers are asked for the sake of one request; of others, what is known is told."""
OTHERS_PER_SERVER = 10
MAX_BYTES = 2 * 1024 * 1024
"""Of documents in one answer, which anybody may ask for: who wants more asks for fewer servers."""


class Notary:
    """Answers those who ask this server for others' keys."""

    def __init__(
        self, own: OwnKeys, policy: ServerAcl, key_ring: KeyRing, database: Database, store: ServerKeyStore
    ) -> None:
        self._own = own
        self._policy = policy
        self._key_ring = key_ring
        self._database = database
        self._store = store

    async def vouch(self, wanted: Mapping[str, Mapping[str, int]]) -> list[JsonObject]:
        """The documents of servers, signed by them and by us.

        `wanted`: by server, by key ID ("" for all keys), until when (ms) the key should be valid. Servers are
        asked when what we have is not good for so long; of one that does not answer, the last known is told.
        """
        found: list[JsonObject] = []
        servers: dict[ServerName, Mapping[str, int]] = {}
        for name, keys in list(wanted.items())[:MAX_SERVERS]:
            if name == self._own.server_name:
                found.append(self._key_ring.own_document())
            elif is_server_name(name) and self._policy.allows(name):
                servers[ServerName(name)] = keys
        documents = await self._documents(list(servers))
        stale = [server for server in servers if _is_stale(documents.get(server, ()), servers[server])]
        if stale:
            await gather(*(self._key_ring.refresh(server) for server in stale[:MAX_FETCHES]))
            documents.update(await self._documents(stale))
        left = MAX_BYTES
        for server, keys in servers.items():
            for raw in _chosen(documents.get(server, ()), keys):
                left -= len(raw)
                if left < 0:
                    return found
                found.append(self._sign(raw))
        return found

    async def _documents(self, servers: Sequence[ServerName]) -> dict[ServerName, list[StoredDocument]]:
        return await self._database.read(self._store.documents_of, servers)

    def _sign(self, raw: bytes) -> JsonObject:
        document: JsonObject = orjson.loads(raw)
        return sign_json(document, self._own.server_name, self._own.key)


def _is_stale(documents: Sequence[StoredDocument], keys: Mapping[str, int]) -> bool:
    """Is a wanted key missing, or not valid for long enough? For "": is there none that is?"""
    valid_until = {document.key_id: document.valid_until_ms for document in documents}
    if "" in keys:
        return max(valid_until.values(), default=0) < keys[""]
    return any(valid_until.get(key_id, 0) < until for key_id, until in keys.items())


def _chosen(documents: Sequence[StoredDocument], keys: Mapping[str, int]) -> list[bytes]:
    """Each document once: those with wanted keys first, then the newest others."""
    wanted = [document.document for document in documents if document.key_id in keys]
    others = [document.document for document in documents] if "" in keys else []
    return list(dict.fromkeys([*wanted, *others]))[:OTHERS_PER_SERVER]
