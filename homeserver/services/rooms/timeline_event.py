"""An event as clients get it: encoded once, shared by everyone it goes to.

Only `unsigned` differs between answers (its age, the transaction id for the device that sent it),
so the encoding is kept in two pieces with the age between them.
https://spec.matrix.org/latest/client-server-api/#room-event-format
"""

from typing import NamedTuple, cast

import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.event_types import DUMMY
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.storage.events import ACCEPTED, HIDDEN, EventRow, device_and_txn_id

_STORED = (("content", dict), ("depth", int), ("origin_server_ts", int), ("sender", str), ("type", str))


class MalformedEvent(Exception):
    """What is stored of an event is no event: the row was damaged."""


class Replaced(NamedTuple):
    """The state event that stood here before."""

    nid: int
    event_id: EventId
    sender: str
    content: Json


class TimelineEvent:
    """Light and immutable but for `has_children`; knows how to write itself into an answer."""

    __slots__ = (
        "content", "depth", "event_id", "has_children", "head", "nid", "notify", "replaces_nid", "rest",
        "room_id", "sender", "state_key", "state_nid", "status", "thread_root", "ts", "txn", "type",
    )  # fmt: skip

    nid: int
    event_id: EventId
    room_id: RoomId
    type: str
    sender: UserId
    state_key: str | None
    content: JsonObject
    depth: int
    ts: int
    state_nid: int | None
    status: int
    notify: int
    thread_root: EventId | None
    txn: str | None
    replaces_nid: int | None
    head: bytes
    rest: bytes
    has_children: bool
    """May there be anything to tell of what relates to it? See `RoomRelations.bundles`."""

    def write(self, parts: list[bytes], now_ms: int, extra: bytes = b"") -> None:
        """Append the JSON without room_id (the form of sync); `extra` goes into unsigned: `,"k":v`."""
        parts.append(self.head)
        parts.append(b"%d" % (now_ms - self.ts if now_ms > self.ts else 0))
        parts.append(self.rest)
        if extra:
            parts.append(extra)
        parts.append(b"}}")

    def client_json(self, now_ms: int, extra: bytes = b"") -> bytes:
        """The JSON with its room_id: the form of everything but sync."""
        parts: list[bytes] = []
        self.write(parts, now_ms, extra)
        parts[0] = b'{"room_id":' + orjson.dumps(self.room_id) + b"," + self.head[1:]
        return b"".join(parts)

    def unsigned_for(self, user_id: str, device_id: str | None) -> bytes:
        """What only the device that sent it gets to see: its transaction id."""
        if self.txn is None or self.sender != user_id:
            return b""
        device, txn_id = device_and_txn_id(self.txn)
        return b',"transaction_id":' + orjson.dumps(txn_id) if device == device_id else b""

    @property
    def size(self) -> int:
        """About what it takes in memory, in bytes."""
        return 900 + len(self.head) + len(self.rest) + 2 * len(self.head)


def extra_unsigned(fields: JsonObject) -> bytes:
    """Fields as `write` takes them."""
    return b"," + canonical_json.encode_readable(fields)[1:-1] if fields else b""


def from_row(row: EventRow, room_id: RoomId, version: RoomVersion) -> TimelineEvent:
    """Decode a stored event. Raises MalformedEvent; what belongs into `unsigned` is left out if malformed."""
    pdu = _stored_pdu(row.raw)
    if pdu is None:
        raise MalformedEvent(row.event_id)
    event = TimelineEvent()
    event.nid = row.nid
    event.event_id = row.event_id
    event.state_nid = row.state_nid
    event.status = row.status
    event.notify = row.notify
    event.thread_root = row.thread_root
    event.txn = row.txn
    event.has_children = bool(row.has_children)
    _fill(event, pdu, room_id, version)
    replaced = None
    if row.replaces_id is not None and row.replaces_raw is not None:
        before = _stored_pdu(row.replaces_raw) or {"sender": "", "content": {}}
        replaced = Replaced(row.replaces_nid or 0, row.replaces_id, str(before["sender"]), before["content"])
    redaction = None
    if row.redaction_id is not None and row.redaction_raw is not None:
        by = _stored_pdu(row.redaction_raw)
        if by is not None:
            redaction = {**_client_dict(by, row.redaction_id, version), "room_id": room_id}
    _encode_rest(event, replaced, redaction)
    return event


def accepted_as(event: Event) -> int:
    """ACCEPTED, or HIDDEN where it is nothing to clients."""
    return HIDDEN if event.type == DUMMY and event.state_key is None else ACCEPTED


def from_event(
    source: Event, *, nid: int, state_nid: int, notify: int, thread_root: EventId | None, txn: str | None,
    replaced: Replaced | None,
) -> TimelineEvent:  # fmt: skip
    """An event that was just built or accepted."""
    event = TimelineEvent()
    event.nid = nid
    event.event_id = source.event_id
    event.state_nid = state_nid
    event.status = accepted_as(source)
    event.notify = notify
    event.thread_root = thread_root
    event.txn = txn
    event.has_children = False
    _fill(event, source.pdu, source.room_id, source.version)
    _encode_rest(event, replaced, None)
    return event


def _fill(event: TimelineEvent, pdu: JsonObject, room_id: RoomId, version: RoomVersion) -> None:
    event.room_id = room_id
    client = _client_dict(pdu, event.event_id, version)
    event.type = client["type"]  # type: ignore[assignment]
    event.sender = client["sender"]  # type: ignore[assignment]
    event.state_key = client.get("state_key")  # type: ignore[assignment]
    event.content = client["content"]  # type: ignore[assignment]
    event.depth = pdu["depth"]  # type: ignore[assignment]
    event.ts = client["origin_server_ts"]  # type: ignore[assignment]
    try:
        head = orjson.dumps(client)
    except TypeError:  # in room versions 1 to 5 there may be integers of any size
        head = canonical_json.encode_readable(client)
        event.content = orjson.loads(head)["content"]
    event.head = head[:-1] + b',"unsigned":{"age":'


def _stored_pdu(raw: bytes) -> JsonObject | None:
    """A stored event that has what every event has; None if it was damaged."""
    try:
        pdu = orjson.loads(raw)
        for name, kind in _STORED:
            if type(pdu[name]) is not kind:
                return None
        state_key = pdu.get("state_key")
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    return cast(JsonObject, pdu) if state_key is None or type(state_key) is str else None


def _client_dict(pdu: JsonObject, event_id: EventId, version: RoomVersion) -> JsonObject:
    """The fields that clients see; `redacts` in both of its places whatever the version."""
    content = pdu["content"]
    client: JsonObject = {
        "content": content,
        "event_id": event_id,
        "origin_server_ts": pdu["origin_server_ts"],
        "sender": pdu["sender"],
        "type": pdu["type"],
    }
    if "state_key" in pdu:
        client["state_key"] = pdu["state_key"]
    if pdu["type"] == "m.room.redaction" and isinstance(content, dict):
        redacts = pdu.get("redacts") or content.get("redacts")
        if redacts is not None:
            client["redacts"] = redacts
            client["content"] = {**content, "redacts": redacts}
    return client


def _encode_rest(event: TimelineEvent, replaced: Replaced | None, redaction: JsonObject | None) -> None:
    event.replaces_nid = replaced.nid if replaced else None
    fields: JsonObject = {}
    if replaced is not None:
        fields["prev_content"] = replaced.content
        fields["prev_sender"] = replaced.sender
        fields["replaces_state"] = replaced.event_id
    if redaction is not None:
        fields["redacted_because"] = redaction
    event.rest = extra_unsigned(fields)
