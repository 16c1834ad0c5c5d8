"""Run the stages that an action asks for before it happens (user-interactive authentication).

`prove` raises StagesNeeded, whose body is the 401, until all stages of a flow are done; then the action calls
`settle` in its own transaction, so that a proof serves once, and only if the action succeeds.

A session is bound to method, path and user, and to the body from the first completed stage on: clients may
ask for the flows with an empty body first. It is stored from then on, too; before, its ID carries a seal. https://spec.matrix.org/latest/client-server-api/#user-interactive-authentication-api
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from homeserver.protocol import login_stages
from homeserver.protocol.errors import BadJson, Forbidden, LimitExceeded, MatrixError, MissingParam
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.login_stages import Attempt, Flow, StageSession, StagesNeeded
from homeserver.runtime.addresses import network_of
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.credentials import Credentials, WrongCredentials
from homeserver.services.accounts.tokens import hash_of, new_token
from homeserver.services.rate_limits import RateLimits
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.login_sessions import LoginSession

LIFETIME_MS = 30 * 60 * 1000

PASSWORD_ONLY: Sequence[Flow] = ((login_stages.PASSWORD,),)


@dataclass(frozen=True, slots=True)
class Action:
    """The request that wants proof. `body` is without `auth`; `user_id` is None when nobody is signed in."""

    method: str
    path: str
    body: JsonObject = field(repr=False)
    auth: Json = field(repr=False)
    user_id: UserId | None
    ip: str

    @property
    def purpose(self) -> str:
        return f"{self.method} {self.path} {self.user_id or ''}".rstrip()


@dataclass(frozen=True, slots=True)
class Proof:
    """All stages are done. `user_id`: whose password was given."""

    session_hash: bytes | None = None
    user_id: UserId | None = None
    registration_token: str | None = None
    token_is_reserved: bool = False


Check = Callable[[Attempt, Action], Awaitable[Json]]
"""Runs one stage: what it leaves for the action, or a MatrixError raised."""


class Stages:
    """Sessions of authentication, and the stages this server knows."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        clock: Clock,
        credentials: Credentials,
        limits: RateLimits,
    ) -> None:
        self._database = database
        self._store = stores.login_sessions
        self._tokens = stores.registration_tokens
        self._clock = clock
        self._credentials = credentials
        self._limits = limits
        self._key = secrets.token_bytes(32)
        self._checks: dict[str, Check] = {
            login_stages.DUMMY: _check_nothing,
            login_stages.PASSWORD: self._check_password,
            login_stages.REGISTRATION_TOKEN: self._check_registration_token,
        }

    async def prove(self, action: Action, flows: Sequence[Flow]) -> Proof:
        """Proof that all stages of a flow are done. Raises StagesNeeded, Forbidden, LimitExceeded."""
        attempt = login_stages.parse_attempt(action.auth)
        if attempt is None or attempt.session_id is None:
            session, stored = self._begin(action, flows), None
        else:
            session, stored = await self._resume(attempt.session_id, action, flows)
        if attempt is None or attempt.stage is None:
            raise StagesNeeded(session)
        session.require_next(attempt.stage)
        try:
            answer = await self._run(attempt.stage, attempt, action)
        except LimitExceeded:
            raise
        except MatrixError as refusal:
            raise StagesNeeded(session, refusal) from None
        done = session.complete(attempt.stage, answer)
        if done.is_complete:
            return _proof(done, stored)
        await self._database.write(self._advance, done, stored, _body_hash(session, action), attempt.stage)
        raise StagesNeeded(done)

    def settle(self, txn: Transaction, proof: Proof) -> None:
        """The action happens in this transaction and uses the proof up. Raises Forbidden if it was before."""
        if proof.session_hash is not None and not self._store.remove(txn, proof.session_hash):
            raise Forbidden("This authentication has been used already: start again")
        if proof.registration_token is None:
            return
        if proof.token_is_reserved:
            self._tokens.use_reserved(txn, proof.registration_token)
        elif not self._tokens.use(txn, proof.registration_token, now_ms=self._clock.now_ms()):
            raise Forbidden("The registration token has just been used up")

    async def remove_expired(self) -> None:
        """Forget sessions nobody finished; uses of registration tokens that they held become free again."""
        await self._database.write(self._remove_expired, self._clock.now_ms())

    def _remove_expired(self, txn: Transaction, now_ms: int) -> None:
        for token in self._store.remove_expired(txn, now_ms=now_ms):
            self._tokens.release(txn, token)

    def _begin(self, action: Action, flows: Sequence[Flow]) -> StageSession:
        """Nothing is stored while no stage is done: asking for the flows costs the server nothing."""
        session_id = f"{new_token('psu')}.{self._clock.now_ms() + LIFETIME_MS:x}"
        return login_stages.begin(self._sealed(session_id, action), action.purpose, flows=flows)

    def _sealed(self, session_id: str, action: Action) -> str:
        sealed = f"{session_id} {action.purpose}".encode("utf-8", "surrogatepass")
        seal = hmac.digest(self._key, sealed, "sha256")
        return f"{session_id}.{seal.hex()[:32]}"

    def _is_ours(self, session_id: str, action: Action) -> bool:
        """Did this process begin it, for this action, and not too long ago?"""
        inner, _, _ = session_id.rpartition(".")
        sealed = self._sealed(inner, action).encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(sealed, session_id.encode("utf-8", "surrogatepass")):
            return False
        return int(inner.rpartition(".")[2], 16) > self._clock.now_ms()

    async def _resume(
        self, session_id: str, action: Action, flows: Sequence[Flow]
    ) -> tuple[StageSession, LoginSession | None]:
        stored = await self._database.look_up(self._store.session, hash_of(session_id))
        if stored is None and self._is_ours(session_id, action):
            return login_stages.begin(session_id, action.purpose, flows=flows), None
        if stored is None or stored.expires_ms <= self._clock.now_ms():
            unknown = Forbidden("This authentication session is unknown, or for something else: start again")
            raise StagesNeeded(self._begin(action, flows), unknown)
        session = replace(StageSession.from_json(orjson.loads(stored.state)), session_id=session_id)
        session.require_purpose(action.purpose)
        if stored.body_hash != _body_hash(session, action):
            raise Forbidden("The request has changed since its authentication began: start again")
        return session, stored

    def _advance(
        self, txn: Transaction, done: StageSession, stored: LoginSession | None, body_hash: bytes, stage: str
    ) -> None:
        reserved = None if stored is None else stored.reserved_token
        if stage == login_stages.REGISTRATION_TOKEN:
            reserved = str(done.answers[stage])
            if not self._tokens.reserve(txn, reserved, now_ms=self._clock.now_ms()):
                raise Forbidden("The registration token has just been used up")
        expires_ms = self._clock.now_ms() + LIFETIME_MS
        session = LoginSession(_state(done), body_hash, reserved, expires_ms)
        if stored is None:
            self._store.add(txn, hash_of(done.session_id), session)
        else:
            self._store.advance(txn, hash_of(done.session_id), session)

    async def _run(self, stage: str, attempt: Attempt, action: Action) -> Json:
        check = self._checks.get(stage)
        if check is None:
            raise Forbidden(f"{stage[:100]} is not supported here")
        return await check(attempt, action)

    async def _check_password(self, attempt: Attempt, action: Action) -> Json:
        """The answer is the user ID whose password was given: the requester's, if somebody is signed in."""
        name, password = name_in(attempt.fields), attempt.fields.get("password")
        if not isinstance(password, str):
            raise MissingParam("auth.password is missing")
        if name is None:
            name = action.user_id
        if name is None:
            raise MissingParam("auth.identifier is missing")
        named = self._credentials.user_named(name)
        if action.user_id is not None and (named or "").lower() != action.user_id.lower():
            raise WrongCredentials(f"Give the password of {action.user_id}")
        checked = await self._credentials.check(name, password, ip=action.ip)
        return checked.account.user_id

    async def _check_registration_token(self, attempt: Attempt, action: Action) -> Json:
        """The answer is the token."""
        token = attempt.fields.get("token")
        if not isinstance(token, str):
            raise MissingParam("auth.token is missing")
        self._limits.spend("registration_token_checks", network_of(action.ip))
        if not await self._database.look_up(self._tokens.is_usable, token, now_ms=self._clock.now_ms()):
            raise Forbidden("The registration token is unknown, used up or expired")
        return token


