"""Profiles: named fields of a user, and telling the user's rooms when the name or avatar changes.

https://spec.matrix.org/latest/client-server-api/#profiles
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import orjson

from homeserver.protocol.errors import BadJson, InvalidParam, KeyTooLarge, NotFound, ProfileTooLarge
from homeserver.protocol.ids import ServerName, UserId, domain_of
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.runtime.tasks import Tasks
from homeserver.services.remote_profiles import RemoteProfiles
from homeserver.services.streams import Change, Streams
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.profiles import Field

DISPLAY_NAME = "displayname"
AVATAR_URL = "avatar_url"
TIME_ZONE = "m.tz"
SHOWN_IN_ROOMS = frozenset({DISPLAY_NAME, AVATAR_URL})

MAX_PROFILE_BYTES = 65_535
MAX_KEY_BYTES = 255
MAX_SHOWN_BYTES = 1000
"""Of a name or avatar: they are copied into every room."""
PAUSE_S = 2.0
"""Between telling a user's rooms and telling them again."""

_KEY = re.compile(r"[a-z][a-z0-9._-]*", re.ASCII)

Propagate = Callable[[UserId], Awaitable[None]]


class Shown(NamedTuple):
    """What rooms show of a user."""

    display_name: str | None
    avatar_url: str | None


