"""What receiving asks of the outside: keys to verify with, and other servers to fetch from."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, RoomId, ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion


class CannotJudge(MatrixError):
    """What is needed to judge an event could not be had. Nothing was stored: it may be tried again later."""

    status, errcode = 503, "M_UNKNOWN"
    default = "The events this one rests on cannot be fetched at the moment"


class NotInRoomHere(MatrixError):
    """This server is not in the room, so it takes no events of it."""

    status, errcode, default = 404, "M_NOT_FOUND", "This server is not in the room"


class Keys(Protocol):
    """`homeserver.services.key_ring.KeyRing`."""

    async def check_events(
        self, version: RoomVersion, pdus: Sequence[Mapping[str, Json]]
    ) -> list[MatrixError | None]:
        """What is wrong with the signatures of each event, in order; None where nothing is."""


class RemoteStateIds(NamedTuple):
    """The state before an event, and the auth chain of that state."""

    state: Sequence[EventId]
    auth_chain: Sequence[EventId]


class RemoteState(NamedTuple):
    """As RemoteStateIds, with the events themselves, as they came and unchecked."""

    state: Sequence[JsonObject]
    auth_chain: Sequence[JsonObject]


class Remote(Protocol):
    """Questions to one other server. Each raises MatrixError when it does not answer, or with nonsense."""

    async def missing_events(
        self, destination: ServerName, room_id: RoomId, *, earliest: Sequence[EventId],
        latest: Sequence[EventId], limit: int, min_depth: int,
    ) -> Sequence[JsonObject]:  # fmt: skip
        """POST get_missing_events: what lies between `earliest`, which we have, and `latest`."""

    async def state_ids(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> RemoteStateIds:
        """GET state_ids: the state before the event."""

    async def state(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> RemoteState:
        """GET state: the state before the event."""

    async def event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """GET event."""

    async def event_auth(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> Sequence[JsonObject]:
        """GET event_auth: the auth chain of the event."""


class NoRemote:
    """For a server without federation: nobody answers."""

    async def missing_events(
        self, destination: ServerName, room_id: RoomId, *, earliest: Sequence[EventId],
        latest: Sequence[EventId], limit: int, min_depth: int,
    ) -> Sequence[JsonObject]:  # fmt: skip
        raise CannotJudge(f"{destination} cannot be asked")

    async def state_ids(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> RemoteStateIds:
        raise CannotJudge(f"{destination} cannot be asked")

    async def state(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> RemoteState:
        raise CannotJudge(f"{destination} cannot be asked")

    async def event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        raise CannotJudge(f"{destination} cannot be asked")

    async def event_auth(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> Sequence[JsonObject]:
        raise CannotJudge(f"{destination} cannot be asked")
