"""The account services and their routes over one database, with time that stands still."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from homeserver.api.access import Access
from homeserver.api.admin.routes import ROUTES as ADMIN_ROUTES
from homeserver.api.client.routes import accounts, server
from homeserver.api.request_limits import RequestLimits
from homeserver.config.rate_limits import Limit
from homeserver.http.routing import Router
from homeserver.protocol.ids import DeviceId, ServerName, UserId
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.services.accounts import AccountServices, AccountSettings, Ground, account_services
from homeserver.services.accounts.passwords import Cost
from homeserver.services.accounts.registration import RegistrationPolicy
from homeserver.services.capabilities import Capabilities
from homeserver.services.devices.devices import Devices
from homeserver.services.profiles import Profiles
from homeserver.services.rate_limits import RateLimits
from homeserver.services.streams import Change, Streams
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.positions import PositionStore
from tests.support.clock import FakeClock
from tests.support.http import Answer, Body, dispatch, with_query
from tests.support.running import result

P = ParamSpec("P")
T = TypeVar("T")

SERVER = ServerName("test")
PASSWORD = "correct horse battery"
CHEAP = Cost(passes=1, memory_kib=8)
OPEN = AccountSettings(
    SERVER, RegistrationPolicy("open", guests=True), shared_secret="tell nobody", password_cost=CHEAP
)
V3 = "/_matrix/client/v3"
V1 = "/_matrix/client/v1"
ACCOUNT_ROUTES = (
    *accounts.ACCOUNT,
    *accounts.LOGIN,
    *server.SERVER_ADMINISTRATION,
    *server.CAPABILITIES,
    *accounts.PROFILES,
    *accounts.DEVICES,
    *accounts.OPENID,
    *ADMIN_ROUTES,
)


class ThreadsHere:
    """Blocking work, done at once; counts how often."""

    def __init__(self) -> None:
        self.jobs = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.jobs += 1
        return function(*args, **kwargs)


@dataclass
class Person:
    """Somebody signed in."""

    house: "House"
    user_id: UserId
    device_id: DeviceId
    token: str
    password: str = PASSWORD

    def request(self, method: str, path: str, body: Body = None, **query: Any) -> Answer:
        """`path` is below /_matrix/client/v3 unless it begins with /_."""
        return self.house.request(method, path, body, token=self.token, **query)

    def proven(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Answer:
        """The request, with the person's password."""
        auth = {"type": "m.login.password", "password": self.password}
        return self.request(method, path, {**(body or {}), "auth": auth}, **query)


@dataclass
class House:
    """What a server has of accounts. `changes` are what followers were told."""

    database: Database
    time: FakeClock
    tasks: Tasks
    accounts: AccountServices
    devices: Devices
    profiles: Profiles
    capabilities: Capabilities
    threads: ThreadsHere
    changes: list[Change] = field(default_factory=list)
    router: Router = field(init=False)

    def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        token: str | None = None,
        ip: str = "1.2.3.4",
        **query: Any,
    ) -> Answer:
        """Into the router. POST and PUT without a body send {}."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        whole = path if path.startswith("/_") else V3 + path
        if body is None and method in ("POST", "PUT"):
            body = {}
        return dispatch(self.router, method, with_query(whole, query), headers, body, client_ip=ip)

    def register(self, name: str, password: str = PASSWORD, **wishes: Any) -> Person:
        """A new account, signed in."""
        body = {"username": name, "password": password, "auth": {"type": "m.login.dummy"}, **wishes}
        answer = self.request("POST", "/register", body)
        assert answer.status == 200, answer.json
        return self.person(answer, password)

    def log_in(self, name: str, password: str = PASSWORD, **wishes: Any) -> Answer:
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password,
        }
        return self.request("POST", "/login", {**body, **wishes})

    def person(self, answer: Answer, password: str = PASSWORD) -> Person:
        """Whoever got this answer from /register or /login."""
        granted = answer.json
        return Person(self, granted["user_id"], granted["device_id"], granted["access_token"], password)

    def make_admin(self, person: Person) -> None:
        result(self.accounts.moderation.make_admin(person.user_id, is_admin=True))

    def status_of(self, token: str) -> int:
        """Of whoami with this token."""
        return self.request("GET", "/account/whoami", token=token).status


def open_house(
    database: Database,
    time: FakeClock,
    settings: AccountSettings = OPEN,
    limits: Mapping[str, Limit | None] | None = None,
) -> House:
    """Built and started."""
    tasks, stores, threads = Tasks(time), AccountStores(), ThreadsHere()
    streams = Streams(database, PositionStore(), tasks)
    result(streams.start())
    rate_limits = RateLimits(time.monotonic, limits or {})
    ground = Ground(database, stores, streams, time, tasks, threads, rate_limits)
    accounts = account_services(ground, settings)
    devices = Devices(
        database, stores.devices, streams, accounts.sessions, accounts.stages, accounts.last_seen
    )
    profiles = Profiles(database, stores, streams, time, tasks, server_name=settings.server_name)
    capabilities = Capabilities(default_room_version="12")
    house = House(database, time, tasks, accounts, devices, profiles, capabilities, threads)
    streams.follow(lambda position, changes: house.changes.extend(changes))
    house.router = Router(
        house,
        ACCOUNT_ROUTES,
        authenticate=Access(accounts.sessions.find, accounts.last_seen.note),
        limiter=RequestLimits(rate_limits),
    )
    result(accounts.start())
    return house
