"""The whole server as app.py composes it, on a clock that stands still: no sockets, no threads.

Requests go straight into the router. The database works at once, until a test holds its writes back to see
what happens meanwhile.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from twisted.internet.defer import Deferred

from homeserver import config
from homeserver.app import App, build_router
from homeserver.app.services import Runtime, build_services, connect
from homeserver.config.signing_key import make_signing_key
from homeserver.protocol.signatures import SigningKey
from homeserver.runtime.database import Database, open_database
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.threads import Threads
from tests.support.clock import FakeClock
from tests.support.database import storage_migrations
from tests.support.http import Answer, Body, Pending, start, with_query
from tests.support.network import Network
from tests.support.people import PASSWORD, V3, Person
from tests.support.running import Running

P = ParamSpec("P")
T = TypeVar("T")

SERVER_NAME = "test"
QUIET = """
server_name: test
registration: {mode: open, guests: true}
passwords: {hash_passes: 1, hash_memory_kib: 8}
rate_limits: {enabled: false}
presence: {enabled: false}
"""
"""Nothing that would answer a sync of its own accord, nothing that counts requests."""


def limiting(what: str, *, burst: int, per_second: float = 0.1) -> str:
    """Settings as `QUIET`, but that one limit holds."""
    limit = f"rate_limits: {{{what}: {{per_second: {per_second}, burst: {burst}}}}}"
    return QUIET.replace("rate_limits: {enabled: false}", limit)


class ThreadsHere:
    """Blocking work, done at once."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def stop(self) -> None:
        return


class PacedDatabase:
    """A database whose writes a test can hold back, let go one by one, or make fail."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: list[Deferred[None]] | None = None
        self._failures: list[Exception] = []
        self._answers: list[Deferred[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def hold_writes(self) -> None:
        """Writes wait from now on."""
        self._held = []

    @property
    def held(self) -> int:
        """How many writes wait."""
        return len(self._held or ())

    def release(self, most: int | None = None) -> None:
        """Do the waiting writes in order, the first `most` of them; without a number, hold no more."""
        held = self._held or []
        if most is None:
            self._held = None
        for _ in range(len(held) if most is None else min(most, len(held))):
            held.pop(0).callback(None)

    def fail_next_write(self, error: Exception) -> None:
        """The next write to be done is not, and raises this."""
        self._failures.append(error)

    def hold_answers(self) -> None:
        """Reads are done at once, and answered only at `release_answers`."""
        self._answers = []

    def release_answers(self) -> None:
        held, self._answers = self._answers or [], None
        for turn in held:
            turn.callback(None)

    async def read(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        answer = await self._database.read(work, *args, **kwargs)
        if self._answers is not None:
            turn: Deferred[None] = Deferred()
            self._answers.append(turn)
            await turn
        return answer

    async def write(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if self._held is not None:
            turn: Deferred[None] = Deferred()
            self._held.append(turn)
            await turn
        if self._failures:
            raise self._failures.pop(0)
        return await self._database.write(work, *args, **kwargs)


class WholeServer:
    """A server and the way to it. `restart` gives the same server a new process on the same database."""

    def __init__(
        self,
        database_url: str,
        time: FakeClock,
        *,
        settings: str = QUIET,
        folder: Path | None = None,
        network: Network | None = None,
    ) -> None:
        self.time = time
        self.network = network or Network()
        """Those whom it can reach, itself among them: another server may be given the same."""
        self.database_url = database_url
        self._folder = folder or Path(tempfile.mkdtemp(prefix="postroom-"))
        text = f"{settings}\ndatabase: {database_url}\n"
        self.config = config.parse(text, self._folder / "homeserver.yaml")
        self.config.data_dir.mkdir(parents=True, exist_ok=True)
        self._key: SigningKey = make_signing_key(self.config.signing_key)
        self._start()

    def _start(self, *, serving: bool = True) -> None:
        opened = open_database(
            self.database_url,
            inline=True,
            durable=False,
            serving=serving,
            migrations=storage_migrations(),
        )
        self.database = PacedDatabase(opened)
        threads = cast(Threads, ThreadsHere())
        runtime = Runtime(
            self.time, Tasks(self.time), cast(Database, self.database), Metrics(), threads, threads,
            self.network.outside(self.config.server_name),
        )  # fmt: skip
        self.services = build_services(self.config, self._key, runtime)
        connect(self.services)
        self.router = build_router(self.config, self.config.listeners[0], self.services, runtime.metrics)
        self.network.add(self.config.server_name, self)
        self._app = App(cast(Any, None), runtime, self.services, [])
        self._finish(self._app.start())

    def restart(self) -> None:
        """Stop, and start again from what the database holds. Tokens stay good."""
        self.stop()
        self._start()

    def twin(self) -> "WholeServer":
        """A second process on the same database, which nothing but a mistake would start."""
        other = object.__new__(WholeServer)
        other.__dict__.update(self.__dict__)
        other._start(serving=False)
        return other

    def stop(self) -> None:
        self.database.release()
        self._finish(self._app.stop())

    def _finish(self, coroutine: Any) -> None:
        running = Running(coroutine)
        for _ in range(10):
            if running.is_done:
                break
            self.time.advance(0.5)
        running.result()

    # Requests

    def start_request(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        token: str | None = None,
        ip: str = "1.2.3.4",
        query: Mapping[str, Any] | None = None,
    ) -> Pending:
        """Into the router; it may wait. POST and PUT without a body send {}."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        whole = path if path.startswith(("/_", "/.")) else V3 + path
        if body is None and method in ("POST", "PUT"):
            body = {}
        return start(self.router, method, with_query(whole, query or {}), headers, body, client_ip=ip)

    def request(
        self, method: str, path: str, body: Body = None, *, token: str | None = None, **query: Any
    ) -> Answer:
        """Into the router, and out at once."""
        return self.start_request(method, path, body, token=token, query=query).answer

    # People

    def register(self, name: str) -> Person:
        """A new account, signed in."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        return self._signed_in(self.request("POST", "/register", body))

    def register_guest(self) -> Person:
        return self._signed_in(self.request("POST", "/register", {}, kind="guest"))

    def log_in(self, name: str, **wishes: Any) -> Person:
        """An existing account on one more device."""
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **wishes}
        return self._signed_in(self.request("POST", "/login", body))

    def _signed_in(self, answer: Answer) -> Person:
        assert answer.status == 200, answer.json
        granted = answer.json
        return Person(self, granted["user_id"], granted["device_id"], granted["access_token"])
