"""One HTTP request, as endpoints see it: typed body, query, headers, who asks and from where.

Parsing happens here, at the edge: what an endpoint reads is checked, or refused with the errcode the
specification names.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from homeserver.http.body_stream import BodyStream
from homeserver.protocol.errors import BadJson, Forbidden, InvalidParam, MissingParam, MissingToken, NotJson
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.requester import Requester

T = TypeVar("T")

MAX_JSON_DEPTH = 100
MAX_QUERY_FIELDS = 1000

_decoders: dict[type, msgspec.json.Decoder[object]] = {}
_TRUE_AND_FALSE = {"true": True, "false": False}


class Request:
    """A request whose head is complete; its body is too, unless the route asked for a stream."""

    __slots__ = (
        "_on_disconnect",
        "_on_stopping",
        "_query",
        "body",
        "client_ip",
        "disconnected",
        "headers",
        "id",
        "known_requester",
        "method",
        "origin",
        "path",
        "query_string",
        "stopping",
        "stream",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Mapping[bytes, bytes],
        *,
        body: bytes = b"",
        client_ip: str = "",
    ) -> None:
        path, _, query_string = target.partition("?")
        self.method = method
        self.path = path
        """As sent: still percent-encoded, without the query."""
        self.query_string = query_string
        self.headers = headers
        """Names in lower case; a name that came twice has its values joined by ", "."""
        self.body = body
        self.stream: BodyStream | None = None
        """The body of a route with `body="stream"`, instead of `body`."""
        self.client_ip = client_ip
        """Where the request came from, behind the configured proxies; "" for a Unix socket."""
        self.known_requester: Requester | None = None
        """Who asks, if they said so and the route wanted to know."""
        self.origin = ""
        """The server that signed the request, on federation routes."""
        self.id = ""
        """Names the request in the log, and in the answer when something went wrong."""
        self.disconnected = False
        self.stopping = False
        """The server is being stopped: answer now, do not wait."""
        self._query: dict[str, list[str]] | None = None
        self._on_disconnect: Callable[[], object] | None = None
        self._on_stopping: Callable[[], object] | None = None

    @property
    def requester(self) -> Requester:
        """Who asks. MissingToken where the route let them stay unknown."""
        if self.known_requester is None:
            raise MissingToken
        return self.known_requester

    def require_self(self, user_id: UserId) -> None:
        """Raise Forbidden unless the requester is this user."""
        if self.requester.user_id != user_id:
            raise Forbidden(f"You are {self.requester.user_id}, so you may not act for {user_id[:300]}")

    def header(self, name: str) -> str | None:
        """A header's value; `name` in any case."""
        value = self.headers.get(name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def access_token(self) -> str | None:
        """From `Authorization: Bearer` or, deprecated but still allowed, `?access_token=`."""
        authorization = self.headers.get(b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(b" ")
            return token.strip().decode("latin-1") or None if scheme.lower() == b"bearer" else None
        return (self.query_one("access_token") or None) if "access_token" in self.query_string else None

    # The body

    def json(self, kind: type[T], *, allow_empty: bool = False) -> T:
        """The body as a msgspec Struct (or other type). Raises NotJson; BadJson names the wrong field.

        Unknown fields are ignored, as the specification asks. `allow_empty`: no body counts as `{}`.
        """
        decoder = _decoders.get(kind)
        if decoder is None:
            decoder = _decoders[kind] = msgspec.json.Decoder(kind)
        body = self.body
        if not body and allow_empty:
            body = b"{}"
        try:
            if _may_be_deep(body):
                _check_depth(orjson.loads(body))
            return decoder.decode(body)  # type: ignore[return-value] # the decoder of `kind`
        except msgspec.ValidationError as error:
            raise BadJson(str(error)) from None
        except (ValueError, RecursionError) as error:
            raise NotJson(f"The body is not JSON: {error}") from None

    def json_object(self, *, allow_empty: bool = False) -> JsonObject:
        """The body, which must be a JSON object. Raises NotJson and BadJson."""
        body = self.body
        if not body and allow_empty:
            return {}
        try:
            value = orjson.loads(body)
        except ValueError as error:
            raise NotJson(f"The body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise BadJson("The body must be a JSON object")
        if _may_be_deep(body):
            _check_depth(value)
        return value

    # The query

    @property
    def query(self) -> dict[str, list[str]]:
        """All parameters, percent-decoded, in order. Raises InvalidParam when they are not UTF-8."""
        if self._query is None:
            self._query = parse_query(self.query_string)
        return self._query

    def query_all(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return self.query.get(name, [])

    def query_one(self, name: str, default: str | None = None) -> str | None:
        """The parameter, or `default`. The first counts if it was sent twice."""
        values = self.query.get(name)
        return default if values is None else values[0]

    def query_required(self, name: str) -> str:
        """The parameter. Raises MissingParam."""
        values = self.query.get(name)
        if values is None:
            raise MissingParam(f"The query parameter {name!r} is missing")
        return values[0]

    def query_int(
        self, name: str, default: int, *, minimum: int | None = None, maximum: int | None = None
    ) -> int:
        """A whole number. InvalidParam if it is none or below `minimum`; above `maximum` it becomes that."""
        text = self.query_one(name)
        if text is None:
            return default
        digits = text[1:] if text[:1] == "-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise InvalidParam(f"{name} must be a whole number, not {text[:100]!r}")
        value = int(text)
        if minimum is not None and value < minimum:
            raise InvalidParam(f"{name} must be at least {minimum}, not {value}")
        return value if maximum is None else min(value, maximum)

    def query_bool(self, name: str, *, default: bool = False) -> bool:
        """`true` or `false`. Raises InvalidParam for anything else."""
        text = self.query_one(name)
        if text is None:
            return default
        if text not in _TRUE_AND_FALSE:
            raise InvalidParam(f"{name} must be true or false, not {text[:100]!r}")
        return _TRUE_AND_FALSE[text]

    def query_choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of `choices`. MissingParam without a default, InvalidParam for anything else."""
        text = self.query_required(name) if default is None else self.query_one(name, default) or default
        if text not in choices:
            raise InvalidParam(f"{name} must be one of {', '.join(choices)}, not {text[:100]!r}")
        return text

    # While an endpoint waits

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call it when the client goes away before the answer; at once if it has gone."""
        if self.disconnected:
            callback()
        else:
            self._on_disconnect = callback

    def on_stopping(self, callback: Callable[[], object]) -> None:
        """Call it when the server is about to stop and wants the answer now; at once if it is already."""
        if self.stopping:
            callback()
        else:
            self._on_stopping = callback

    def disconnect(self) -> None:
        """The connection is gone. For the server."""
        self.disconnected = True
        callback, self._on_disconnect = self._on_disconnect, None
        if callback is not None:
            callback()

    def stop(self) -> bool:
        """The server stops. For the server. Was anybody listening?"""
        self.stopping = True
        callback, self._on_stopping = self._on_stopping, None
        if callback is not None:
            callback()
        return callback is not None


def parse_query(query_string: str) -> dict[str, list[str]]:
    """`a=1&b=%20&a=2` to lists of values by name. `+` is a space. Raises InvalidParam."""
    values: dict[str, list[str]] = {}
    if not query_string:
        return values
    fields = query_string.split("&")
    if len(fields) > MAX_QUERY_FIELDS:
        raise InvalidParam(f"More than {MAX_QUERY_FIELDS} query parameters")
    for field in fields:
        if field:
            name, _, value = field.partition("=")
            values.setdefault(_decoded(name), []).append(_decoded(value))
    return values


def _decoded(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return percent_decoded(text) if "%" in text else text


def percent_decoded(text: str) -> str:
    """Undo percent-encoding. InvalidParam unless that gives UTF-8 without NUL (databases cannot keep it)."""
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidParam(f"{text[:300]!r} is not percent-encoded UTF-8") from None
    if "\0" in decoded:
        raise InvalidParam(f"{text[:300]!r} contains a NUL")
    return decoded


def _may_be_deep(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") > MAX_JSON_DEPTH


def _check_depth(value: object) -> None:
    """Raise BadJson for JSON nested so deep that something further in would fail on it."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (
                outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ()
            )
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise BadJson(f"The body is nested more than {MAX_JSON_DEPTH} levels deep")
