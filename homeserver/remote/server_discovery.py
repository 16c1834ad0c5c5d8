"""From a server name to where its server is: literal addresses, ports, well-known files, SRV records.

Only names and ports are found out here. Addresses are looked up, checked and connected to by the HTTP client.
https://spec.matrix.org/latest/server-server-api/#resolving-server-names
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import ServerName
from homeserver.protocol.server_names import ServerAddress, split_server_name
from homeserver.runtime.clock import Clock
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.dns import NameFailure, Resolver, ServiceRecord
from homeserver.runtime.http_client import HttpAnswer, HttpClient, HttpFailure, Target, Unreachable
from homeserver.runtime.memory import Memory

DEFAULT_PORT = 8448
WELL_KNOWN_PATH = "/.well-known/matrix/server"
MAX_WELL_KNOWN_BYTES = 50 * 1024
WELL_KNOWN_TIMEOUT_S = 10.0
MAX_REDIRECTS = 5
MAX_REMEMBERED = 10_000

DAY_S = 86_400.0
DEFAULT_LIFETIME_S = DAY_S
LEAST_LIFETIME_S = 300.0
GREATEST_LIFETIME_S = 2 * DAY_S
FIRST_FAILURE_S = 60.0
GREATEST_FAILURE_S = 3_600.0
GRACE_S = 2 * DAY_S
"""So long a well-known file that was good is believed after it has expired and cannot be read again."""

SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")
"""Under which SRV records stand, the newer one first."""

_MAX_AGE = re.compile(r"(?:^|[\s,])(?:s-maxage|max-age)\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,])", re.IGNORECASE)


class NoWellKnown(Exception):
    """The name has no well-known file that says where its server is. `is_certain`: it was looked at."""

    def __init__(self, message: str, *, is_certain: bool = False) -> None:
        super().__init__(message)
        self.is_certain = is_certain


@dataclass(frozen=True, slots=True)
class Delegation:
    """What is remembered of a well-known file. `name` is None where there is none; `problem` says why."""

    name: ServerName | None
    lifetime_s: float
    failures: int = 0
    good_until: float = 0.0
    problem: str = ""


class ServerDiscovery:
    """Finds servers, and remembers for a while what their well-known files said."""

    def __init__(
        self,
        http: HttpClient,
        resolver: Resolver,
        clock: Clock,
        *,
        choose: Callable[[], float] = random.random,
    ) -> None:
        self._http = http
        self._resolver = resolver
        self._clock = clock
        self._choose = choose
        self._fresh: Memory[str, Delegation] = Memory(clock, MAX_REMEMBERED)
        self._last: Memory[str, Delegation] = Memory(clock, MAX_REMEMBERED)
        self._reading: Coalescing[str, Delegation] = Coalescing()

    async def targets(self, server_name: ServerName) -> list[Target]:
        """Where to send requests for this server, best first. Raises Unreachable."""
        try:
            address = split_server_name(server_name)
        except InvalidParam as error:
            raise Unreachable(str(error)) from None
        if address.is_ip_literal or address.port is not None:
            return [_direct(server_name, address)]
        delegation = await self.delegation(address.host)
        if delegation.name is None:
            return await self._by_records(address.host)
        delegated = split_server_name(delegation.name)
        if delegated.is_ip_literal or delegated.port is not None:
            return [_direct(delegation.name, delegated)]
        return await self._by_records(delegated.host)

    async def delegation(self, host: str) -> Delegation:
        """What https://HOST/.well-known/matrix/server says, as remembered or read now."""
        known = self._fresh.get(host)
        if known is not None:
            return known
        return await self._reading.run(host, lambda: self._read(host))

    async def records(self, host: str) -> tuple[str, Sequence[ServiceRecord]]:
        """The SRV records of a host and the service they stand under; "" and none if there are none."""
        for service in SERVICES:
            try:
                found = await self._resolver.services(f"{service}.{host}")
            except NameFailure:
                continue  # the host itself may still be found, and its certificate decides
            if found:
                return service, found
        return "", ()

    async def _by_records(self, host: str) -> list[Target]:
        _, records = await self.records(host)
        if not records:
            return [Target(host, DEFAULT_PORT, host, host)]
        usable = [record for record in records if record.target]
        if not usable:
            raise Unreachable(f"The SRV record of {host} says that there is no server")
        return [Target(record.target, record.port, host, host) for record in in_order(usable, self._choose)]

    # Well-known files

    async def _read(self, host: str) -> Delegation:
        before = self._last.get(host)
        try:
            name, lifetime_s = await self._fetch(host)
        except NoWellKnown as error:
            delegation = self._after_failure(error, before)
        else:
            good_until = self._clock.monotonic() + lifetime_s + GRACE_S
            delegation = Delegation(name, lifetime_s, good_until=good_until)
        self._fresh.keep(host, delegation, delegation.lifetime_s)
        self._last.keep(host, delegation, GRACE_S + delegation.lifetime_s)
        return delegation

    def _after_failure(self, error: NoWellKnown, before: Delegation | None) -> Delegation:
        """Try again later and later. A file that was good stays good while its web server is in trouble."""
        failures = before.failures + 1 if before is not None else 1
        lifetime_s = min(FIRST_FAILURE_S * 2 ** min(failures - 1, 10), GREATEST_FAILURE_S)
        if error.is_certain:
            lifetime_s = GREATEST_FAILURE_S
        elif before is not None and before.name is not None and before.good_until > self._clock.monotonic():
            return Delegation(before.name, lifetime_s, failures, before.good_until, str(error))
        return Delegation(None, lifetime_s, failures, problem=str(error))

    async def _fetch(self, host: str) -> tuple[ServerName, float]:
        try:
            answer = await self._http.get(
                f"https://{host}{WELL_KNOWN_PATH}",
                headers={"Accept": "application/json", "User-Agent": "Postroom"},
                timeout_s=WELL_KNOWN_TIMEOUT_S,
                max_bytes=MAX_WELL_KNOWN_BYTES,
                max_redirects=MAX_REDIRECTS,
            )
        except HttpFailure as failure:
            raise NoWellKnown(str(failure)) from failure
        if answer.status != 200:
            raise NoWellKnown(f"it answers with status {answer.status}", is_certain=answer.status < 500)
        return _server_of(answer), lifetime_of(answer)


