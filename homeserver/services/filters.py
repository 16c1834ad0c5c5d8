"""Filters that clients upload once and name in every sync.

An id is a hash of the content, so a client that uploads its filter at every start gets the same id, and
whatever is remembered about an id stays true. https://spec.matrix.org/latest/client-server-api/#filtering
"""

import hashlib
from base64 import urlsafe_b64encode
from collections import OrderedDict
from weakref import WeakValueDictionary

import orjson

from homeserver.protocol.errors import LimitExceeded, NotFound, TooLarge
from homeserver.protocol.filters import Filter, parse_filter
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.account_data import FilterStore

MAX_FILTER_BYTES = 65_536
MOST_FILTERS = 1_000
FILTERS_IN_MEMORY = 20_000


class Filters:
    """Upload and look up. `remembered` costs one dict look-up; users with equal filters share one object."""

    def __init__(self, database: Database, store: FilterStore) -> None:
        self._database = database
        self._store = store
        self._known: OrderedDict[tuple[UserId, str], Filter] = OrderedDict()
        self._shared: WeakValueDictionary[str, Filter] = WeakValueDictionary()

    async def upload(self, user_id: UserId, definition: JsonObject) -> str:
        """Keep a filter; its id. Raises BadJson or InvalidParam if it is none, TooLarge."""
        parsed = parse_filter(definition)
        content = orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)
        if len(content) > MAX_FILTER_BYTES:
            raise TooLarge(f"A filter is at most {MAX_FILTER_BYTES} bytes, this is {len(content)}")
        filter_id = urlsafe_b64encode(hashlib.sha256(content).digest()[:12]).decode()
        if (user_id, filter_id) not in self._known:
            await self._database.write(self._put, user_id, filter_id, content)
            self._remember(user_id, filter_id, parsed)
        return filter_id

    async def definition(self, user_id: UserId, filter_id: str) -> bytes:
        """The filter as JSON. Raises NotFound."""
        content = await self._database.look_up(self._store.content, user_id, filter_id)
        if content is None:
            raise NotFound(f"{user_id} has no filter {filter_id[:100]!r}")
        return content

    async def get(self, user_id: UserId, filter_id: str) -> Filter:
        """The filter, ready to apply. Raises NotFound."""
        known = self._known.get((user_id, filter_id))
        if known is None:
            known = parse_filter(orjson.loads(await self.definition(user_id, filter_id)))
            known = self._remember(user_id, filter_id, known)
        return known

    def remembered(self, user_id: UserId, filter_id: str) -> Filter | None:
        """The filter if it is in memory; otherwise await `get`."""
        return self._known.get((user_id, filter_id))

    def _put(self, txn: Transaction, user_id: UserId, filter_id: str, content: bytes) -> None:
        if (
            self._store.count(txn, user_id) >= MOST_FILTERS
            and self._store.content(txn, user_id, filter_id) is None
        ):
            raise LimitExceeded(f"An account has at most {MOST_FILTERS} filters", retry_after_ms=86_400_000)
        self._store.put(txn, user_id, filter_id, content=content)

    def _remember(self, user_id: UserId, filter_id: str, parsed: Filter) -> Filter:
        shared = self._shared.setdefault(filter_id, parsed)
        self._known[user_id, filter_id] = shared
        if len(self._known) > FILTERS_IN_MEMORY:
            self._known.popitem(last=False)
        return shared
