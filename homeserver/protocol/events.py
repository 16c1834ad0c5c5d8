"""Event: a typed view over the JSON of an event, and the ways to come by one.

`Event.from_raw` trusts what we stored, `parse_pdu` distrusts what another server sent, `build` makes our own.
https://spec.matrix.org/latest/server-server-api/#pdus
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

import orjson

from homeserver.protocol import canonical_json
from homeserver.protocol.errors import BadJson, InvalidParam, TooLarge
from homeserver.protocol.event_types import CREATE, REDACTION
from homeserver.protocol.hashes import (
    content_hash_matches,
    encode_base64,
    encode_for,
    event_id_from_bytes,
    event_id_of,
    signed_bytes,
)
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, is_user_id, parse_room_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.redaction import redact_content
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion
from homeserver.protocol.signatures import SigningKey

StateKey: TypeAlias = tuple[str, str]
"""The key of a state event in a room's state: its type and its state_key."""

MAX_EVENT_BYTES = 65_536
MAX_FIELD_BYTES = 255
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10

_REQUIRED = {
    "type": str,
    "sender": str,
    "content": dict,
    "depth": int,
    "origin_server_ts": int,
    "prev_events": list,
    "auth_events": list,
    "hashes": dict,
    "signatures": dict,
}
_KIND_NAMES = {str: "a string", dict: "an object", int: "an integer", list: "a list"}


class BadPdu(BadJson):
    """An event whose form its room version does not allow."""


class Event:
    """One event of a room. Immutable by convention: nobody writes to `pdu` or `content`.

    `pdu` is the event as signed, with its hashes and signatures and without `unsigned`; `raw` its canonical
    bytes. `unsigned` is what the sender or this server says about it, covered by no signature.
    """

    __slots__ = (
        "auth_event_ids",
        "content",
        "depth",
        "event_id",
        "origin_server_ts",
        "pdu",
        "prev_event_ids",
        "raw",
        "redacts",
        "room_id",
        "sender",
        "state_key",
        "type",
        "unsigned",
        "version",
    )

    def __init__(self, version: RoomVersion, pdu: JsonObject, raw: bytes, *, event_id: EventId) -> None:
        """Takes a PDU of checked form: use `from_raw`, `from_pdu`, `parse_pdu` or `build`."""
        fields: Any = pdu  # whose form was checked when it came in
        self.version = version
        self.pdu = pdu
        self.raw = raw
        self.event_id = event_id
        self.unsigned: Mapping[str, Json] = {}
        self.type: str = fields["type"]
        self.sender: UserId = fields["sender"]
        self.state_key: str | None = fields.get("state_key")
        self.content: JsonObject = fields["content"]
        self.depth: int = fields["depth"]
        self.origin_server_ts: int = fields["origin_server_ts"]
        self.room_id: RoomId
        if version.room_id_is_create_hash and self.type == CREATE:
            self.room_id = RoomId("!" + event_id[1:])
        else:
            self.room_id = fields["room_id"]
        self.prev_event_ids: tuple[EventId, ...]
        self.auth_event_ids: tuple[EventId, ...]
        if version.event_id_format is EventIdFormat.EXPLICIT:
            self.prev_event_ids = tuple([pair[0] for pair in fields["prev_events"]])
            self.auth_event_ids = tuple([pair[0] for pair in fields["auth_events"]])
        else:
            self.prev_event_ids = tuple(fields["prev_events"])
            self.auth_event_ids = tuple(fields["auth_events"])
        redacts = None
        if self.type == REDACTION:
            redacts = (self.content if version.redacts_in_content else pdu).get("redacts")
        self.redacts: EventId | None = EventId(redacts) if isinstance(redacts, str) else None

    @classmethod
    def from_raw(cls, version: RoomVersion, raw: bytes, event_id: EventId | None = None) -> "Event":
        """Read bytes that came from `Event.raw`, unchecked. It is much cheaper when the ID is given."""
        pdu = orjson.loads(raw) if version.strict_canonical_json else json.loads(raw)
        return cls(version, pdu, raw, event_id=event_id or event_id_of(version, pdu))

    @classmethod
    def from_pdu(
        cls, version: RoomVersion, pdu: Mapping[str, Json], event_id: EventId | None = None
    ) -> "Event":
        """Take a PDU of checked form, such as one redacted or signed once more."""
        signed = {key: value for key, value in pdu.items() if key != "unsigned"}
        raw = encode_for(signed, strict=version.strict_canonical_json)
        event = cls(version, signed, raw, event_id=event_id or event_id_of(version, signed))
        unsigned = pdu.get("unsigned")
        if isinstance(unsigned, dict):
            event.unsigned = unsigned
        return event

    @property
    def is_state(self) -> bool:
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """Where the event stands in the room's state. Raises ValueError when it is no state event."""
        if self.state_key is None:
            raise ValueError(f"{self.event_id} is not a state event")
        return self.type, self.state_key

    @property
    def membership(self) -> str | None:
        """`content.membership` when it is a string, whatever the event's type."""
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None

    def __repr__(self) -> str:
        key = "" if self.state_key is None else f" {self.state_key!r}"
        return f"<Event {self.event_id} {self.type!r}{key} by {self.sender}>"


