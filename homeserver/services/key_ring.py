"""The keys of other servers at a time: remembered, stored, fetched from themselves or from notaries.

https://spec.matrix.org/latest/server-server-api/#retrieving-server-keys
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from homeserver.protocol.errors import InvalidParam, MatrixError
from homeserver.protocol.event_signatures import (
    KeyUnknown,
    Wanted,
    claims_of,
    signers_of,
    verdicts,
)
from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.server_keys import (
    BadKeyDocument,
    KeyDocument,
    OldKey,
    PublishedKey,
    check_document,
    is_known_to_everybody,
    own_document,
)
from homeserver.protocol.server_names import split_server_name
from homeserver.protocol.signatures import (
    BadSignature,
    Proof,
    SigningKey,
    VerifyKey,
    signing_key_ids,
    verify_json,
)
from homeserver.remote.errors import RemoteError
from homeserver.runtime.clock import Clock
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.concurrency import FairLimit, TimedOut, gather, timeout
from homeserver.runtime.database import Database
from homeserver.runtime.dns import owner_of
from homeserver.runtime.memory import Memory
from homeserver.runtime.threads import Threads
from homeserver.runtime.verifiers import Verifiers
from homeserver.storage.server_keys import ServerKeyStore, StoredKey

__all__ = ["KeyRing", "KeySource", "KeyUnknown", "OwnKeys", "Wanted"]

logger = logging.getLogger(__name__)

MAX_SERVERS_IN_MEMORY = 20_000
FETCHES_AT_ONCE = 60
FETCHES_OF_ONE = 10
"""From servers that are likely somebody's together: many that hang must not keep all others waiting."""
ASK_AGAIN_S = 60.0
GREATEST_WAIT_S = 300.0
"""A server that cannot be asked for its keys is asked again after a minute, later after five."""
NOTARY_AGAIN_S = 600.0
NOTARY_BATCH = 100
NOTARY_FIRST = 10
"""When the keys of more servers are missing, a notary is asked before them: it knows those that are gone."""
SEARCH_S = 60.0
SEARCH_S_PER_SERVER = 0.5
"""A whole search may take so long: an answer waits for it, or the events of a room."""
OWN_VALIDITY_MS = 86_400_000
OWN_RENEWAL_S = 3_600.0
EVENTS_IN_THREADS = 20
EVENTS_PER_JOB = 100
FOREVER_MS = 2**62


class KeySource(Protocol):
    """Where documents come from: `homeserver.remote.server_keys`."""

    async def direct(self, server_name: ServerName) -> JsonObject:
        """The server's own word. Raises RemoteError."""

    async def from_notary(
        self, notary: ServerName, wanted: Mapping[ServerName, Mapping[str, int]]
    ) -> list[JsonObject]:
        """What a notary has. Raises RemoteError."""


class OwnKeys(NamedTuple):
    """What this server signs with, and what it signed with before."""

    server_name: ServerName
    key: SigningKey
    old_keys: Sequence[OldKey] = ()


