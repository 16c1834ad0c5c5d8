"""What homeservers answer, checked for its form and no further: events in it are as untrusted as before.

Lists of events are decoded piece by piece, so that a room of 50,000 does not stop the server for a second.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.errors import NotJson
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.remote.errors import RemoteMisbehaved
from homeserver.runtime.clock import Clock

PDUS_AT_ONCE = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Template:
    """An event for us to complete and sign. `room_version` is "1" where the other side gave none."""

    room_version: str
    event: JsonObject


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """The room before our join. `event` is the join as the resident server signed it, if it sent it.

    With `members_omitted`, `state` holds only some memberships, and `servers_in_room` says who is there.
    """

    event: JsonObject | None
    state: list[JsonObject]
    auth_chain: list[JsonObject]
    members_omitted: bool
    servers_in_room: list[ServerName]


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """The state before an event, and the auth chain of that state."""

    pdus: list[JsonObject]
    auth_chain: list[JsonObject]


@dataclass(frozen=True, slots=True)
class StateIdsAnswer:
    pdu_ids: list[EventId]
    auth_chain_ids: list[EventId]


@dataclass(frozen=True, slots=True)
class NearbyEvent:
    event_id: EventId
    origin_server_ts: int


@dataclass(frozen=True, slots=True)
class DirectoryAnswer:
    room_id: RoomId
    servers: list[ServerName]


_NOTHING = msgspec.Raw(b"null")


class _RawJoin(msgspec.Struct):
    state: list[msgspec.Raw]
    auth_chain: list[msgspec.Raw]
    event: msgspec.Raw = _NOTHING
    members_omitted: bool = False
    servers_in_room: list[str] | None = None


class _RawState(msgspec.Struct):
    pdus: list[msgspec.Raw] = []
    auth_chain: list[msgspec.Raw] = []


class _RawPdus(msgspec.Struct):
    pdus: list[msgspec.Raw] = []


class _RawEvents(msgspec.Struct):
    events: list[msgspec.Raw] = []


class _RawAuthChain(msgspec.Struct):
    auth_chain: list[msgspec.Raw]


_JOIN = msgspec.json.Decoder(_RawJoin)
_STATE = msgspec.json.Decoder(_RawState)
_PDUS = msgspec.json.Decoder(_RawPdus)
_EVENTS = msgspec.json.Decoder(_RawEvents)
_AUTH_CHAIN = msgspec.json.Decoder(_RawAuthChain)


async def join_answer(raw: bytes, clock: Clock) -> JoinAnswer:
    """Raises RemoteMisbehaved, as do all functions here."""
    found = _decoded(_JOIN, raw)
    try:
        event = None if bytes(found.event) == b"null" else _pdu(found.event)
    except NotJson as error:
        raise RemoteMisbehaved(f"The join in the answer is not JSON: {error}") from None
    return JoinAnswer(
        event,
        await _pdus(found.state, clock),
        await _pdus(found.auth_chain, clock),
        found.members_omitted,
        [ServerName(name) for name in found.servers_in_room or ()],
    )


async def state_answer(raw: bytes, clock: Clock) -> StateAnswer:
    found = _decoded(_STATE, raw)
    return StateAnswer(await _pdus(found.pdus, clock), await _pdus(found.auth_chain, clock))


async def pdus_of_transaction(raw: bytes, clock: Clock) -> list[JsonObject]:
    """The answers of /backfill and /event."""
    return await _pdus(_decoded(_PDUS, raw).pdus, clock)


async def missing_events_answer(raw: bytes, clock: Clock) -> list[JsonObject]:
    return await _pdus(_decoded(_EVENTS, raw).events, clock)


async def auth_chain_answer(raw: bytes, clock: Clock) -> list[JsonObject]:
    return await _pdus(_decoded(_AUTH_CHAIN, raw).auth_chain, clock)


def template(answer: JsonObject) -> Template:
    version, event = answer.get("room_version"), answer.get("event")
    return Template(version if isinstance(version, str) else "1", checked_object(event, "event"))


def state_ids(answer: JsonObject) -> StateIdsAnswer:
    pdu_ids, chain_ids = (_texts(answer.get(name), name) for name in ("pdu_ids", "auth_chain_ids"))
    return StateIdsAnswer([EventId(text) for text in pdu_ids], [EventId(text) for text in chain_ids])


def nearby_event(answer: JsonObject) -> NearbyEvent:
    event_id, timestamp = answer.get("event_id"), answer.get("origin_server_ts")
    if not isinstance(event_id, str) or not isinstance(timestamp, int):
        raise RemoteMisbehaved("The answer lacks event_id or origin_server_ts")
    return NearbyEvent(EventId(event_id), timestamp)


def directory(answer: JsonObject) -> DirectoryAnswer:
    room_id = answer.get("room_id")
    if not isinstance(room_id, str):
        raise RemoteMisbehaved("The answer lacks room_id")
    return DirectoryAnswer(
        RoomId(room_id), [ServerName(name) for name in _texts(answer.get("servers"), "servers")]
    )


def checked_object(value: Json, name: str) -> JsonObject:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise RemoteMisbehaved(f"The answer lacks {name}, or it is not an object")
    return value


def objects(value: Json, name: str) -> list[JsonObject]:
    """The value, which must be a list of objects."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise RemoteMisbehaved(f"{name} in the answer is not a list of objects")
    return value


def text(answer: Mapping[str, Json], name: str) -> str:
    """A field that must be a string."""
    value = answer.get(name)
    if not isinstance(value, str):
        raise RemoteMisbehaved(f"The answer lacks {name}")
    return value


def _texts(value: Json, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise RemoteMisbehaved(f"{name} in the answer is not a list of strings")
    return value


def _decoded(decoder: "msgspec.json.Decoder[_T]", raw: bytes) -> "_T":
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteMisbehaved(f"The answer does not have the expected form: {error}") from None


async def _pdus(raw: Sequence[msgspec.Raw], clock: Clock) -> list[JsonObject]:
    """Decode events, letting others work in between."""
    found: list[JsonObject] = []
    for start in range(0, len(raw), PDUS_AT_ONCE):
        if start:
            await clock.sleep(0)
        for each in raw[start : start + PDUS_AT_ONCE]:
            with suppress(NotJson):  # what nobody can read is missing, and harms nothing beside it
                found.append(_pdu(each))
    return found


def _pdu(raw: msgspec.Raw) -> JsonObject:
    """Raises NotJson. Numbers of events in old rooms stay as they are."""
    return checked_object(canonical_json.decode_loosely(memoryview(raw)), "an event")


def second_of_pair(raw: bytes) -> JsonObject:
    """`[200, {...}]`, as some endpoints of the first version answer."""
    try:
        value = orjson.loads(raw)
    except ValueError:
        raise RemoteMisbehaved("The answer is not JSON") from None
    if not isinstance(value, list) or len(value) != 2:
        raise RemoteMisbehaved("The answer is not a pair")
    return checked_object(value[1], "its second part")
