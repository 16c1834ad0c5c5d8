"""Noticing that a transaction of another Postroom got lost, and fetching it.

Every transaction names the one before it (`prev_ids`, as in the protocol of 2014). If we never had that one,
say because our database was restored from a backup, the server is asked for all since the last we know.
Servers that name none are not asked, and those that cannot answer are not asked again.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from homeserver.protocol.errors import LimitExceeded, MatrixError
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.remote.errors import RemoteUnreachable
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.storage.destinations import DestinationStore

logger = logging.getLogger(__name__)

MOST_ROUNDS = 20
MOST_REMEMBERED = 10_000

Take = Callable[[ServerName, str, JsonObject], Awaitable[object]]


class PullClient(Protocol):
    async def pull(self, destination: ServerName, txn_id: str) -> JsonObject:
        """GET /_postroom/federation/v1/pull. Raises RemoteError."""


class LostTransactions:
    """Told by the inbox of every new transaction that names the one before."""

    def __init__(
        self, database: Database, store: DestinationStore, client: PullClient, tasks: Tasks, take: Take
    ) -> None:
        self._database = database
        self._store = store
        self._client = client
        self._tasks = tasks
        self._take = take
        self._watching: set[ServerName] = set()
        self._pulling: set[ServerName] = set()
        self._cannot: set[ServerName] = set()
        self._unfetched: dict[ServerName, str] = {}

    def note(self, origin: ServerName, last_known: str | None) -> None:
        """`last_known`: None when nothing is missing, else the last transaction of it that we know."""
        if origin not in self._watching:
            if len(self._watching) >= MOST_REMEMBERED:
                self._watching.clear()
            self._watching.add(origin)
            self._tasks.start("note who watches transactions", self._watch(origin))
        last_known = self._unfetched.pop(origin, last_known)
        if last_known is not None and origin not in self._pulling and origin not in self._cannot:
            self._pulling.add(origin)
            self._tasks.start(f"fetch lost transactions of {origin}", self._pull(origin, last_known))

    async def _watch(self, origin: ServerName) -> None:
        await self._database.write(self._store.note_log, origin)

    async def _pull(self, origin: ServerName, last_known: str) -> None:
        try:
            for _ in range(MOST_ROUNDS):
                answer = await self._client.pull(origin, last_known)
                transactions = answer.get("transactions")
                if not isinstance(transactions, list) or not transactions:
                    return
                for one in transactions:
                    fields = one if isinstance(one, dict) else {}
                    txn_id, body = fields.get("txn_id"), fields.get("body")
                    if not isinstance(txn_id, str) or not isinstance(body, dict):
                        return
                    await self._take(origin, txn_id, body)
                    last_known = txn_id
        except (RemoteUnreachable, LimitExceeded):  # the next transaction reminds us
            if len(self._unfetched) >= MOST_REMEMBERED:
                self._unfetched.clear()
            self._unfetched[origin] = last_known
        except MatrixError as error:
            logger.info("What %s sent before cannot be fetched: %s", origin, error)
            if len(self._cannot) >= MOST_REMEMBERED:
                self._cannot.clear()
            self._cannot.add(origin)
        finally:
            self._pulling.discard(origin)