class Profiles:
    """Reads profiles, writes those of local users."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        streams: Streams,
        clock: Clock,
        tasks: Tasks,
        *,
        server_name: ServerName,
        remote: RemoteProfiles | None = None,
    ) -> None:
        self._database = database
        self._accounts = stores.accounts
        self._store = stores.profiles
        self._streams = streams
        self._clock = clock
        self._tasks = tasks
        self._server_name = server_name
        self._remote = remote
        self._propagate: Propagate | None = None
        self._telling: dict[UserId, bool] = {}  # True: there is something newer to tell

    async def start(self, propagate: Propagate) -> None:
        """From now on `propagate(user_id)` tells a user's rooms; first those that are still to be told."""
        self._propagate = propagate
        for user_id in await self._database.read(self._store.noted_changes):
            self._tell_rooms(user_id)

    async def profile(self, user_id: UserId) -> JsonObject:
        """The whole profile. Raises NotFound when there is no such user."""
        if self._is_remote(user_id):
            return await self._profile_elsewhere(user_id)
        fields = await self._database.look_up(self._fields, user_id)
        if fields is None:
            raise NotFound(f"There is no user {user_id}")
        return {field.name: orjson.loads(field.value) for field in fields}

    async def field(self, user_id: UserId, key: str) -> Json:
        """One field. Raises NotFound when it, or the user, is not there."""
        if self._is_remote(user_id):
            profile = await self._profile_elsewhere(user_id)
            if key not in profile:
                raise NotFound(f"{user_id} has no profile field {key[:MAX_KEY_BYTES]!r}")
            return profile[key]
        value = await self._database.look_up(self._store.value, user_id, key)
        if value is None:
            raise NotFound(f"{user_id} has no profile field {key[:MAX_KEY_BYTES]!r}")
        result: Json = orjson.loads(value)
        return result

    async def guests_among(self, user_ids: Iterable[UserId]) -> list[UserId]:
        """Those of the users who came without an account."""
        present = set(user_ids)
        return [user_id for user_id in await self._database.read(self._accounts.guests) if user_id in present]

    def shown(self, txn: Transaction, user_id: UserId) -> Shown:
        """What rooms show of the user, for those who write membership events."""
        fields = {name: orjson.loads(value) for name, value in self._store.fields(txn, user_id)}
        return Shown(fields.get(DISPLAY_NAME), fields.get(AVATAR_URL))

    async def put(self, user_id: UserId, key: str, value: Json) -> None:
        """Set a field. Raises BadJson, InvalidParam, KeyTooLarge, ProfileTooLarge."""
        check_key(key)
        _check_value(key, value)
        encoded = Field(key, _encoded(value))
        await self._streams.write(self._put, self._change(user_id), user_id, encoded)
        self._changed(user_id, key)

    async def remove(self, user_id: UserId, key: str) -> None:
        """Remove a field, if it is there. Raises InvalidParam, KeyTooLarge."""
        check_key(key)
        await self._streams.write(self._remove, self._change(user_id), user_id, key)
        self._changed(user_id, key)

    def _put(self, txn: Transaction, position: int, user_id: UserId, field: Field) -> None:
        others = [old for old in self._store.fields(txn, user_id) if old.name != field.name]
        if _size([*others, field]) > MAX_PROFILE_BYTES:
            raise ProfileTooLarge
        self._store.put(txn, user_id, field)
        if field.name in SHOWN_IN_ROOMS:
            self._store.note_change(txn, user_id)

    def _remove(self, txn: Transaction, position: int, user_id: UserId, key: str) -> None:
        if self._store.remove(txn, user_id, key) and key in SHOWN_IN_ROOMS:
            self._store.note_change(txn, user_id)

    def _fields(self, txn: Transaction, user_id: UserId) -> list[Field] | None:
        fields = self._store.fields(txn, user_id)
        return fields if fields or self._accounts.exists(txn, user_id) else None

    def asks_elsewhere(self, user_id: UserId) -> bool:
        """Would another server be asked for the profile?"""
        return self._remote is not None and self._is_remote(user_id)

    def _is_remote(self, user_id: UserId) -> bool:
        return domain_of(user_id) != self._server_name

    def note_elsewhere(self, user_id: UserId, content: JsonObject) -> None:
        """A room tells how a user of another server looks there."""
        if self._remote is not None:
            self._remote.note_member(user_id, content)

    async def _profile_elsewhere(self, user_id: UserId) -> JsonObject:
        if self._remote is None:
            raise NotFound(f"The profile of {user_id} is not known here")
        return await self._remote.profile(user_id)

    def _change(self, user_id: UserId) -> Change:
        return Change("profiles", users=(user_id,))

    def _changed(self, user_id: UserId, key: str) -> None:
        if key in SHOWN_IN_ROOMS:
            self._tell_rooms(user_id)

    def _tell_rooms(self, user_id: UserId) -> None:
        """At once, or after what is being told now; of many changes meanwhile only the newest is told."""
        if self._propagate is None:
            return
        if user_id in self._telling:
            self._telling[user_id] = True
        else:
            self._telling[user_id] = False
            self._tasks.start(f"tell rooms the profile of {user_id}", self._keep_telling(user_id))

    async def _keep_telling(self, user_id: UserId) -> None:
        assert self._propagate is not None
        try:
            while True:
                self._telling[user_id] = False
                await self._propagate(user_id)
                if not self._telling[user_id]:
                    await self._database.write(self._store.forget_change, user_id)
                await self._clock.sleep(PAUSE_S)
                if not self._telling[user_id]:
                    return
        finally:
            del self._telling[user_id]


def check_key(key: str) -> None:
    """May a field be called this? Raises InvalidParam, KeyTooLarge."""
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise KeyTooLarge
    if not _KEY.fullmatch(key):
        raise InvalidParam(f"A profile field is named with a-z, 0-9 and . _ -, not {key!r}")


def _check_value(key: str, value: Json) -> None:
    if key not in SHOWN_IN_ROOMS and key != TIME_ZONE:
        return
    if not isinstance(value, str):
        raise BadJson(f"{key} must be a string")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_SHOWN_BYTES:
        raise InvalidParam(f"{key} has at most {MAX_SHOWN_BYTES} bytes")


def _encoded(value: Json) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise BadJson(f"The value cannot be kept: {error}") from None


def _size(fields: list[Field]) -> int:
    """Bytes of the profile as a JSON object."""
    return 1 + sum(len(name.encode()) + len(value) + 4 for name, value in fields)
