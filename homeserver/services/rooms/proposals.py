"""What is asked of the writer, and what it answers when it cannot."""

from dataclasses import dataclass

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId, UserId
from homeserver.protocol.json_values import JsonObject


class StaleRoom(MatrixError):
    """The room moved on while an event for it was on its way: nothing was stored."""

    status, errcode = 503, "M_UNKNOWN"
    default = "The room changed while this was being stored: try again"


@dataclass(frozen=True, slots=True)
class Proposal:
    """An event somebody wants to happen."""

    type: str
    sender: UserId
    content: JsonObject
    state_key: str | None = None
    redacts: EventId | None = None
    txn: str | None = None
    origin_server_ts: int | None = None