class ReadPdu(NamedTuple):
    """An event from another server whose form is good, and what the next checks are made on.

    `signed`: the bytes its signatures are over. `is_intact`: does it carry the hash of its own content? If
    not, only its redacted form may be used.
    """

    event: Event
    signed: bytes
    is_intact: bool


def parse_pdu(version: RoomVersion, pdu: Mapping[str, Json]) -> Event:
    """Check the form and sizes of an event from another server. Raises BadPdu, NotCanonical or TooLarge.

    Signatures, hashes and authorisation are the caller's next steps. `unsigned` is set apart and kept out of
    the size limit. NUL is refused in the type and state key, although the specification is silent about it.
    """
    return read_pdu(version, pdu).event


def read_pdu(version: RoomVersion, pdu: Mapping[str, Json]) -> ReadPdu:
    """As `parse_pdu`, with what its encodings tell, each made once: large rooms come with thousands."""
    _check_form(version, pdu)
    received = dict(pdu)
    unsigned = received.pop("unsigned", None)
    is_strict = version.strict_canonical_json
    if is_strict:
        canonical_json.refuse_floats(received)
    encode = canonical_json.encode_without_floats if is_strict else canonical_json.encode_lenient
    raw = encode(received)
    signed = signed_bytes(version, received, encode)
    event_id = EventId(str(pdu.get("event_id")))
    if version.event_id_format is not EventIdFormat.EXPLICIT:
        event_id = event_id_from_bytes(version, signed)
    event = Event(version, received, raw, event_id=event_id)
    if isinstance(unsigned, dict):
        event.unsigned = unsigned
    _check_sizes(event.type, event.state_key, raw)
    if not is_strict:
        canonical_json.encode_readable(received)
    return ReadPdu(event, signed, content_hash_matches(version, received, encode))


def _check_form(version: RoomVersion, pdu: Mapping[str, Json]) -> None:
    for name, kind in _REQUIRED.items():
        if type(pdu.get(name)) is not kind:
            raise BadPdu(f"{name} of an event must be {_KIND_NAMES[kind]}")
    if version.event_id_format is EventIdFormat.EXPLICIT and not _is_event_id(pdu.get("event_id")):
        raise BadPdu("event_id is missing or malformed")
    if "state_key" in pdu and type(pdu["state_key"]) is not str:
        raise BadPdu("state_key of an event must be a string")
    if not is_user_id(str(pdu["sender"])):
        raise BadPdu("sender of an event must be a user ID")
    _check_room_id(version, pdu)
    _check_numbers(version, pdu)
    _check_links(version, pdu["prev_events"], "prev_events", most=MAX_PREV_EVENTS)
    _check_links(version, pdu["auth_events"], "auth_events", most=MAX_AUTH_EVENTS)
    _check_hashes_and_signatures(pdu)


def _check_room_id(version: RoomVersion, pdu: Mapping[str, Json]) -> None:
    room_id = pdu.get("room_id")
    if room_id is None and version.room_id_is_create_hash and pdu["type"] == CREATE:
        return
    try:
        if not isinstance(room_id, str):
            raise InvalidParam("not a string")
        parse_room_id(room_id)
    except InvalidParam as error:
        raise BadPdu(f"room_id of an event must be a room ID: {error}") from error
    if (":" in room_id) is version.room_id_is_create_hash and pdu["type"] != CREATE:
        raise BadPdu(f"{room_id} is not a room ID of room version {version.version}")


def _check_numbers(version: RoomVersion, pdu: Mapping[str, Json]) -> None:
    largest = canonical_json.MAX_INTEGER if version.strict_canonical_json else 2**63 - 1
    depth, timestamp = pdu["depth"], pdu["origin_server_ts"]
    if not isinstance(depth, int) or not 0 <= depth <= largest:
        raise BadPdu(f"depth of an event must be between 0 and {largest}")
    if not isinstance(timestamp, int) or not -largest <= timestamp <= largest:
        raise BadPdu("origin_server_ts of an event is out of range")


def _check_links(version: RoomVersion, links: Json, name: str, *, most: int) -> None:
    if not isinstance(links, list) or len(links) > most:
        raise BadPdu(f"{name} of an event must be a list of at most {most}")
    for link in links:
        event_id = link
        if version.event_id_format is EventIdFormat.EXPLICIT:
            if not isinstance(link, list) or len(link) != 2 or not isinstance(link[1], dict):
                raise BadPdu(f"{name} of an event must hold pairs of event ID and hash")
            event_id = link[0]
        if not _is_event_id(event_id):
            raise BadPdu(f"{name} of an event must hold event IDs")


