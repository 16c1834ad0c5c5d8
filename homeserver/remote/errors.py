"""What can come of a request to another server besides an answer."""

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.json_values import JsonObject


class RemoteError(MatrixError):
    """Another server did not do what it was asked. Uncaught, our client is told so with status 502."""

    status, errcode, default = 502, "M_UNKNOWN", "Another server failed to answer"


class RemoteUnreachable(RemoteError):
    """No answer: the server cannot be found or connected to, its certificate is wrong, it took too long."""

    errcode = "M_CONNECTION_FAILED"


class RemoteBackingOff(RemoteUnreachable):
    """The server did not answer lately: it was not even tried."""


class RemoteNotAllowed(RemoteUnreachable):
    """This server's operator does not want to speak with that one."""

    status, errcode = 403, "M_FORBIDDEN"


class RemoteMisbehaved(RemoteError):
    """The answer is no JSON, lacks what it must have, or is too large."""


class RemoteRefused(RemoteError):
    """An answer with another status than 200.

    `remote_status`, `remote_errcode` ("" if it gave none) and `remote_body` are the other server's.
    `retry_after_ms` is set when it asked to be left alone for a while.
    """

    def __init__(
        self,
        message: str,
        *,
        remote_status: int,
        remote_errcode: str = "",
        remote_body: JsonObject | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.remote_status = remote_status
        self.remote_errcode = remote_errcode
        self.remote_body: JsonObject = remote_body or {}
        self.retry_after_ms = retry_after_ms

    @property
    def is_unknown_endpoint(self) -> bool:
        """Does the other server not have this endpoint (rather than the thing asked for)?"""
        if self.remote_status == 405:
            return True
        return self.remote_status in (400, 404) and self.remote_errcode in ("M_UNRECOGNIZED", "")
