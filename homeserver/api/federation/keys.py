"""Our keys, and what we know of others'.

https://spec.matrix.org/latest/server-server-api/#retrieving-server-keys
"""

from typing import Protocol

import msgspec

from homeserver import __version__
from homeserver.http.request import Request
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.clock import Clock
from homeserver.services.key_ring import KeyRing
from homeserver.services.notary import Notary

ALL_KEYS = ""


class _KnowsKeys(Protocol):
    @property
    def clock(self) -> Clock: ...

    @property
    def key_ring(self) -> KeyRing: ...

    @property
    def notary(self) -> Notary: ...


class Criteria(msgspec.Struct):
    """Until when (ms) a key should be valid; now, if not said."""

    minimum_valid_until_ts: int | None = None


class KeyQuery(msgspec.Struct):
    """By server, by key ID. No key IDs: all keys."""

    server_keys: dict[str, dict[str, Criteria]]


async def server_version(services: object, request: Request) -> JsonObject:
    """GET /_matrix/federation/v1/version"""
    return {"server": {"name": "Postroom", "version": __version__}}


async def own_keys(services: _KnowsKeys, request: Request) -> JsonObject:
    """GET /_matrix/key/v2/server"""
    return services.key_ring.own_document()


async def keys_of_server(services: _KnowsKeys, request: Request, server_name: ServerName) -> JsonObject:
    """GET /_matrix/key/v2/query/{serverName}"""
    until_ms = request.query_int("minimum_valid_until_ts", services.clock.now_ms())
    documents = await services.notary.vouch({server_name: {ALL_KEYS: until_ms}})
    return {"server_keys": documents}


async def keys_of_servers(services: _KnowsKeys, request: Request) -> JsonObject:
    """POST /_matrix/key/v2/query"""
    now_ms = services.clock.now_ms()
    wanted = {
        server: {
            key_id: now_ms if criteria.minimum_valid_until_ts is None else criteria.minimum_valid_until_ts
            for key_id, criteria in (keys or {ALL_KEYS: Criteria()}).items()
        }
        for server, keys in request.json(KeyQuery).server_keys.items()
    }
    return {"server_keys": await services.notary.vouch(wanted)}
