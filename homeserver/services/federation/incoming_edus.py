"""EDUs of other servers, given to the services they concern.

A server speaks for its own users only, and in a room only while the room's access control list lets it. What
is malformed is passed over: it never harms what came with it.
https://spec.matrix.org/latest/server-server-api/#edus
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId, is_user_id, parse_event_id
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.presence import PresenceState
from homeserver.services.federation.room_gates import RoomGates
from homeserver.services.federation.room_intake import RoomIntake

logger = logging.getLogger(__name__)

T = TypeVar("T")

TYPING_TIMEOUT_MS = 60_000
MOST_RECEIPTS, MOST_PRESENCES = 2_000, 1_000
"""Of one transaction."""
MOST_BATCHES = 10
"""Transactions of one server whose EDUs are dealt with at a time; those of more are of no use by then."""

Receive = Callable[[ServerName, JsonObject], Awaitable[object]]


class Allowance:
    """What one transaction may still bring."""

    def __init__(self) -> None:
        self.receipts, self.presences = MOST_RECEIPTS, MOST_PRESENCES


class Typing(msgspec.Struct):
    room_id: str
    user_id: str
    typing: bool


class ReceiptData(msgspec.Struct):
    ts: int | None = None
    thread_id: str | None = None


class UserReceipt(msgspec.Struct):
    event_ids: list[str]
    data: ReceiptData = msgspec.field(default_factory=ReceiptData)


class UserPresence(msgspec.Struct):
    user_id: str
    presence: PresenceState
    last_active_ago: int = 0
    status_msg: str | None = None
    currently_active: bool = False


class Typists(Protocol):
    async def start(self, room_id: RoomId, user_id: UserId, *, timeout_ms: int) -> None:
        """Raises Forbidden unless the user is in the room."""

    def stop(self, room_id: RoomId, user_id: UserId) -> None: ...


class Readers(Protocol):
    async def mark(
        self, room_id: RoomId, user_id: UserId, markers: Mapping[str, EventId], *, thread: str | None = None,
        ts: int | None = None,
    ) -> None:  # fmt: skip
        """Raises Forbidden outside the room, NotFound for an unknown event."""


class PresenceOfOthers(Protocol):
    async def hear(
        self, user_id: UserId, state: PresenceState, *, last_active_ago_ms: int, status_msg: str | None,
        is_currently_active: bool,
    ) -> None:  # fmt: skip
        """A user of another server is in this state."""


class IncomingEdus:
    """`receive` for what must be dealt with before the transaction is answered, `later` for the rest."""

    def __init__(
        self, gates: RoomGates, intake: RoomIntake, typists: Typists, readers: Readers,
        presence: PresenceOfOthers | None = None,
    ) -> None:  # fmt: skip
        self._gates = gates
        self._intake = intake
        self._typists = typists
        self._readers = readers
        self._presence = presence
        self._batches: Counter[ServerName] = Counter()
        self._lasting: dict[str, Receive] = {}

    def register(self, edu_type: str, receive: Receive) -> None:
        """EDUs of the type go to `receive(origin, content)`, before their transaction is answered.

        It may get the same EDU twice. A MatrixError of it is logged; anything else makes the
        other server send the transaction again.
        """
        self._lasting[edu_type] = receive

    async def receive(self, origin: ServerName, edus: Sequence[Json]) -> None:
        """Deal with what must not get lost."""
        await self._dispatch(self._lasting, origin, edus)

    async def later(self, origin: ServerName, edus: Sequence[Json]) -> None:
        """Deal with the rest, that about a room once the room has dealt with the events that came with it."""
        if self._batches[origin] >= MOST_BATCHES:
            return
        allowance = Allowance()
        receivers: dict[str, Receive] = {
            "m.typing": self._typing,
            "m.receipt": partial(self._receipts, allowance),
            "m.presence": partial(self._presences, allowance),
        }
        self._batches[origin] += 1
        try:
            await self._dispatch(receivers, origin, edus)
        except Exception:
            logger.exception("EDUs of %s could not be taken in", origin)
        finally:
            self._batches[origin] -= 1
            if not self._batches[origin]:
                del self._batches[origin]

    async def _dispatch(
        self, receivers: Mapping[str, Receive], origin: ServerName, edus: Sequence[Json]
    ) -> None:
        for edu in edus:
            if not isinstance(edu, dict):
                continue
            edu_type, content = edu.get("edu_type"), edu.get("content")
            receive = receivers.get(edu_type) if isinstance(edu_type, str) else None
            if receive is None or not isinstance(content, dict):
                continue
            try:
                await receive(origin, content)
            except (MatrixError, msgspec.ValidationError) as error:
                logger.info("An EDU %s of %s is of no use: %s", edu_type, origin, error)

    async def _typing(self, origin: ServerName, content: JsonObject) -> None:
        typing = msgspec.convert(content, Typing)
        room_id, user_id = RoomId(typing.room_id), UserId(typing.user_id)
        if not owns(origin, user_id) or not await self._may_enter(origin, room_id):
            return

        async def tell() -> None:
            if typing.typing:
                await self._typists.start(room_id, user_id, timeout_ms=TYPING_TIMEOUT_MS)
            else:
                self._typists.stop(room_id, user_id)

        self._intake.after_events(room_id, origin, tell)

    async def _receipts(self, allowance: Allowance, origin: ServerName, content: JsonObject) -> None:
        for room, types in content.items():
            readers = types.get("m.read") if isinstance(types, dict) else None
            if not isinstance(readers, dict) or not await self._may_enter(origin, RoomId(room)):
                continue
            for user_id, value in readers.items():
                allowance.receipts -= 1
                receipt = _converted(value, UserReceipt)
                if receipt is not None and allowance.receipts >= 0 and owns(origin, user_id):
                    self._mark_later(origin, RoomId(room), UserId(user_id), receipt)

    def _mark_later(self, origin: ServerName, room_id: RoomId, user_id: UserId, receipt: UserReceipt) -> None:
        async def mark() -> None:
            for event_id in receipt.event_ids[:10]:
                await self._readers.mark(
                    room_id, user_id, {"m.read": parse_event_id(event_id)}, thread=receipt.data.thread_id,
                    ts=receipt.data.ts,
                )  # fmt: skip

        self._intake.after_events(room_id, origin, mark)

    async def _presences(self, allowance: Allowance, origin: ServerName, content: JsonObject) -> None:
        pushed = content.get("push")
        if self._presence is None or not isinstance(pushed, list):
            return
        allowed, allowance.presences = allowance.presences, max(0, allowance.presences - len(pushed))
        for value in pushed[:allowed]:
            one = _converted(value, UserPresence)
            if one is not None and owns(origin, one.user_id):
                await self._presence.hear(
                    UserId(one.user_id), one.presence, last_active_ago_ms=max(0, one.last_active_ago),
                    status_msg=one.status_msg, is_currently_active=one.currently_active,
                )  # fmt: skip

    async def _may_enter(self, origin: ServerName, room_id: RoomId) -> bool:
        verdict = (await self._gates.admit(origin, [room_id]))[room_id]
        return not isinstance(verdict, MatrixError)


def _converted(value: Json, kind: type[T]) -> T | None:
    """One of many in an EDU, which harms no other if it is malformed: then None."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def owns(origin: ServerName, user_id: str) -> bool:
    """Is the user one of the server's? https://spec.matrix.org/latest/server-server-api/#edus"""
    return is_user_id(user_id) and user_id.partition(":")[2] == origin
