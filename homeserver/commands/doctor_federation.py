"""`postroom doctor SERVER`: can we and that server reach and believe each other?

The server's own code is used, step by step, and each step is told: where its name leads, what is there,
whether its certificate and keys are good, and whether it believes our signature, for which it must fetch our
keys.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
from twisted.internet.defer import Deferred

from homeserver.app.federation import Outside, build_outside, policy_of
from homeserver.commands.connection_advice import NAME_SERVERS, advice_on, advice_on_name
from homeserver.commands.findings import Finding
from homeserver.config import Config
from homeserver.config.signing_key import UnusableSigningKey, read_signing_key
from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import ServerName
from homeserver.protocol.server_keys import BadKeyDocument, KeyDocument, check_document
from homeserver.protocol.server_names import split_server_name
from homeserver.protocol.signatures import SigningKey
from homeserver.remote.errors import RemoteError, RemoteRefused
from homeserver.remote.federation_requests import Effort, Identity, SignedRequests
from homeserver.remote.server_discovery import DEFAULT_PORT, SERVICES, ServerDiscovery
from homeserver.runtime.addresses import AddressGuard, PrivateAddress
from homeserver.runtime.clock import Clock
from homeserver.runtime.concurrency import run
from homeserver.runtime.dns import NameFailure
from homeserver.runtime.http_client import HttpAnswer, HttpFailure, HttpRequest, Target
from homeserver.runtime.reactor import install_reactor

TIMEOUT_S = 15.0
MAX_BYTES = 64 * 1024
GREATEST_OFFSET_S = 60
HTTP_OK = 200
GATEWAY_TROUBLE = (502, 503, 504)
NO_FILE = (
    "status 4",
    "Connection refused",
    "cannot be resolved",
    "could not be looked up",
    "no connection in time",
    "No answer within",
    "is a private address",
)
REDIRECTED = "it redirects to"
UNBELIEVABLE = "Nothing that it signs can be believed."

BELIEVED = Finding("signature", "ok", "it believes our signature: it could fetch our keys")


class Hopeless(Exception):
    """What comes after this step cannot work; the finding has been told."""


def examine(config: Config, server_name: str, tell: Callable[[Finding], object]) -> None:
    """Try the server out in a reactor of our own; each finding is told as soon as it is there."""
    reactor = install_reactor()
    failures: list[BaseException] = []

    async def examining() -> None:
        clock = Clock(reactor)
        outside = build_outside(config, reactor, clock)
        try:
            async for finding in findings(config, server_name, outside, clock):
                tell(finding)
        except Exception as error:
            failures.append(error)
        finally:
            outside.http.stop()
            reactor.stop()

    def begin() -> "Deferred[None]":
        return run(examining())

    reactor.callWhenRunning(begin)
    reactor.run()
    if failures:
        raise failures[0]


async def findings(
    config: Config, server_name: str, outside: Outside, clock: Clock
) -> AsyncIterator[Finding]:
    """All there is to tell about the server, in the order in which a request meets it."""
    try:
        split_server_name(server_name)
    except InvalidParam as error:
        yield Finding("name", "fail", error.message, "Give a server name, such as matrix.org.")
        return
    examination = Examination(config, ServerName(server_name), outside, clock)
    steps: Sequence[Callable[[], AsyncIterator[Finding]]] = (
        examination.policy,
        examination.well_known,
        examination.records,
        examination.addresses,
        examination.version,
        examination.keys,
        examination.signature,
    )
    try:
        for step in steps:
            async for finding in step():
                yield finding
    except Hopeless:
        return


class Examination:
    """One server, step by step."""

    def __init__(self, config: Config, server_name: ServerName, outside: Outside, clock: Clock) -> None:
        self._config = config
        self._server_name = server_name
        self._outside = outside
        self._clock = clock
        self._discovery = ServerDiscovery(outside.http, outside.resolver, clock)
        self._targets: list[Target] = []
        self._address = ""
        address = split_server_name(server_name)
        self._names_its_place = address.is_ip_literal or address.port is not None
        self._host = address.host

    async def policy(self) -> AsyncIterator[Finding]:
        """May we speak with it?"""
        if not policy_of(self._config).allows(self._server_name):
            advice = "See `enabled`, `allow` and `deny` in the section `federation`."
            yield Finding("policy", "fail", f"the configuration forbids {self._server_name}", advice)
            raise Hopeless

    async def well_known(self) -> AsyncIterator[Finding]:
        """Step 3 of server discovery."""
        if self._names_its_place:
            return
        url = f"https://{self._host}/.well-known/matrix/server"
        delegation = await self._discovery.delegation(self._host)
        if delegation.name is not None:
            delegated = split_server_name(delegation.name)
            self._names_its_place = delegated.is_ip_literal or delegated.port is not None
            yield Finding("well-known", "ok", f"{url} leads to {delegation.name}")
        elif REDIRECTED not in delegation.problem and any(words in delegation.problem for words in NO_FILE):
            yield Finding("well-known", "skip", f"{url}: {delegation.problem}")
        else:
            advice = "Servers pass over such a file: repair it, or take it away if none is needed."
            yield Finding("well-known", "warn", f"{url}: {delegation.problem}", advice)

    async def records(self) -> AsyncIterator[Finding]:
        """The rest of server discovery."""
        try:
            self._targets = await self._discovery.targets(self._server_name)
        except HttpFailure as failure:
            yield Finding("SRV", "fail", str(failure))
            raise Hopeless from failure
        by_records = [target for target in self._targets if target.tls_name not in (None, target.host)]
        for target in by_records:
            yield Finding("SRV", "ok", f"{target.tls_name} is at {target.host}:{target.port}")
        if not by_records and not self._names_its_place:
            yield await self._of_no_records(self._targets[0].host)

    async def _of_no_records(self, host: str) -> Finding:
        """There are none, as far as could be told: the server goes on all the same."""
        for service in SERVICES:
            try:
                await self._outside.resolver.services(f"{service}.{host}")
            except NameFailure as failure:
                return Finding(
                    "SRV", "warn", f"{failure}; without any, {host}:{DEFAULT_PORT} it is", NAME_SERVERS
                )
        return Finding("SRV", "skip", f"none: {host}:{DEFAULT_PORT} it is")

    async def addresses(self) -> AsyncIterator[Finding]:
        """What the names resolve to, and whether we connect there."""
        guard = AddressGuard(allow_private=self._config.federation.allow_private_addresses)
        usable, refused = 0, 0
        for host in dict.fromkeys(target.host for target in self._targets):
            try:
                found = await self._outside.resolver.addresses(host)
            except NameFailure as failure:
                yield Finding("address", "fail", str(failure), advice_on_name(str(failure), host))
                continue
            for address in found:
                try:
                    guard.check(address)
                except PrivateAddress as error:
                    refused += 1
                    advice = "See `allow_private_addresses` in the section `federation`."
                    yield Finding("address", "warn", f"{host}: {error}, and those are refused", advice)
                else:
                    usable += 1
                    self._address = self._address or address
                    yield Finding("address", "ok", f"{host} is at {address}")
        if refused and not usable:
            yield Finding("address", "fail", f"{self._server_name} has no address to connect to")
        if not usable:
            raise Hopeless

    async def version(self) -> AsyncIterator[Finding]:
        """Connection, certificate, HTTP; and what software it is."""
        try:
            answer = await self._get("/_matrix/federation/v1/version")
        except HttpFailure as failure:
            advice = advice_on(str(failure), self._targets[0], self._address)
            yield Finding("connection", "fail", str(failure), advice)
            raise Hopeless from failure
        yield Finding(
            "connection", "ok", f"TLS and HTTP work; the certificate is for {self._certificate_name}"
        )
        content = _object(answer.body).get("server")
        software = content if isinstance(content, dict) else {}
        if answer.status == 200 and software:
            said = f"{software.get('name', 'unnamed')} {software.get('version', '')}"
            yield Finding("software", "ok", said[:100].strip())
        else:
            says = f"does not tell its version (status {answer.status})"
            yield Finding("software", "warn", says, _advice_on_status(answer))
        offset_s = self._offset_s(answer)
        if abs(offset_s) > GREATEST_OFFSET_S:
            which = "ahead of" if offset_s > 0 else "behind"
            yield Finding(
                "clock", "warn", f"its clock is {abs(offset_s):.0f} s {which} ours",
                "One of the two is wrong: `postroom doctor` looks at ours. Keys may count as expired.",
            )  # fmt: skip

    def _offset_s(self, answer: HttpAnswer) -> float:
        """How far its clock is ahead of ours, to a second; 0 when it does not tell."""
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except ValueError:
            return 0.0
        return theirs - self._clock.now_ms() / 1000

    async def keys(self) -> AsyncIterator[Finding]:
        """Its own word about its keys."""
        try:
            answer = await self._get("/_matrix/key/v2/server")
        except HttpFailure as failure:
            yield Finding("keys", "fail", str(failure), UNBELIEVABLE)
            raise Hopeless from failure
        stated = _object(answer.body).get("server_name")
        if answer.status != HTTP_OK or not isinstance(stated, str):
            says = f"there are none at /_matrix/key/v2/server (status {answer.status})"
            yield Finding("keys", "fail", says, _advice_on_status(answer) or UNBELIEVABLE)
            raise Hopeless
        if stated != self._server_name:
            advice = "The name leads to another server: look at its well-known file, SRV record and proxy."
            yield Finding("keys", "fail", f"they are those of {stated[:255]}", advice)
            raise Hopeless
        try:
            document = check_document(_object(answer.body), self._server_name, now_ms=self._clock.now_ms())
        except BadKeyDocument as failure:
            yield Finding("keys", "fail", str(failure), UNBELIEVABLE)
            raise Hopeless from failure
        hours = (document.valid_until_ms - self._clock.now_ms()) / 3_600_000
        names = ", ".join(document.keys)
        if hours <= 0:
            advice = "Is its clock right, and ours? Does a proxy there answer from an old cache?"
            yield Finding("keys", "fail", f"{names} expired {-hours:.0f} hours ago", advice)
        else:
            yield Finding("keys", "ok", f"{names}, good for {hours:.0f} hours")
        if self._server_name == self._config.server_name:
            yield self._are_they_ours(document)

    async def signature(self) -> AsyncIterator[Finding]:
        """Ask something that only a server that believes our signature answers."""
        if self._server_name == self._config.server_name:
            return
        try:
            key = read_signing_key(self._config.signing_key)
        except (OSError, UnusableSigningKey) as error:
            yield Finding("signature", "skip", f"our signing key cannot be read: {error}")
            return
        try:
            await self._ask_as_server(key)
        except RemoteRefused as refusal:
            yield self._of_refusal(refusal)
        except RemoteError as error:
            yield Finding("signature", "fail", error.message)
        else:
            yield BELIEVED

    def _of_refusal(self, refusal: RemoteRefused) -> Finding:
        """That there is no such user is an answer to somebody who is believed."""
        if refusal.remote_status == 401:
            advice = f"It must reach us: try `postroom doctor {self._config.server_name}` from elsewhere."
            return Finding("signature", "fail", f"it does not believe us: {refusal.message}", advice)
        if refusal.is_unknown_endpoint or refusal.remote_status >= 500:
            return Finding("signature", "warn", f"cannot be tested: {refusal.message}")
        return BELIEVED

    async def _ask_as_server(self, key: SigningKey) -> None:
        identity = Identity(self._config.server_name, key, policy_of(self._config))
        requests = SignedRequests(identity, self._outside.http, self._discovery, self._clock)
        query = {"user_id": f"@postroom-doctor:{self._server_name}"}
        path = "/_matrix/federation/v1/query/profile"
        effort = Effort(timeout_s=2 * TIMEOUT_S, max_bytes=MAX_BYTES)
        await requests.json(self._server_name, "GET", path, query=query, effort=effort)

    def _are_they_ours(self, document: KeyDocument) -> Finding:
        try:
            own = read_signing_key(self._config.signing_key).verify_key
        except (OSError, UnusableSigningKey) as error:
            return Finding("keys", "warn", f"our own cannot be read: {error}")
        found = document.keys.get(own.key_id)
        if found is not None and found.key.key == own.key:
            return Finding("keys", "ok", "they are ours: the world finds this server")
        return Finding("keys", "fail", "they are not ours: the name leads to another server")

    def _get(self, path: str) -> Coroutine[Any, Any, HttpAnswer]:
        request = HttpRequest("GET", path, {"User-Agent": "postroom-doctor"})
        return self._outside.http.send(request, self._targets, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)

    @property
    def _certificate_name(self) -> str:
        return self._targets[0].tls_name or ""


def _advice_on_status(answer: HttpAnswer) -> str:
    """What a status tells of the way to the homeserver, where it is none of the homeserver's own."""
    if answer.status in GATEWAY_TROUBLE:
        return "The proxy there does not reach its homeserver: is that running?"
    if answer.status != HTTP_OK and "errcode" not in _object(answer.body):
        return "Something else than a homeserver answers: the proxy there must pass /_matrix/ on, unchanged."
    return ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
