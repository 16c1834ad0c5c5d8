"""The tree of errors a client or another server may be told.

Each class is one errcode with the status it usually travels with. Raise the narrowest one with a
message that says what was wrong with which value; subclass where a feature needs a finer name.
https://spec.matrix.org/latest/client-server-api/#standard-error-response
"""

from typing import ClassVar

from homeserver.protocol.json_values import Json, JsonObject


class MatrixError(Exception):
    """A refusal with an errcode. Extra keyword arguments become fields of the body."""

    status: ClassVar[int] = 500
    errcode: ClassVar[str] = "M_UNKNOWN"
    default: ClassVar[str] = "Something went wrong on the server"

    def __init__(self, message: str | None = None, **fields: Json) -> None:
        self.message = self.default if message is None else message
        self.fields = fields
        super().__init__(self.message)

    def body(self) -> JsonObject:
        """The JSON body of the answer."""
        return {"errcode": self.errcode, "error": self.message, **self.fields}


class Unknown(MatrixError):
    """Nothing more exact fits."""


class BadJson(MatrixError):
    """JSON, but with a missing, extra or malformed value."""

    status, errcode, default = 400, "M_BAD_JSON", "The JSON does not have the expected form"


class NotJson(MatrixError):
    status, errcode, default = 400, "M_NOT_JSON", "The body is not JSON"


class Forbidden(MatrixError):
    status, errcode, default = 403, "M_FORBIDDEN", "You may not do this"


class NotFound(MatrixError):
    status, errcode, default = 404, "M_NOT_FOUND", "Not found"


class Unrecognized(MatrixError):
    """No such path, or (status 405) not with this method."""

    status, errcode, default = 404, "M_UNRECOGNIZED", "Unrecognized request"


class MethodNotAllowed(Unrecognized):
    status, default = 405, "This path does not answer this method"


class UnknownToken(MatrixError):
    status, errcode, default = 401, "M_UNKNOWN_TOKEN", "The access token is unknown or has expired"

    def __init__(self, message: str | None = None, *, soft_logout: bool = False) -> None:
        super().__init__(message, soft_logout=soft_logout)


class MissingToken(MatrixError):
    status, errcode, default = 401, "M_MISSING_TOKEN", "An access token is needed"


class Unauthorized(MatrixError):
    """A request that is not signed, or not by who it says: federation and identity APIs."""

    status, errcode, default = 401, "M_UNAUTHORIZED", "The request is not authorized"


class LimitExceeded(MatrixError):
    """Too many requests. Senders of the answer also set Retry-After."""

    status, errcode, default = 429, "M_LIMIT_EXCEEDED", "Too many requests: try again later"

    def __init__(self, message: str | None = None, *, retry_after_ms: int) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(message, retry_after_ms=retry_after_ms)


class ResourceLimitExceeded(MatrixError):
    """A limit of the server as a whole. `admin_contact` is required by the specification."""

    status, errcode, default = 403, "M_RESOURCE_LIMIT_EXCEEDED", "The server has reached one of its limits"

    def __init__(self, message: str | None = None, *, admin_contact: str, **fields: Json) -> None:
        super().__init__(message, admin_contact=admin_contact, **fields)


class UserLimitExceeded(MatrixError):
    """A limit of the account, such as its media quota. `info_uri` says where to read about it."""

    status, errcode, default = 403, "M_USER_LIMIT_EXCEEDED", "The account has reached one of its limits"

    def __init__(self, message: str | None = None, *, info_uri: str, **fields: Json) -> None:
        super().__init__(message, info_uri=info_uri, **fields)


class UserInUse(MatrixError):
    status, errcode, default = 400, "M_USER_IN_USE", "This user ID is taken"


class InvalidUsername(MatrixError):
    status, errcode, default = 400, "M_INVALID_USERNAME", "This is not a valid user name"


class ExclusiveNamespace(MatrixError):
    status, errcode, default = 400, "M_EXCLUSIVE", "This name is reserved by an application service"


class AppserviceLoginUnsupported(MatrixError):
    status, errcode = 400, "M_APPSERVICE_LOGIN_UNSUPPORTED"
    default = "Application services cannot log users in here: set inhibit_login"


class RoomInUse(MatrixError):
    status, errcode, default = 400, "M_ROOM_IN_USE", "This room alias is taken"


class InvalidRoomState(MatrixError):
    status, errcode, default = 400, "M_INVALID_ROOM_STATE", "The initial state of the room is invalid"


class UnsupportedRoomVersion(MatrixError):
    status, errcode, default = 400, "M_UNSUPPORTED_ROOM_VERSION", "The room version is not supported here"


class IncompatibleRoomVersion(MatrixError):
    """The asking server does not support the room's version."""

    status, errcode = 400, "M_INCOMPATIBLE_ROOM_VERSION"
    default = "Your server does not support this room's version"

    def __init__(self, message: str | None = None, *, room_version: str) -> None:
        super().__init__(message, room_version=room_version)


class BadState(MatrixError):
    status, errcode, default = 403, "M_BAD_STATE", "The present state does not allow this"


class GuestAccessForbidden(MatrixError):
    status, errcode, default = 403, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not do this"


class TooLarge(MatrixError):
    status, errcode, default = 413, "M_TOO_LARGE", "This is too large"


class ProfileTooLarge(MatrixError):
    status, errcode, default = 400, "M_PROFILE_TOO_LARGE", "The profile would be larger than 64 KiB"


