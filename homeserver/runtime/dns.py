"""What a name means: addresses from the operating system, SRV records from its name servers.

Answers are remembered for a while, bad news too. Twisted's DNS client is imported when the first SRV record
is looked for.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import TimeoutError as NoAnswer

from homeserver.runtime.addresses import is_ip_address
from homeserver.runtime.clock import Clock
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.concurrency import FairLimit, TimedOut, timeout
from homeserver.runtime.memory import Memory
from homeserver.runtime.threads import Threads

ADDRESS_TTL_S = 300.0
"""The operating system does not tell how long an address is good."""
UNKNOWN_TTL_S = 60.0
NO_RECORD_TTL_S = 600.0
FAILURE_TTL_S = 30.0
LEAST_TTL_S, GREATEST_TTL_S = 60.0, 86_400.0
LOOK_UP_S = 10.0
LOOK_UPS_AT_ONCE = 16
LOOK_UPS_OF_ONE = 3
"""Of names that are likely somebody's together: name servers that do not answer must not stop all others."""
MAX_REMEMBERED = 20_000
MAX_ADDRESSES = 16
MAX_RECORDS = 20
SRV_TIMEOUTS_S = (1, 2, 4)


class NameFailure(Exception):
    """The name has no address, or nobody could be asked."""


class ServiceRecord(NamedTuple):
    """An SRV record (RFC 2782). A target of "" says that the service is decidedly not there."""

    priority: int
    weight: int
    port: int
    target: str


class Resolver(Protocol):
    """Looks names up. Tests bring their own."""

    async def addresses(self, host: str) -> Sequence[str]:
        """IP addresses to try in turn; an IP address stands for itself. Raises NameFailure."""

    async def services(self, name: str) -> Sequence[ServiceRecord]:
        """The SRV records of a name such as _matrix-fed._tcp.example.org, none if there are none.

        Raises NameFailure when nobody could be asked.
        """


class SystemResolver:
    """The machine's own way to look names up, /etc/hosts included."""

    def __init__(
        self,
        reactor: object,
        clock: Clock,
        threads: Threads,
        *,
        look_up: Callable[[str], list[str]] | None = None,
        ask_services: Callable[[str], Any] | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._threads = threads
        self._look_up = look_up or addresses_of
        self._ask_services = ask_services or self._ask_name_servers
        self._addresses: Memory[str, list[str] | NameFailure] = Memory(clock, MAX_REMEMBERED)
        self._services: Memory[str, list[ServiceRecord] | NameFailure] = Memory(clock, MAX_REMEMBERED)
        # The operating system cannot be interrupted: who has given up still has a thread.
        self._asking_addresses: Coalescing[str, list[str]] = Coalescing(goes_on_alone=True)
        self._places: FairLimit[str] = FairLimit(LOOK_UPS_AT_ONCE, LOOK_UPS_OF_ONE)
        self._asking_services: Coalescing[str, list[ServiceRecord]] = Coalescing()
        self._client: Any = None

    async def addresses(self, host: str) -> Sequence[str]:
        """As Resolver says."""
        if is_ip_address(host):
            return [host]
        known = self._addresses.get(host)
        if known is None:
            return await self._ask_system(host)
        if isinstance(known, NameFailure):
            raise known
        return known

    async def services(self, name: str) -> Sequence[ServiceRecord]:
        """As Resolver says."""
        known = self._services.get(name)
        if known is None:
            return await self._asking_services.run(name, lambda: self._find_services(name))
        if isinstance(known, NameFailure):
            raise known
        return known

    async def _ask_system(self, host: str) -> list[str]:
        give_up_at = self._clock.monotonic() + LOOK_UP_S
        asking = self._asking_addresses.run(host, lambda: self._find_addresses(host, give_up_at))
        try:
            return await timeout(self._clock, LOOK_UP_S, asking)
        except TimedOut:
            failure = _too_slow(host)
            self._addresses.keep(host, failure, FAILURE_TTL_S)
            raise failure from None

    async def _find_addresses(self, host: str, give_up_at: float) -> list[str]:
        async with self._places.place(owner_of(host)):
            if self._clock.monotonic() >= give_up_at:
                raise _too_slow(host)
            try:
                found = await self._threads.run(self._look_up, host)
            except NameFailure as failure:
                self._addresses.keep(host, failure, UNKNOWN_TTL_S)
                raise
        self._addresses.keep(host, found, ADDRESS_TTL_S)
        return found

    async def _find_services(self, name: str) -> list[ServiceRecord]:
        try:
            records, ttl_s = await self._ask_services(name)
        except NameFailure as failure:
            self._services.keep(name, failure, FAILURE_TTL_S)
            raise
        records = records[:MAX_RECORDS]
        seconds = min(max(ttl_s, LEAST_TTL_S), GREATEST_TTL_S) if records else NO_RECORD_TTL_S
        self._services.keep(name, records, seconds)
        return list(records)

    async def _ask_name_servers(self, name: str) -> tuple[list[ServiceRecord], float]:
        """The records, and for how many seconds they are good."""
        from twisted.names import dns, error  # noqa: PLC0415 - see above

        try:
            answers, _, _ = await self._dns_client().lookupService(name, SRV_TIMEOUTS_S)
        except (error.DNSNameError, error.AuthoritativeDomainError):
            return [], NO_RECORD_TTL_S
        except (error.DomainError, error.ResolverError, NoAnswer, OSError) as failure:
            raise NameFailure(f"No name server tells about {name}: {type(failure).__name__}") from None
        records = [
            (
                ServiceRecord(
                    answer.payload.priority,
                    answer.payload.weight,
                    answer.payload.port,
                    answer.payload.target.name.decode("ascii", "replace").rstrip("."),
                ),
                answer.ttl,
            )
            for answer in answers
            if answer.type == dns.SRV and answer.payload is not None
        ]
        return [record for record, _ in records], min((ttl for _, ttl in records), default=NO_RECORD_TTL_S)

    def _dns_client(self) -> Any:
        if self._client is None:
            from twisted.names import client  # noqa: PLC0415 - see above

            self._client = client.Resolver(  # type: ignore[no-untyped-call]
                resolv="/etc/resolv.conf", reactor=self._reactor
            )
        return self._client


def owner_of(host: str) -> str:
    """Whose host it is, as a guess: the end of the domain."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def _too_slow(host: str) -> NameFailure:
    return NameFailure(f"{host} could not be looked up within {LOOK_UP_S:g} s")


def addresses_of(host: str) -> list[str]:
    """Ask the operating system; may take long. Raises NameFailure."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise NameFailure(f"{host} cannot be resolved: {reason}") from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    return addresses[:MAX_ADDRESSES]
