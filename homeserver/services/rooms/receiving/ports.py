"""What receiving asks of the outside: keys to verify with, and other servers to fetch from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signatures import Proof, VerifyKey
from homeserver.remote.federation_answers import StateAnswer, StateIdsAnswer


class CannotJudge(MatrixError):
    """What is needed to judge an event could not be had. Nothing was stored: it may be tried again later."""

    status, errcode = 503, "M_UNKNOWN"
    default = "The events this one rests on cannot be fetched at the moment"


class Unproven(CannotJudge):
    """Keys that the event is to be verified with could not be had."""

    def __init__(self, event: Event, message: str) -> None:
        super().__init__(message)
        self.event = event


class NotInRoomHere(MatrixError):
    """This server is not in the room, so it takes no events of it."""

    status, errcode, default = 404, "M_NOT_FOUND", "This server is not in the room"


class Keys(Protocol):
    """`homeserver.services.key_ring.KeyRing`."""

    async def check_events(
        self, version: RoomVersion, pdus: Sequence[Mapping[str, Json]]
    ) -> list[MatrixError | None]:
        """What is wrong with the signatures of each event, in order; None where nothing is."""

    def follow(self, follower: Callable[[ServerName], None]) -> None:
        """Tell of servers whose keys were just learned."""

    def known_key(self, server_name: ServerName, key_id: str, at_ms: int | None) -> VerifyKey | None:
        """The key, if it is in memory."""

    def prepare(self) -> None:
        """Thousands of signatures may have to be verified soon."""

    async def are_good(self, proofs: Sequence[Proof]) -> bool:
        """Verified on other cores where there are any. False may also mean that nobody could tell."""


class Remote(Protocol):
    """`homeserver.remote.federation.FederationClient`: raises MatrixError when there is no good answer."""

    async def missing_events(
        self, destination: ServerName, room_id: RoomId, *, earliest: Sequence[EventId],
        latest: Sequence[EventId], limit: int, min_depth: int,
    ) -> Sequence[JsonObject]:  # fmt: skip
        """POST get_missing_events: what lies between `earliest`, which we have, and `latest`."""

    async def state_ids(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> StateIdsAnswer:
        """GET state_ids: the state before the event."""

    async def state(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> StateAnswer:
        """GET state: the state before the event."""

    async def get_event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """GET event."""

    async def event_auth(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> Sequence[JsonObject]:
        """GET event_auth: the auth chain of the event."""