class KeyTooLarge(MatrixError):
    status, errcode, default = 400, "M_KEY_TOO_LARGE", "The name of a profile field is at most 255 bytes"


class MissingParam(MatrixError):
    status, errcode, default = 400, "M_MISSING_PARAM", "A required parameter is missing"


class InvalidParam(MatrixError):
    status, errcode, default = 400, "M_INVALID_PARAM", "A parameter has an invalid value"


class WeakPassword(MatrixError):
    status, errcode, default = 400, "M_WEAK_PASSWORD", "The password is too weak"


class UserDeactivated(MatrixError):
    status, errcode, default = 403, "M_USER_DEACTIVATED", "This account has been deactivated"


class UserLocked(MatrixError):
    """Clients keep their session: soft_logout is always true."""

    status, errcode, default = 401, "M_USER_LOCKED", "This account has been locked"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, soft_logout=True)


class UserSuspended(MatrixError):
    status, errcode, default = 403, "M_USER_SUSPENDED", "This account has been suspended"


class CannotLeaveServerNotice(MatrixError):
    status, errcode = 403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    default = "The server notices room cannot be left"


class InviteBlocked(MatrixError):
    status, errcode, default = 403, "M_INVITE_BLOCKED", "This user does not accept invites from you"


class UnableToAuthoriseJoin(MatrixError):
    """This server cannot tell whether the joining user meets a restricted room's conditions."""

    status, errcode, default = 400, "M_UNABLE_TO_AUTHORISE_JOIN", "The room's conditions cannot be checked"


class UnableToGrantJoin(MatrixError):
    """The conditions are met, but nobody on this server may invite: ask another."""

    status, errcode, default = 400, "M_UNABLE_TO_GRANT_JOIN", "No user of this server can authorise the join"


class NotYetUploaded(MatrixError):
    status, errcode, default = 504, "M_NOT_YET_UPLOADED", "The media has not been uploaded yet"


class CannotOverwriteMedia(MatrixError):
    status, errcode, default = 409, "M_CANNOT_OVERWRITE_MEDIA", "There is media at this address already"


class BadAlias(MatrixError):
    status, errcode, default = 400, "M_BAD_ALIAS", "The alias does not point to this room"


class DuplicateAnnotation(MatrixError):
    status, errcode, default = 400, "M_DUPLICATE_ANNOTATION", "You have sent this reaction already"


class UnknownDevice(MatrixError):
    status, errcode, default = 400, "M_UNKNOWN_DEVICE", "The user has no such device"


class WrongRoomKeysVersion(MatrixError):
    """`current_version` tells the client which backup to use."""

    status, errcode, default = 403, "M_WRONG_ROOM_KEYS_VERSION", "This is not the current backup version"

    def __init__(self, message: str | None = None, *, current_version: str) -> None:
        super().__init__(message, current_version=current_version)


class InvalidSignature(MatrixError):
    status, errcode, default = 400, "M_INVALID_SIGNATURE", "The signature is not valid"


class CaptchaNeeded(MatrixError):
    status, errcode, default = 401, "M_CAPTCHA_NEEDED", "A captcha must be solved"


class CaptchaInvalid(MatrixError):
    status, errcode, default = 401, "M_CAPTCHA_INVALID", "The captcha was not solved"


class ThreepidInUse(MatrixError):
    status, errcode, default = 400, "M_THREEPID_IN_USE", "This address belongs to another account"


class ThreepidNotFound(MatrixError):
    status, errcode, default = 400, "M_THREEPID_NOT_FOUND", "No account has this address"


class ThreepidAuthFailed(MatrixError):
    status, errcode, default = 401, "M_THREEPID_AUTH_FAILED", "The address could not be verified"


class ThreepidDenied(MatrixError):
    status, errcode, default = 403, "M_THREEPID_DENIED", "This address is not allowed here"


class ThreepidMediumNotSupported(MatrixError):
    status, errcode = 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"
    default = "Addresses of this kind are not supported"


class ServerNotTrusted(MatrixError):
    status, errcode, default = 403, "M_SERVER_NOT_TRUSTED", "That server is not trusted here"


class SessionNotValidated(MatrixError):
    status, errcode, default = 400, "M_SESSION_NOT_VALIDATED", "The address has not been verified yet"


class NoValidSession(MatrixError):
    status, errcode, default = 404, "M_NO_VALID_SESSION", "There is no such session"


class TermsNotSigned(MatrixError):
    status, errcode, default = 403, "M_TERMS_NOT_SIGNED", "The terms must be accepted first"


class BadStatus(MatrixError):
    """An application service answered a ping with another status than 200."""

    status, errcode, default = 502, "M_BAD_STATUS", "The application service did not answer 200"

    def __init__(self, message: str | None = None, *, remote_status: int, remote_body: str = "") -> None:
        super().__init__(message, status=remote_status, body=remote_body)


class ConnectionFailed(MatrixError):
    status, errcode, default = 502, "M_CONNECTION_FAILED", "The connection could not be made"


class ConnectionTimeout(MatrixError):
    status, errcode, default = 504, "M_CONNECTION_TIMEOUT", "The connection timed out"


class UrlNotSet(MatrixError):
    status, errcode, default = 400, "M_URL_NOT_SET", "The application service has no URL"


class AuthFailure(Forbidden):
    """The authorisation rules refuse an event. `rule` is the number in its room version's rules: "4.3.1"."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(message)