class KeyRing:
    """Knows keys, and verifies with them."""

    def __init__(  # noqa: PLR0913 - all but five by keyword
        self,
        own: OwnKeys,
        source: KeySource,
        database: Database,
        store: ServerKeyStore,
        clock: Clock,
        *,
        notaries: Sequence[ServerName] = (),
        threads: Threads | None = None,
        verifiers: Verifiers | None = None,
    ) -> None:
        self._own = own
        self._source = source
        self._database = database
        self._store = store
        self._clock = clock
        self._notaries = [notary for notary in notaries if notary != own.server_name]
        self._threads = threads
        self._verifiers = verifiers
        self._known: OrderedDict[ServerName, dict[str, PublishedKey]] = OrderedDict()
        self._fetching: Coalescing[ServerName, None] = Coalescing()
        self._places: FairLimit[str] = FairLimit(FETCHES_AT_ONCE, FETCHES_OF_ONE)
        self._asked: Memory[ServerName, int] = Memory(clock, 4 * MAX_SERVERS_IN_MEMORY)
        self._failures: Memory[ServerName, int] = Memory(clock, 4 * MAX_SERVERS_IN_MEMORY)
        self._asked_notaries: Memory[ServerName, int] = Memory(clock, 4 * MAX_SERVERS_IN_MEMORY)
        self._followers: list[Callable[[ServerName], None]] = []
        self._own_document: tuple[JsonObject, float] | None = None
        self._keep_own_keys()

    def follow(self, follower: Callable[[ServerName], None]) -> None:
        """Told of a server when keys of it were learned."""
        self._followers.append(follower)

    # Keys

    def known_key(self, server_name: ServerName, key_id: str, at_ms: int | None) -> VerifyKey | None:
        """The key if it is in memory and valid at that time; nothing is read or fetched. For any thread."""
        keys = self._known.get(server_name)
        key = None if keys is None else keys.get(key_id)
        if key is None or (at_ms is not None and at_ms > key.valid_until_ms):
            return None
        return key.key

    async def verify_key(self, server_name: ServerName, key_id: str, at_ms: int | None) -> VerifyKey:
        """The key, valid at that time (ms since the epoch; None: at any). Raises KeyUnknown."""
        key = self.known_key(server_name, key_id, at_ms)
        if key is None:
            await self.find([Wanted(server_name, key_id, at_ms)])
            key = self.known_key(server_name, key_id, at_ms)
        if key is None:
            raise KeyUnknown(f"The key {key_id[:100]} of {server_name} is unknown, or was not valid then")
        return key

    async def find(self, wanted: Iterable[Wanted]) -> None:
        """Get keys into memory, as far as they can be had in time; raises nothing for those that cannot."""
        missing = [want for want in self._missing(wanted) if want.server_name != self._own.server_name]
        if not missing:
            return
        seconds = SEARCH_S + SEARCH_S_PER_SERVER * len({want.server_name for want in missing})
        try:
            await timeout(self._clock, seconds, self._search(missing))
        except TimedOut:
            servers = {want.server_name for want in self._missing(missing)}
            logger.info("No keys of %s within %g s", ", ".join(sorted(servers)[:10]), seconds)

    async def _search(self, missing: Sequence[Wanted]) -> None:
        """In the database, from the servers themselves, from notaries."""
        await self._load({want.server_name for want in missing})
        missing = self._missing(missing)
        servers = {want.server_name for want in missing}
        if len(servers) > NOTARY_FIRST:
            await self._ask_notaries(missing)
            missing = self._missing(missing)
            servers = {want.server_name for want in missing}
        if servers:
            await gather(*(self.refresh(server) for server in servers))
        unlisted = [  # what a server itself lists with too short a validity, a notary cannot make longer
            want
            for want in self._missing(missing)
            if want.key_id not in self._known.get(want.server_name, ())
        ]
        if unlisted:
            await self._ask_notaries(unlisted)

    async def refresh(self, server_name: ServerName) -> None:
        """Ask the server itself for its keys, unless that was done a moment ago. Raises nothing."""
        if self._asked.get(server_name) is None:
            await self._fetching.run(server_name, lambda: self._fetch(server_name))

    # Verification

    async def check_event(self, version: RoomVersion, pdu: Mapping[str, Json]) -> None:
        """Raises BadSignature or KeyUnknown unless all required servers have signed the event.

        Expects a PDU whose form has been checked (`parse_pdu`). Its content hash is not looked at.
        """
        (problem,) = await self.check_events(version, [pdu])
        if problem is not None:
            raise problem

    async def check_events(
        self, version: RoomVersion, pdus: Sequence[Mapping[str, Json]]
    ) -> list[MatrixError | None]:
        """As `check_event`, many at once: what is wrong with each, in order; None where nothing is."""
        claims = [claims_of(version, pdu) for pdu in pdus]
        await self.find(want for claim in claims for wants in claim.values() for want in wants)
        signed = [signers_of(claim, self.known_key) for claim in claims]
        if self._threads is None or len(pdus) < EVENTS_IN_THREADS:
            return verdicts(version, pdus, signed)
        jobs = []
        for start in range(0, len(pdus), EVENTS_PER_JOB):
            part = slice(start, start + EVENTS_PER_JOB)
            jobs.append(self._threads.run(verdicts, version, pdus[part], signed[part]))
        return [verdict for part in await gather(*jobs) for verdict in part]

    def prepare(self) -> None:
        """A large answer with many events to verify is on its way: have another core ready for them."""
        if self._verifiers is not None:
            self._verifiers.prepare()

    async def are_good(self, proofs: Sequence[Proof]) -> bool:
        """Many at once, on other cores. False may also mean that there are none, or they could not tell."""
        return self._verifiers is not None and await self._verifiers.are_good(proofs)

    async def check_json(
        self, obj: Mapping[str, Json], server_name: ServerName, *, at_ms: int | None = None
    ) -> None:
        """Raises BadSignature or KeyUnknown unless the server has signed the object."""
        key_ids = signing_key_ids(obj, server_name)
        if not key_ids:
            raise BadSignature(f"There is no signature by {server_name}")
        await self.find(Wanted(server_name, key_id, at_ms) for key_id in key_ids)
        keys = [self.known_key(server_name, key_id, at_ms) for key_id in key_ids]
        known = [key for key in keys if key is not None]
        if not known:
            raise KeyUnknown(f"The keys {', '.join(key_ids)[:200]} of {server_name} are unknown")
        for key in known:
            verify_json(obj, server_name, key)

    # Ourselves

    def own_document(self) -> JsonObject:
        """What GET /_matrix/key/v2/server answers: good for a day, made anew every hour."""
        now = self._clock.monotonic()
        if self._own_document is None or self._own_document[1] <= now:
            document = own_document(
                self._own.server_name,
                self._own.key,
                self._own.old_keys,
                valid_until_ms=self._clock.now_ms() + OWN_VALIDITY_MS,
            )
            self._own_document = (document, now + OWN_RENEWAL_S)
        return self._own_document[0]

    def _keep_own_keys(self) -> None:
        key = self._own.key.verify_key
        keys = {old.key.key_id: PublishedKey(old.key, old.expired_ms) for old in self._own.old_keys}
        keys[key.key_id] = PublishedKey(key, FOREVER_MS)
        self._known[self._own.server_name] = keys

    # Where keys come from

    def _missing(self, wanted: Iterable[Wanted]) -> list[Wanted]:
        return [want for want in wanted if self.known_key(*want) is None]

    async def _load(self, servers: Collection[ServerName]) -> None:
        """From the database, those servers that are not in memory."""
        absent = [server for server in servers if server not in self._known]
        if not absent:
            return
        rows = await self._database.read(self._store.of_servers, absent)
        found: dict[ServerName, dict[str, PublishedKey]] = {server: {} for server in absent}
        for row in rows:
            try:
                key = VerifyKey(row.key_id, row.public_key)
            except ValueError:
                continue
            if not is_known_to_everybody(key):
                found[row.server_name][row.key_id] = PublishedKey(key, row.valid_until_ms)
        for server, keys in found.items():
            self._known.setdefault(server, keys)
        self._forget_some(keep=servers)

    async def _fetch(self, server_name: ServerName) -> None:
        async with self._places.place(_owner_of(server_name)):
            try:
                document = await self._source.direct(server_name)
                checked = check_document(document, server_name, now_ms=self._clock.now_ms())
                await self._keep(checked)
            except (RemoteError, BadKeyDocument) as error:
                failures = min((self._failures.get(server_name) or 0) + 1, 10)
                self._failures.keep(server_name, failures, 4 * GREATEST_WAIT_S)
                self._asked.keep(server_name, 1, min(ASK_AGAIN_S * failures, GREATEST_WAIT_S))
                logger.info("No keys from %s: %s", server_name, error.message)
            else:
                self._failures.forget(server_name)
                self._asked.keep(server_name, 1, ASK_AGAIN_S)

    async def _ask_notaries(self, wanted: Collection[Wanted]) -> None:
        """Each notary in turn, until nothing is missing."""
        askable = [want for want in wanted if self._asked_notaries.get(want.server_name) is None]
        for want in askable:  # first: to check what a notary says, its own keys are looked for
            self._asked_notaries.keep(want.server_name, 1, NOTARY_AGAIN_S)
        for notary in self._notaries:
            by_server: dict[ServerName, dict[str, int]] = {}
            for want in self._missing(askable):
                if want.server_name != notary:
                    at_ms = self._clock.now_ms() if want.at_ms is None else want.at_ms
                    by_server.setdefault(want.server_name, {})[want.key_id] = at_ms
            servers = list(by_server)
            for start in range(0, len(servers), NOTARY_BATCH):
                batch = {server: by_server[server] for server in servers[start : start + NOTARY_BATCH]}
                await self._ask_notary(notary, batch)

    async def _ask_notary(self, notary: ServerName, wanted: Mapping[ServerName, Mapping[str, int]]) -> None:
        """A document counts only with the signatures of both its server and the notary."""
        try:
            documents = await self._source.from_notary(notary, wanted)
        except RemoteError as error:
            logger.warning("The notary %s does not answer: %s", notary, error.message)
            return
        for document in documents:
            server_name = document.get("server_name")
            if not isinstance(server_name, str) or server_name not in wanted:
                continue
            server = ServerName(server_name)
            try:
                await self.check_json(document, notary, at_ms=self._clock.now_ms())
                checked = check_document(document, server, now_ms=self._clock.now_ms())
            except MatrixError as error:
                logger.warning("The notary %s about %s: %s", notary, server, error.message)
            else:
                await self._keep(checked, only_new=True)

    async def _keep(self, checked: KeyDocument, *, only_new: bool = False) -> None:
        """Remember and store. `only_new`: hearsay, which replaces nothing that is good for longer."""
        await self._load([checked.server_name])
        known = self._known.setdefault(checked.server_name, {})
        fresh = {
            key_id: key
            for key_id, key in checked.keys.items()
            if not only_new or key_id not in known or key.valid_until_ms > known[key_id].valid_until_ms
        }
        known.update(fresh)
        self._forget_some(keep=[checked.server_name])
        if fresh:
            rows = [
                StoredKey(checked.server_name, key_id, key.key.key, key.valid_until_ms)
                for key_id, key in fresh.items()
            ]
            document = orjson.dumps(checked.document)
            await self._database.write(self._store.keep, rows, document, fetched_ms=self._clock.now_ms())
            for follower in self._followers:
                follower(checked.server_name)

    def _forget_some(self, *, keep: Collection[ServerName]) -> None:
        """Those known for longest go first; they are still in the database."""
        if len(self._known) <= MAX_SERVERS_IN_MEMORY:
            return
        kept = {self._own.server_name, *keep}
        for server in list(self._known):
            if len(self._known) <= MAX_SERVERS_IN_MEMORY:
                return
            if server not in kept:
                del self._known[server]


def _owner_of(server_name: ServerName) -> str:
    """As far as can be guessed; all addresses together."""
    try:
        address = split_server_name(server_name)
    except InvalidParam:
        return ""
    return "" if address.is_ip_literal else owner_of(address.host)