async def _check_nothing(attempt: Attempt, action: Action) -> Json:
    return None


def name_in(fields: Mapping[str, Json]) -> str | None:
    """Whom `identifier` of type m.id.user, or the older `user`, names. Raises BadJson, Forbidden."""
    identifier = fields.get("identifier")
    if identifier is None:
        name = fields.get("user")
    elif not isinstance(identifier, dict):
        raise BadJson("identifier must be an object")
    elif identifier.get("type") != "m.id.user":
        raise WrongCredentials("Only user IDs and user names identify accounts here (m.id.user)")
    else:
        name = identifier.get("user")
        if name is None:
            raise MissingParam("identifier.user is missing")
    if name is not None and not isinstance(name, str):
        raise BadJson("The user must be a string")
    return name


def _state(session: StageSession) -> bytes:
    return orjson.dumps(replace(session, session_id="").to_json())


def _body_hash(session: StageSession, action: Action) -> bytes:
    body = orjson.dumps(action.body, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(session.session_id.encode(), body, "sha256")


def _proof(done: StageSession, stored: LoginSession | None) -> Proof:
    user_id = done.answers.get(login_stages.PASSWORD)
    token = done.answers.get(login_stages.REGISTRATION_TOKEN)
    return Proof(
        None if stored is None else hash_of(done.session_id),
        UserId(user_id) if isinstance(user_id, str) else None,
        token if isinstance(token, str) else None,
        token_is_reserved=stored is not None and stored.reserved_token is not None,
    )
