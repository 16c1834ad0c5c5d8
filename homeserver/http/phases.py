"""What a connection waits for, and what it says when that does not come."""

from enum import Enum, auto

from homeserver.protocol.errors import MatrixError, Unknown


class Stopping(Unknown):
    """The server ends before it could answer."""

    status = 503
    default = "The server is stopping: try again in a moment"


class TooSlow(MatrixError):
    status, default = 408, "The request took too long to arrive"


class Phase(Enum):
    """What the connection waits for, which says for how long."""

    NEXT = auto()  # another request, or the first one
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()  # ours: no limit
    SENDING = auto()  # the client to read
    LINGERING = auto()  # a refused client to finish what it is sending
    CLOSED = auto()  # what was written last to be on its way
