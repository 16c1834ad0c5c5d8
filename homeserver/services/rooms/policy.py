"""Policy servers: in a room that uses one, every event but `m.room.policy` itself needs its signature.

Rooms without one pay a look-up in a dict. An event without the signature may still be authorised: ours are
refused before anybody has them, those of others are soft failed.
https://spec.matrix.org/latest/server-server-api/#policy-servers
"""

from typing import NamedTuple

from homeserver.protocol.errors import Forbidden, LimitExceeded, MatrixError, TooLarge
from homeserver.protocol.event_types import MEMBER, POLICY
from homeserver.protocol.events import MAX_EVENT_BYTES, Event, StateKey
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.signatures import BadSignature, VerifyKey, verify_event
from homeserver.remote.errors import RemoteError, RemoteRefused
from homeserver.remote.federation import FederationClient
from homeserver.runtime.concurrency import KeyedLock
from homeserver.services.rooms.room import Room

POLICY_KEY: StateKey = (POLICY, "")
KEY_ID = "ed25519:policy_server"
RETRY_AFTER_MS = 5_000
MOST_TOLD = 1_000
"""Characters of a policy server's reason."""


class PolicyServer(NamedTuple):
    """Whom to ask. `key` is None when what the room names is no key: nothing is signed with it."""

    name: ServerName
    key: VerifyKey | None


def policy_server(room: Room) -> PolicyServer | None:
    """The policy server that the room uses now: another server, with somebody in the room.

    Where it has our name, it is a program beside us: others ask it about our events, we cannot.
    """
    server = named_by(room.events.get(POLICY_KEY))
    return server if server is not None and server.name in room.other_servers() else None


def named_by(event: Event | None) -> PolicyServer | None:
    """The policy server that a room's `m.room.policy` names, if there is one."""
    if event is None:
        return None
    via, keys = event.content.get("via"), event.content.get("public_keys")
    text = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not isinstance(text, str):
        return None
    try:
        return PolicyServer(ServerName(via), VerifyKey.from_base64(KEY_ID, text))
    except ValueError:
        return PolicyServer(ServerName(via), None)


def is_recommended(room: Room, event: Event) -> bool:
    """Does the room need nobody's word on the event, or has the event its policy server's already?"""
    return is_recommended_by(policy_server(room), event)


def is_recommended_by(server: PolicyServer | None, event: Event) -> bool:
    """The same of a policy server that is known."""
    return server is None or _is_exempt(event) or _is_signed(event, server)


class PolicySignatures:
    """Asks policy servers to sign events."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client
        self.turns = KeyedLock()
        """By room: an event of ours is built on the last, so that one waits while that is asked about."""

    async def signed(self, room: Room, event: Event) -> Event:
        """An event of ours with what signature it needs. Raises Forbidden, LimitExceeded, RemoteError.

        Nobody is held in a room: who leaves does so with or without the policy server's word.
        """
        try:
            signed = await self._ask(room, event, is_ours=True)
        except MatrixError as error:
            if _is_leave(event):
                return event
            raise _as_told(error) from error
        if len(signed.raw) > MAX_EVENT_BYTES:
            raise TooLarge(f"An event is at most {MAX_EVENT_BYTES} bytes; this one has {len(signed.raw)}")
        return signed

    async def recommended(self, room: Room, event: Event) -> Event | None:
        """An event of another server with what signature it needs; None when it is to be soft failed."""
        try:
            signed = await self._ask(room, event, is_ours=False)
        except (RemoteError, Forbidden):
            return None
        return (
            signed if len(signed.raw) <= MAX_EVENT_BYTES else event
        )  # which others know, and take, as it is

    async def _ask(self, room: Room, event: Event, *, is_ours: bool) -> Event:
        """Raises RemoteError, and Forbidden when what is answered is no signature by the room's key."""
        server = policy_server(room)
        if server is None or is_recommended_by(server, event):
            return event
        answer = await self._client.policy_signature(server.name, dict(event.pdu), insist=is_ours)
        signed = _with_signature(event, server.name, answer)
        if signed is None or not _is_signed(signed, server):
            raise Forbidden(f"{server.name}, the policy server of this room, gave no valid signature")
        return signed


def _as_told(error: MatrixError) -> MatrixError:
    """A policy server's refusal, as the client gets it: its words, but no errcode that is about sessions."""
    if not isinstance(error, RemoteRefused) or error.remote_status >= 500:
        return error
    if error.remote_status == 429:
        return LimitExceeded(retry_after_ms=error.retry_after_ms or RETRY_AFTER_MS)
    text = error.remote_body.get("error")
    return Forbidden(text[:MOST_TOLD] if isinstance(text, str) else error.message)


def _is_leave(event: Event) -> bool:
    return event.type == MEMBER and event.state_key == event.sender and event.membership == "leave"


def _is_exempt(event: Event) -> bool:
    return event.type == POLICY and event.state_key == ""


def _is_signed(event: Event, server: PolicyServer) -> bool:
    if server.key is None:
        return False
    try:
        verify_event(event.version, event.pdu, server.name, server.key)
    except BadSignature:
        return False
    return True


def _with_signature(event: Event, name: ServerName, answer: JsonObject) -> Event | None:
    """The event with the policy server's signature beside those it has; None when there is none."""
    by_key = answer.get(name)
    signature = by_key.get(KEY_ID) if isinstance(by_key, dict) else None
    signatures = event.pdu["signatures"]
    if not isinstance(signature, str) or not isinstance(signatures, dict):
        return None
    before = signatures.get(name)
    own = {**(before if isinstance(before, dict) else {}), KEY_ID: signature}
    signed = Event.from_pdu(
        event.version, {**event.pdu, "signatures": {**signatures, name: own}}, event.event_id
    )
    signed.unsigned = event.unsigned
    return signed
