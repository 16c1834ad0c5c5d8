"""One client connection: requests in, answers out, in the same order.

Ten thousand of these wait at a time: what is not needed while waiting is dropped, and no connection has a
timer. `deadline` is a tick of the server, which looks at all connections every few seconds.
"""

from typing import Protocol

import orjson
from twisted.python.failure import Failure

from homeserver.http import reply
from homeserver.http.body_budget import BodyBudget
from homeserver.http.body_stream import BodyStream
from homeserver.http.exchange import Exchange
from homeserver.http.heads import CONTINUE, Heads
from homeserver.http.incoming import Head, Incoming
from homeserver.http.limits import Limits
from homeserver.http.phases import Phase, Stopping, TooSlow
from homeserver.http.proxies import TrustedProxies, plain_address
from homeserver.http.reply import Answer, Reply, Stream
from homeserver.http.request import Request
from homeserver.http.routing import Found, Router
from homeserver.http.sending import Sender, discard, in_pieces
from homeserver.http.transport import Transport, send_now
from homeserver.protocol.errors import MatrixError, Unknown

SEND_AT_ONCE_BYTES = 128 * 1024
PARSED_AHEAD = 8  # times `Limits.pipelined`: what one read may hold


class Owner(Protocol):
    """The server, as a connection sees it."""

    router: Router
    limits: Limits
    bodies: BodyBudget
    proxies: TrustedProxies
    heads: Heads
    tick: int
    is_stopping: bool

    def next_request_id(self, method: str) -> str: ...

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...


