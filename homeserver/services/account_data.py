"""Account data and room tags: what clients keep with the account, and sync to each other.

Content is kept as the bytes that clients get. What a user changed lately stays in memory, so that a sync
which is up to date reads nothing. https://spec.matrix.org/latest/client-server-api/#client-config
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

import orjson

from homeserver.protocol.errors import BadJson, InvalidParam, MatrixError, NotFound, TooLarge
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.runtime.database import Database, Transaction
from homeserver.services.recent_changes import RecentChanges
from homeserver.services.streams import Change, Streams
from homeserver.storage.account_data import AccountDataEntry, AccountDataStore

FULLY_READ = "m.fully_read"
PUSH_RULES = "m.push_rules"
TAGS = "m.tag"
IGNORED_USERS = "m.ignored_user_list"

MAX_CONTENT_BYTES = 65_536
MAX_TYPE_BYTES = 255
MAX_TAG_BYTES = 255
MAX_TAGS = 100
MOST_TYPES = 20_000

_KEPT_BY_SERVER = frozenset({FULLY_READ, PUSH_RULES})

_NOBODY: frozenset[UserId] = frozenset()

Render = Callable[[UserId], bytes]


class KeptByServer(BadJson):
    """Clients may read this type, but not write it."""

    status = 405


class AccountData:
    """Read and write account data; `last_position` and `changed_since` are for sync."""

    def __init__(self, database: Database, store: AccountDataStore, streams: Streams) -> None:
        self._database = database
        self._store = store
        self._streams = streams
        self._recent: RecentChanges[UserId, AccountDataEntry] = RecentChanges(
            lambda: streams.position, per_key=32
        )
        self._ignored: dict[UserId, frozenset[UserId]] = {}  # of those who ignore anybody
        self._ignored_by: dict[UserId, set[UserId]] = {}
        self._rendered: dict[str, Render] = {}

    async def start(self) -> None:
        """Learn who ignores whom."""
        for user_id, content in await self._database.read(self._store.of_type, IGNORED_USERS):
            self._note_ignored(user_id, _ignored_users(content))

    async def depart(self, user_id: UserId, erase: bool) -> None:
        """The account was closed: nobody will ever read what it kept."""
        await self._database.write(self._remove_all, user_id)

    def render(self, type_: str, render: Render) -> None:
        """Global account data of this type is what `render(user_id)` says, for every user."""
        self._rendered[type_] = render

    async def get(self, user_id: UserId, type_: str, room_id: RoomId | None = None) -> bytes:
        """The content as JSON. Raises NotFound."""
        if room_id is None and type_ in self._rendered:
            return self._rendered[type_](user_id)
        content = await self._database.look_up(self._store.content, user_id, room_id, type_)
        if content is None:
            raise NotFound(f"There is no account data of type {type_!r}")
        return content

    async def put(
        self, user_id: UserId, type_: str, content: bytes, *, room_id: RoomId | None = None
    ) -> None:
        """A client writes. `content`: a JSON object. Raises KeptByServer, TooLarge, InvalidParam."""
        if type_ in _KEPT_BY_SERVER:
            raise KeptByServer(f"{type_} cannot be set as account data: it has an API of its own")
        if not type_ or len(type_.encode()) > MAX_TYPE_BYTES:
            raise InvalidParam(f"A type of account data is 1 to {MAX_TYPE_BYTES} bytes")
        if len(content) > MAX_CONTENT_BYTES:
            raise TooLarge(f"Account data is at most {MAX_CONTENT_BYTES} bytes, this is {len(content)}")
        await self._streams.write(self._put, self._change(user_id), user_id, room_id, type_, content)

    def write(
        self, txn: Transaction, position: int, user_id: UserId, *, entry: tuple[RoomId | None, str, bytes]
    ) -> None:
        """The server writes (room or None, type, content), in a caller's transaction at a drawn position.

        The caller announces a Change for the user once committed.
        """
        record = AccountDataEntry(*entry, position)
        self._store.put(txn, user_id, record)
        txn.after_commit(self._remember, user_id, record)

    def stored(self, txn: Transaction, user_id: UserId, room_id: RoomId | None, type_: str) -> bytes | None:
        """The content as it stands, inside a caller's transaction."""
        return self._store.content(txn, user_id, room_id, type_)

    async def tags(self, user_id: UserId, room_id: RoomId) -> JsonObject:
        """The room's tags: name to its information."""
        return _tags(await self._database.look_up(self._store.content, user_id, room_id, TAGS))

    async def add_tag(self, user_id: UserId, room_id: RoomId, tag: str, *, info: JsonObject) -> None:
        """`info`: what the client says about the tag, such as its `order` from 0 to 1."""
        if not tag or len(tag.encode()) > MAX_TAG_BYTES:
            raise InvalidParam(f"A tag is 1 to {MAX_TAG_BYTES} bytes long")
        order = info.get("order")
        if order is not None and (
            isinstance(order, bool) or not isinstance(order, int | float) or not 0 <= order <= 1
        ):
            raise InvalidParam("The order of a tag is a number from 0 to 1")
        await self._streams.write(self._edit_tag, self._if_changed(user_id), user_id, room_id, tag, info)

    async def remove_tag(self, user_id: UserId, room_id: RoomId, tag: str) -> None:
        """Removing a tag that is not there changes nothing."""
        await self._streams.write(self._edit_tag, self._if_changed(user_id), user_id, room_id, tag, None)

    def last_position(self, user_id: UserId) -> int:
        """Nothing of the user's account data changed after this position. Memory only."""
        return self._recent.last_position(user_id)

    async def changed_since(self, user_id: UserId, position: int) -> list[AccountDataEntry]:
        """What changed after `position`, oldest first, each type once; everything for position 0.

        Reads SQL only when memory does not reach back to `position`.
        """
        entries = self._recent.since(user_id, position) if position > 0 else None
        if entries is None:
            entries = await self._database.read(self._store.changed_since, user_id, position)
            self._recent.learn(user_id, entries[-1].position if entries else position)
        return self._finished(user_id, position, entries)

    def ignored_users(self, user_id: UserId) -> AbstractSet[UserId]:
        """Whom the user ignores (m.ignored_user_list). Memory only."""
        return self._ignored.get(user_id, _NOBODY)

    def ignored_by(self, user_id: UserId) -> AbstractSet[UserId]:
        """Who ignores the user. Memory only."""
        return self._ignored_by.get(user_id, _NOBODY)

    def _finished(
        self, user_id: UserId, position: int, entries: list[AccountDataEntry]
    ) -> list[AccountDataEntry]:
        newest = {(entry.room_id, entry.type): entry for entry in entries}
        for type_, render in self._rendered.items():
            entry = newest.get((None, type_))
            if entry is not None or position == 0:
                at = entry.position if entry is not None else 0
                newest[None, type_] = AccountDataEntry(None, type_, render(user_id), at)
        return list(newest.values())

    def _put(
        self,
        txn: Transaction,
        position: int,
        user_id: UserId,
        room_id: RoomId | None,
        type_: str,
        content: bytes,
    ) -> None:
        old = self._store.content(txn, user_id, room_id, type_)
        if old is None and self._store.count(txn, user_id) >= MOST_TYPES:
            raise TooManyTypes(f"An account keeps at most {MOST_TYPES} types of account data")
        self.write(txn, position, user_id, entry=(room_id, type_, content))

    def _edit_tag(
        self,
        txn: Transaction,
        position: int,
        user_id: UserId,
        room_id: RoomId,
        tag: str,
        info: JsonObject | None,
    ) -> bool:
        tags = _tags(self._store.content(txn, user_id, room_id, TAGS))
        if info is None:
            if tag not in tags:
                return False
            del tags[tag]
        else:
            tags[tag] = info
        if len(tags) > MAX_TAGS:
            raise TooManyTypes(f"A room has at most {MAX_TAGS} tags")
        content = orjson.dumps({"tags": tags})
        if len(content) > MAX_CONTENT_BYTES:
            raise TooLarge(f"The tags of a room are at most {MAX_CONTENT_BYTES} bytes in all")
        self.write(txn, position, user_id, entry=(room_id, TAGS, content))
        return True

    def _remove_all(self, txn: Transaction, user_id: UserId) -> None:
        self._store.remove_all(txn, user_id)
        txn.after_commit(self._note_ignored, user_id, _NOBODY)

    def _remember(self, user_id: UserId, entry: AccountDataEntry) -> None:
        self._recent.add(user_id, entry.position, entry)
        if entry.type == IGNORED_USERS and entry.room_id is None:
            self._note_ignored(user_id, _ignored_users(entry.content))

    def _note_ignored(self, user_id: UserId, ignored: frozenset[UserId]) -> None:
        before = self._ignored.pop(user_id, _NOBODY)
        if ignored:
            self._ignored[user_id] = ignored
        for other in before - ignored:
            self._ignored_by[other].discard(user_id)
            if not self._ignored_by[other]:
                del self._ignored_by[other]
        for other in ignored - before:
            self._ignored_by.setdefault(other, set()).add(user_id)

    def _change(self, user_id: UserId) -> Change:
        return Change("account_data", users=(user_id,))

    def _if_changed(self, user_id: UserId) -> Callable[[bool], Change | None]:
        return lambda changed: self._change(user_id) if changed else None


class TooManyTypes(MatrixError):
    """The account keeps so much that this would be storage for strangers."""

    status, errcode = 400, "M_LIMIT_EXCEEDED"


def _tags(content: bytes | None) -> JsonObject:
    tags: Json = orjson.loads(content).get("tags") if content is not None else None
    return tags if isinstance(tags, dict) else {}


def _ignored_users(content: bytes | None) -> frozenset[UserId]:
    """Clients write this list: anything malformed in it ignores nobody."""
    if content is None:
        return frozenset()
    ignored = orjson.loads(content).get("ignored_users")
    return frozenset(UserId(user) for user in ignored) if isinstance(ignored, dict) else frozenset()