def _server_of(answer: HttpAnswer) -> ServerName:
    """What the file says. Its Content-Type does not matter."""
    try:
        content = orjson.loads(answer.body)
    except ValueError:
        raise NoWellKnown("it is not JSON", is_certain=True) from None
    name = content.get("m.server") if isinstance(content, dict) else None
    if not isinstance(name, str):
        raise NoWellKnown("it names no m.server", is_certain=True)
    try:
        split_server_name(name)
    except InvalidParam as error:
        raise NoWellKnown(str(error), is_certain=True) from None
    return ServerName(name)


def lifetime_of(answer: HttpAnswer) -> float:
    """For how many seconds the file may be believed: Cache-Control, within bounds; a day without."""
    control = answer.headers.get("cache-control", "")
    if _NO_CACHE.search(control):
        return LEAST_LIFETIME_S
    match = _MAX_AGE.search(control)
    if match is None:
        return DEFAULT_LIFETIME_S
    age = answer.headers.get("age", "")
    elapsed = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
    return min(max(float(int(match[1]) - elapsed), LEAST_LIFETIME_S), GREATEST_LIFETIME_S)


def _direct(name: str, address: ServerAddress) -> Target:
    """Steps 1, 2, 3.1 and 3.2: the name itself says where."""
    host = address.host[1:-1] if address.host.startswith("[") else address.host
    return Target(host, DEFAULT_PORT if address.port is None else address.port, host, name)


def in_order(records: Sequence[ServiceRecord], choose: Callable[[], float]) -> list[ServiceRecord]:
    """By priority, and within one by lot, the heavier the likelier (RFC 2782). `choose`: from 0 below 1."""
    ordered: list[ServiceRecord] = []
    for priority in sorted({record.priority for record in records}):
        left = sorted((r for r in records if r.priority == priority), key=lambda record: record.weight)
        while left:
            lot = choose() * sum(record.weight for record in left)
            chosen = left[-1]
            for record in left:
                lot -= record.weight
                if lot <= 0:
                    chosen = record
                    break
            left.remove(chosen)
            ordered.append(chosen)
    return ordered
