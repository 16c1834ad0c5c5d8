"""Pushers: where and how users want to be pushed to. Kept here; nothing is delivered yet.

https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3pushersset
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import orjson

from homeserver.protocol.errors import InvalidParam, LimitExceeded, MissingParam
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.requester import Requester
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.storage.pushers import PusherRow, PusherStore

MAX_APP_ID = 64
MAX_PUSHKEY_BYTES = 512
MAX_PUSHER_BYTES = 16_384
MOST_PUSHERS = 100

_TEXTS: Final = ("app_display_name", "device_display_name", "lang")
_GATEWAY_PATH: Final = "/_matrix/push/v1/notify"


class Pushers:
    """Set and list."""

    def __init__(self, database: Database, store: PusherStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def put(self, requester: Requester, pusher: JsonObject) -> None:
        """What a client puts to /pushers/set; `kind` null removes. Raises MissingParam and InvalidParam."""
        app_id, pushkey = _text(pusher, "app_id"), _text(pusher, "pushkey")
        if len(app_id) > MAX_APP_ID:
            raise InvalidParam(f"app_id is at most {MAX_APP_ID} characters long")
        if len(pushkey.encode()) > MAX_PUSHKEY_BYTES:
            raise InvalidParam(f"pushkey is at most {MAX_PUSHKEY_BYTES} bytes long")
        if "kind" not in pusher:
            raise MissingParam("Missing parameters: kind")
        user_id = requester.user_id
        if pusher["kind"] is None:
            await self._database.write(self._store.remove, user_id, app_id, pushkey=pushkey)
            return
        row = PusherRow(app_id, pushkey, orjson.dumps(_checked(pusher)))
        if len(row.pusher) > MAX_PUSHER_BYTES:
            raise InvalidParam(f"A pusher is at most {MAX_PUSHER_BYTES} bytes of JSON")
        await self._database.write(self._put, requester, row, append=pusher.get("append") is True)

    def remove_of_devices(self, txn: Transaction, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """The devices have logged out: nobody is pushed to there any more. A DeviceCleaner."""
        for device_id in device_ids:
            self._store.remove_of_device(txn, user_id, device_id)

    async def of_user(self, user_id: UserId) -> list[JsonObject]:
        """The user's pushers as clients see them."""
        rows = await self._database.read(self._store.of_user, user_id)
        return [{"app_id": row.app_id, "pushkey": row.pushkey, **orjson.loads(row.pusher)} for row in rows]

    def _put(self, txn: Transaction, requester: Requester, row: PusherRow, *, append: bool) -> None:
        user_id = requester.user_id
        present = self._store.of_user(txn, user_id)
        is_new = not any((old.app_id, old.pushkey) == (row.app_id, row.pushkey) for old in present)
        if is_new and len(present) >= MOST_PUSHERS:
            raise LimitExceeded(f"An account has at most {MOST_PUSHERS} pushers", retry_after_ms=86_400_000)
        if not append:
            self._store.remove_others(txn, user_id, row.app_id, pushkey=row.pushkey)
        self._store.put(txn, user_id, row, device_id=requester.device_id, now_ms=self._clock.now_ms())


def _text(pusher: JsonObject, name: str) -> str:
    value = pusher.get(name)
    if value is None:
        raise MissingParam(f"Missing parameters: {name}")
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidParam(f"{name} must be a text")
    return value


def _checked(pusher: JsonObject) -> JsonObject:
    """What is kept of a pusher."""
    missing = [name for name in (*_TEXTS, "data") if pusher.get(name) is None]
    if missing:
        raise MissingParam(f"Missing parameters: {', '.join(missing)}")
    if pusher["kind"] != "http":
        raise InvalidParam(f"This server has no pushers of kind {str(pusher['kind'])[:100]!r}, only http")
    data = pusher["data"]
    if not isinstance(data, dict):
        raise InvalidParam("data must be an object")
    _check_url(data.get("url"))
    kept: JsonObject = {"kind": "http", "data": data, **{name: _text(pusher, name) for name in _TEXTS}}
    if pusher.get("profile_tag") is not None:
        kept["profile_tag"] = _text(pusher, "profile_tag")
    return kept


def _check_url(url: Json) -> None:
    if url is None:
        raise MissingParam("Missing parameters: data.url")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme != "https" or not parts.hostname or parts.path != _GATEWAY_PATH:
        raise InvalidParam(f"data.url must be an https URL with the path {_GATEWAY_PATH}")
