"""One request and its answer: from the complete head until the last byte was handed to the transport."""

import logging
from contextvars import copy_context
from typing import Protocol

from homeserver.http import reply
from homeserver.http.body_budget import SMALL_BODY_BYTES, BodyBudget
from homeserver.http.body_stream import ClientGone
from homeserver.http.driven import Driven
from homeserver.http.heads import Encoded, Heads
from homeserver.http.incoming import Head
from homeserver.http.limits import Limits
from homeserver.http.reply import Answer
from homeserver.http.request import Request
from homeserver.http.routing import DEFAULT_MAX_BODY, Found, Router
from homeserver.http.sending import discard
from homeserver.protocol.errors import LimitExceeded, MatrixError, TooLarge
from homeserver.runtime import log_context
from homeserver.runtime.addresses import network_of

logger = logging.getLogger(__name__)

COME_BACK_MS = 30_000


class Owner(Protocol):
    """The connection, as an exchange sees it."""

    @property
    def bodies(self) -> BodyBudget: ...

    def body_refused(self, exchange: "Exchange") -> None: ...

    def answered(self, exchange: "Exchange", answer: Answer) -> None: ...

    def failed(self, exchange: "Exchange") -> None: ...


class Exchange(Driven):
    """A request on its way through the router."""

    __slots__ = (
        "_body",
        "_free",
        "_has_begun",
        "_is_refused",
        "_left",
        "_received",
        "_since",
        "found",
        "is_complete",
        "is_http_1_0",
        "is_queued",
        "keep_alive",
        "owner",
        "request",
        "wants_continue",
    )

    def __init__(
        self, owner: Owner, request: Request, found: Found | MatrixError, head: Head | None, *, now: int
    ) -> None:
        super().__init__()
        self.owner = owner
        self.request = request
        self.found = found
        self.is_complete = False
        """Has the whole body arrived?"""
        self.is_queued = False
        self.keep_alive = head is not None and head.keep_alive
        self.is_http_1_0 = head is not None and head.is_http_1_0
        self.wants_continue = False
        self._has_begun = False
        self._free = SMALL_BODY_BYTES  # up to here the body is not counted
        self._body: bytes | bytearray | None = None  # the first piece, which mostly is all
        self._is_refused = False
        self._received = 0
        self._since = now  # seconds; when the body began to arrive
        self._left = found.route.max_body if isinstance(found, Found) else DEFAULT_MAX_BODY

    @property
    def is_long_poll(self) -> bool:
        return isinstance(self.found, Found) and self.found.route.long_poll

    @property
    def can_start(self) -> bool:
        """Is there all that the router needs?"""
        return self.is_complete or self._is_refused or self.request.stream is not None

    def expect_body(self, head: Head, *, is_behind: bool) -> None:
        """Get ready for the body, or refuse it before it comes. `is_behind`: others are answered first."""
        if is_behind:
            self._free = 0
        if head.length is not None and head.length > self._left:
            self._refuse_body()
            return
        self.wants_continue = (
            head.length != 0
            and not head.is_http_1_0
            and head.headers.get(b"expect", b"").lower() == b"100-continue"
        )

    def body_arrived(self, data: bytes) -> None:
        """A piece of the body."""
        self.wants_continue = False
        self._received += len(data)
        stream = self.request.stream
        if stream is not None:
            stream.feed(data)
            return
        if self._is_refused:
            return
        self._left -= len(data)
        if self._left < 0:
            self._refuse_body()
            return
        if self._body is None:
            self._body = data
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body) + data
        else:
            self._body += data
        if self._received > self._free:
            self.owner.bodies.hold(self, self._received)

    def body_complete(self) -> None:
        """The message has ended."""
        self.is_complete = True
        self.wants_continue = False
        if self.request.stream is not None:
            self.request.stream.finish()
        elif self._body is not None:
            self.request.body = bytes(self._body)
            self._body = None

    @property
    def network(self) -> str:
        """As `body_budget.Body` says."""
        return network_of(self.request.client_ip)

    @property
    def is_dispensable(self) -> bool:
        """As `body_budget.Body` says: has the endpoint not begun?"""
        return not self._has_begun

    def make_room(self) -> None:
        """As `body_budget.Body` says."""
        self.found = LimitExceeded(
            "Too many large requests at once: try again later", retry_after_ms=COME_BACK_MS
        )
        self._refuse_body()
        self.owner.body_refused(self)

    def let_body_go(self) -> None:
        """Nobody needs the body any more."""
        if self._received > self._free:
            self.owner.bodies.release(self)

    def body_time_left(self, now: int, limits: Limits) -> int:
        """Seconds until the body is too slow; what has arrived since it began to flow buys time."""
        return self._since + limits.body_seconds + self._received // limits.body_bytes_per_second - now

    def restart_body_time(self, now: int) -> None:
        """We made the client wait: that time is not held against it."""
        self._since = now
        self._received = 0

    def give_up(self, error: MatrixError) -> None:
        """The rest of a body that is being read will not come."""
        if self.request.stream is not None:
            self.request.stream.fail(error)

    def start(self, router: Router) -> None:
        """Run the endpoint. `owner.answered` or `owner.failed` follows, maybe before this returns."""
        self._has_begun = True
        context = copy_context()
        context.run(log_context.enter, self.request.id)
        self.drive(router.answer(self.request, self.found), context)
        if self._waiting is not None and self.is_long_poll:
            self.request.headers = {}  # thousands wait at a time

    def abandon(self) -> None:
        """The client has gone. Only a long poll is cancelled: what else has begun is carried through."""
        if not self._has_begun:
            self.let_body_go()
        if self.request.stream is not None:
            self.request.stream.fail(ClientGone())
        self.request.disconnect()
        if self.is_long_poll:
            self.cancel()

    def hurry(self) -> None:
        """The server is stopping: a long poll ends at once, by itself if it listens for that."""
        if not self.request.stop() and self.is_long_poll:
            self.cancel()

    def returned(self, value: Answer) -> None:
        self.let_body_go()
        self.owner.answered(self, value)

    def encode(self, answer: Answer, heads: Heads) -> Encoded:
        """The answer as it is sent; a mistake's where it cannot be. May end `keep_alive`.

        Of an answer to HEAD nobody reads the body.
        """
        whole = reply.of_answer(answer)
        try:
            encoded = heads.encode(whole, keep_alive=self.keep_alive, is_http_1_0=self.is_http_1_0)
        except (TypeError, ValueError):
            logger.exception(
                "%s %s gave an answer that cannot be sent", self.request.method, self.request.path
            )
            discard(whole)
            whole = reply.of_mistake(self.request.id)
            encoded = heads.encode(whole, keep_alive=self.keep_alive, is_http_1_0=self.is_http_1_0)
        if self.request.method == "HEAD":
            discard(whole)
        if not encoded.keep_alive:
            self.keep_alive = False
        return encoded

    def raised(self, error: Exception) -> None:
        self.let_body_go()
        if not (self.request.disconnected or self.request.stopping):
            logger.error(
                "%s %s ended without an answer", self.request.method, self.request.path, exc_info=error
            )
        self.owner.failed(self)

    def _refuse_body(self) -> None:
        self.let_body_go()
        self._body = None
        self.request.body = b""
        self._is_refused = True
        self.wants_continue = False
        if not isinstance(self.found, MatrixError):
            self.found = TooLarge(
                f"The body is larger than the {self.found.route.max_body} bytes accepted here"
            )
        self.keep_alive = False