def _check_hashes_and_signatures(pdu: Mapping[str, Json]) -> None:
    hashes, signatures = pdu["hashes"], pdu["signatures"]
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        raise BadPdu("hashes of an event must have sha256")
    by_server = signatures.values() if isinstance(signatures, dict) else ()
    for keys in by_server:
        if not isinstance(keys, dict) or not all(isinstance(signature, str) for signature in keys.values()):
            raise BadPdu("signatures of an event must be strings by server name and key ID")


def _is_event_id(value: Json) -> bool:
    return isinstance(value, str) and value[:1] == "$" and "\0" not in value and _is_short(value)


def _is_short(value: str) -> bool:
    """A code point takes 4 bytes at most: most values need not be encoded to be measured."""
    return len(value) * 4 <= MAX_FIELD_BYTES or len(value.encode("utf-8", "surrogatepass")) <= MAX_FIELD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event of this server before it is hashed and signed.

    `redacts` goes where the room version wants it. `reference_hashes` are those of the previous and
    authorising events, which only room versions 1 and 2 write down.
    """

    type: str
    sender: UserId
    content: Mapping[str, Json]
    state_key: str | None = None
    room_id: RoomId | None = None
    prev_event_ids: tuple[EventId, ...] = ()
    auth_event_ids: tuple[EventId, ...] = ()
    depth: int
    origin_server_ts: int
    redacts: EventId | None = None
    unsigned: Mapping[str, Json] | None = None
    reference_hashes: Mapping[EventId, str] = field(default_factory=dict)


def build(draft: Draft, version: RoomVersion, server_name: ServerName, key: SigningKey) -> Event:
    """Hash and sign a draft. Raises NotCanonical, BadPdu or TooLarge when it cannot be an event.

    A create event of room version 12 is drafted without a room ID and has one afterwards.
    """
    encode = canonical_json.encode_without_floats
    canonical_json.refuse_floats(draft.content)
    pdu = _unsigned_pdu(draft, version)
    digest = encode_base64(sha256(encode(pdu)).digest())
    if version.event_id_format is EventIdFormat.EXPLICIT:
        # As unique as the content hash of the rest of the event, and without randomness.
        opaque = "".join(letter for letter in digest if letter.isalnum())
        pdu["event_id"] = f"${opaque}:{server_name}"
        digest = encode_base64(sha256(encode(pdu)).digest())
    pdu["hashes"] = {"sha256": digest}
    kept = version.redaction_keeps
    redacted = {name: value for name, value in pdu.items() if name in kept}
    redacted["content"] = redact_content(version, draft.type, pdu["content"])
    signed = encode(redacted)
    if version.event_id_format is EventIdFormat.EXPLICIT:
        event_id = EventId(str(pdu["event_id"]))
    else:
        event_id = event_id_from_bytes(version, signed)
    pdu["signatures"] = {server_name: {key.key_id: key.sign(signed)}}
    raw = encode(pdu)
    _check_sizes(draft.type, draft.state_key, raw)
    event = Event(version, pdu, raw, event_id=event_id)
    if draft.unsigned is not None:
        event.unsigned = draft.unsigned
    return event


def _unsigned_pdu(draft: Draft, version: RoomVersion) -> JsonObject:
    content = draft.content if type(draft.content) is dict else dict(draft.content)
    pdu: JsonObject = {
        "auth_events": list(draft.auth_event_ids),
        "content": content,
        "depth": draft.depth,
        "origin_server_ts": draft.origin_server_ts,
        "prev_events": list(draft.prev_event_ids),
        "sender": draft.sender,
        "type": draft.type,
    }
    if draft.room_id is not None:
        pdu["room_id"] = draft.room_id
    if draft.state_key is not None:
        pdu["state_key"] = draft.state_key
    if version.event_id_format is EventIdFormat.EXPLICIT:
        hashes = draft.reference_hashes
        for name, event_ids in (("prev_events", draft.prev_event_ids), ("auth_events", draft.auth_event_ids)):
            pdu[name] = [[id_, {"sha256": hashes[id_]} if id_ in hashes else {}] for id_ in event_ids]
    if draft.redacts is not None:
        if version.redacts_in_content:
            pdu["content"] = {**content, "redacts": draft.redacts}
        else:
            pdu["redacts"] = draft.redacts
    return pdu


def _check_sizes(event_type: str, state_key: str | None, raw: bytes) -> None:
    for name, value in (("type", event_type), ("state_key", state_key)):
        if value is None:
            continue
        if not _is_short(value):
            raise TooLarge(f"The {name} of an event is at most {MAX_FIELD_BYTES} bytes")
        if "\0" in value:
            raise BadPdu(f"The {name} of an event cannot hold NUL")
    if len(raw) > MAX_EVENT_BYTES:
        raise TooLarge(f"An event is at most {MAX_EVENT_BYTES} bytes; this one has {len(raw)}")