class Connection:
    """Speaks HTTP/1.1 and 1.0 over a Twisted transport. To Twisted, an IProtocol."""

    __slots__ = (
        "_begun",
        "_incoming",
        "_is_advancing",
        "_is_deaf",
        "_is_paused",
        "_phase",
        "_queue",
        "_reading",
        "_running",
        "_server",
        "_stream_is_full",
        "_thrown_away",
        "_trusted",
        "deadline",
        "peer",
        "transport",
    )

    def __init__(self, server: Owner) -> None:
        self._server = server
        self.transport: Transport
        self.deadline = 0
        """The tick at which patience ends; 0: never."""
        self._phase = Phase.NEXT
        self._incoming: Incoming | None = None  # the parser, while a message is incomplete
        self._begun = False  # a message has begun and its head is not complete
        self._reading: Exchange | None = None  # its body is still arriving
        self._queue: list[Exchange] = []  # may run, behind the running one
        self._running: Exchange | None = None  # not answered yet, or the answer is being sent
        self._is_advancing = False
        self._is_deaf = False  # what still arrives is thrown away
        self._thrown_away = 0
        self._is_paused = False
        self._stream_is_full = False
        self.peer = ""
        self._trusted = False

    # What the transport tells

    def makeConnection(self, transport: Transport) -> None:  # noqa: N802 - Twisted's spelling
        """Begin."""
        self.transport = transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self.peer = plain_address(getattr(transport.getPeer(), "host", None) or "")
        self._trusted = self._server.proxies.trusts(self.peer)
        self._enter(Phase.NEXT, self._server.limits.head_seconds)
        self._server.opened(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes arrived."""
        if self._is_deaf:
            self._throw_away(len(data))
            return
        incoming = self._incoming
        if incoming is None:
            incoming = self._incoming = Incoming(self, self._server.limits)
        incoming.feed(data)
        if incoming.refusal is not None and not self._is_deaf:
            self._refuse(incoming.refusal)
        self._advance()
        if self._reading is None and not self._begun:
            self._incoming = None
        self._wait()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The client has gone, or we have closed."""
        exchanges = {self._running, *self._queue, self._reading}
        self._running = self._reading = self._incoming = None
        self._queue.clear()
        self._is_deaf = True
        self._enter(Phase.CLOSED, 0)
        for exchange in exchanges:
            if exchange is not None:
                exchange.abandon()
        self._server.closed(self)

    # What the parser tells

    def message_begun(self) -> None:
        """A request line begins."""
        self._begun = True
        self._phase = Phase.ANSWER  # whatever the last one waited for, this one has its own time

    def head_arrived(self, head: Head) -> None:
        """A request's head is complete: find its route, which knows how large the body may be."""
        self._begun = False
        if self._is_deaf:
            return
        server = self._server
        found: Found | MatrixError
        try:
            found = server.router.find(head.method, head.target.partition("?")[0])
        except MatrixError as error:
            found = error
        client_ip = self.peer
        if self._trusted:
            client_ip = server.proxies.client_of(client_ip, head.headers.get(b"x-forwarded-for"))
        request = Request(head.method, head.target, head.headers, client_ip=client_ip)
        request.id = server.next_request_id(head.method)
        request.stopping = server.is_stopping
        exchange = self._reading = Exchange(self, request, found, head, now=server.tick)
        if head.length != 0:
            exchange.expect_body(head, is_behind=self._running is not None or bool(self._queue))
        if isinstance(found, Found) and found.route.body == "stream" and not exchange.can_start:
            exchange.request.stream = BodyStream(
                max_bytes=found.route.max_body, length=head.length, flow=self._let_flow
            )
        self._enqueue_ready(exchange)

    def body_arrived(self, data: bytes) -> None:
        """A piece of the body of the request whose head came last."""
        exchange = self._reading
        if exchange is not None:
            exchange.body_arrived(data)
            self._enqueue_ready(exchange)

    def message_complete(self) -> None:
        """The request whose head came last is complete."""
        exchange = self._reading
        if exchange is not None:
            self._reading = None
            exchange.body_complete()
            self._enqueue_ready(exchange)
            if not exchange.keep_alive:
                self._is_deaf = True

    @property
    def bodies(self) -> BodyBudget:
        return self._server.bodies

    def body_refused(self, exchange: Exchange) -> None:
        """There is no room for the body: it will not be read on."""
        self._enqueue_ready(exchange)
        self._advance()
        self._wait()

    def _enqueue_ready(self, exchange: Exchange) -> None:
        if exchange.is_queued or not exchange.can_start:
            return
        exchange.is_queued = True
        self._queue.append(exchange)
        if len(self._queue) > PARSED_AHEAD * self._server.limits.pipelined:
            exchange.keep_alive = False
            self._is_deaf = True

    def _refuse(self, error: MatrixError) -> None:
        """What arrived makes no sense, so nothing after it does: say so, once it is its turn."""
        self._is_deaf = True
        self._begun = False
        exchange, self._reading = self._reading, None
        if exchange is not None:
            exchange.let_body_go()
            if exchange.is_queued:
                exchange.give_up(error)
                return
        request = Request("", "/", {}, client_ip=self.peer)
        request.id = self._server.next_request_id("BAD")
        refused = Exchange(self, request, error, None, now=self._server.tick)
        refused.is_complete = True
        self._enqueue_ready(refused)

    # Running and answering

    def _advance(self) -> None:
        """Run what is next in line. Most requests are answered before this returns."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while self._running is None and self._queue:
                exchange = self._running = self._queue.pop(0)
                exchange.start(self._server.router)
        finally:
            self._is_advancing = False
        reading = self._reading
        if reading is not None and reading.wants_continue and self._running is None:
            self._say_continue(reading)
        if self._is_paused or self._queue:
            self._regulate()

    def answered(self, exchange: Exchange, answer: Answer) -> None:
        """The endpoint has returned."""
        if self._running is not exchange:
            if isinstance(answer, Reply | Stream):
                discard(answer)
            return
        keep_alive = exchange.keep_alive and exchange.is_complete and not self._server.is_stopping
        exchange.keep_alive = keep_alive
        if keep_alive and type(answer) is dict and exchange.request.method != "HEAD":
            try:
                body = orjson.dumps(answer)
            except TypeError:
                self._send(exchange, answer)  # where the mistake is logged
                return
            if len(body) <= SEND_AT_ONCE_BYTES:
                send_now(self.transport, b"%b%d\r\n\r\n%b" % (self._server.heads.json_200, len(body), body))
                self._sent(exchange)
                return
        self._send(exchange, answer)

    def failed(self, exchange: Exchange) -> None:
        """The endpoint was cancelled."""
        if self._running is exchange:
            exchange.keep_alive = False
            self._send(exchange, reply.of_error(Stopping() if self._server.is_stopping else Unknown()))

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        encoded = exchange.encode(answer, self._server.heads)
        if exchange.request.method == "HEAD":
            self.transport.write(encoded.head)
            self._sent(exchange)
            return
        body = encoded.body
        if isinstance(body, bytes) and len(body) <= SEND_AT_ONCE_BYTES:
            send_now(self.transport, encoded.head + body)
            self._sent(exchange)
            return
        self.transport.write(encoded.head)
        stream = in_pieces(body) if isinstance(body, bytes) else body
        self._enter(Phase.SENDING, 0)
        Sender(self.transport, self, stream, chunked=encoded.is_chunked).start()

    def sending_waits(self, *, for_client: bool) -> None:
        """For the client, who must read on; or for the source of the answer."""
        if self._phase is Phase.SENDING:
            self._enter(Phase.SENDING, self._server.limits.write_seconds if for_client else 0)

    def sending_ended(self, *, well: bool) -> None:
        """The answer was handed over to the end; or the client must notice that it was not."""
        exchange = self._running
        if exchange is None:
            return
        if not well:
            self.transport.abortConnection()
            return
        self._phase = Phase.ANSWER
        self._sent(exchange)

    def _sent(self, exchange: Exchange) -> None:
        self._running = None
        if not exchange.keep_alive:
            self._close(linger=not exchange.is_complete)
        elif not self._is_advancing:
            self._advance()
            self._wait()

    def _close(self, *, linger: bool) -> None:
        for exchange in self._queue:
            exchange.let_body_go()
        self._queue.clear()
        self._reading = None
        self._is_deaf = True
        if linger:
            self._stream_is_full = False
            self._regulate()
            self._enter(Phase.LINGERING, self._server.limits.linger_seconds)
        else:
            self._lose()

    def _lose(self) -> None:
        """Close once everything is written; `expire` sees to it that this does not take for ever."""
        self._enter(Phase.CLOSED, self._server.limits.write_seconds)
        self.transport.loseConnection()

    def _throw_away(self, count: int) -> None:
        self._thrown_away += count
        if self._thrown_away > self._server.limits.linger_bytes and self._phase is Phase.LINGERING:
            self._lose()

    # Keeping the client at a distance

    def _let_flow(self, *, flows: bool) -> None:
        """The reader of a body wants more of it, or has enough for now."""
        self._stream_is_full = not flows
        running = self._running
        if flows and running is not None and running.wants_continue:
            self._say_continue(running)
        self._regulate()
        if running is not None and running is self._reading:
            running.restart_body_time(self._server.tick)
            self._enter(Phase.BODY, self._server.limits.body_seconds if flows else 0)

    def _regulate(self) -> None:
        """Stop reading while there is too much to do, else read."""
        pause = self._stream_is_full or len(self._queue) >= self._server.limits.pipelined
        if pause != self._is_paused:
            self._is_paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _say_continue(self, exchange: Exchange) -> None:
        exchange.wants_continue = False
        self.transport.write(CONTINUE)

    # Patience

    def _wait(self) -> None:
        """Set the deadline for what is to come next, unless that has been done."""
        limits = self._server.limits
        phase = self._phase
        if phase in (Phase.SENDING, Phase.LINGERING, Phase.CLOSED):
            return
        if self._running is not None and self._running is not self._reading:
            self._enter(Phase.ANSWER, 0)
        elif self._reading is not None:
            if phase is not Phase.BODY:
                self._enter(Phase.BODY, limits.body_seconds)
        elif self._begun:
            if phase is not Phase.HEAD:
                self._enter(Phase.HEAD, limits.head_seconds)
        else:
            self._enter(Phase.NEXT, limits.idle_seconds)

    def _enter(self, phase: Phase, seconds: int) -> None:
        self._phase = phase
        self.deadline = self._server.tick + seconds if seconds else 0

    def expire(self) -> None:
        """The deadline has passed."""
        phase = self._phase
        if phase is Phase.BODY and self._reading is not None:
            more = self._reading.body_time_left(self._server.tick, self._server.limits)
            if more > 0:
                self._enter(Phase.BODY, more)
                return
        if phase in (Phase.HEAD, Phase.BODY):
            self._refuse(TooSlow())
            self._advance()
        elif phase is Phase.NEXT or phase is Phase.LINGERING:
            self._is_deaf = True
            self._lose()
        else:
            self.transport.abortConnection()

    def stop(self) -> None:
        """The server stops: answer what was asked, then close."""
        for exchange in (self._running, *self._queue):
            if exchange is not None:
                exchange.hurry()
        busy = self._running or self._queue or self._reading
        if not busy and self._phase is not Phase.CLOSED:
            self._is_deaf = True
            self._lose()
