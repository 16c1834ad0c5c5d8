"""Register: for people, as far as the operator lets them, and for guests.

https://spec.matrix.org/latest/client-server-api/#legacy-account-registration
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from homeserver.protocol import login_stages
from homeserver.protocol.errors import Forbidden, GuestAccessForbidden, MissingParam
from homeserver.protocol.ids import UserId
from homeserver.protocol.login_stages import Flow
from homeserver.runtime.addresses import network_of
from homeserver.services.accounts.new_accounts import NewAccounts, WantedAccount
from homeserver.services.accounts.registration_tokens import RegistrationTokens
from homeserver.services.accounts.sessions import DeviceWish, Grant, Sessions
from homeserver.services.accounts.stages import Action, Stages
from homeserver.services.rate_limits import RateLimits

_FLOWS: dict[str, tuple[Flow, ...]] = {
    "open": ((login_stages.DUMMY,),),
    "token": ((login_stages.REGISTRATION_TOKEN,),),
}


class RegistrationClosed(Forbidden):
    default = "Registration is closed on this server: ask its operator for an account"


@dataclass(frozen=True, slots=True)
class RegistrationPolicy:
    """Who may make themselves an account."""

    mode: Literal["closed", "token", "open"] = "closed"
    guests: bool = False


@dataclass(frozen=True, slots=True)
class Application:
    """What somebody who registers asks for. Without `session` they do not want to be logged in yet."""

    name: str | None
    password: str | None = field(repr=False)
    session: DeviceWish | None
    guest_token: str | None = field(default=None, repr=False)
    """The access token of a guest who wants to become a full account."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A new account, and the session if one was wanted."""

    user_id: UserId
    grant: Grant | None


class Registration:
    """The public door to an account."""

    def __init__(
        self,
        new_accounts: NewAccounts,
        sessions: Sessions,
        stages: Stages,
        tokens: RegistrationTokens,
        limits: RateLimits,
        policy: RegistrationPolicy,
    ) -> None:
        self._new_accounts = new_accounts
        self._sessions = sessions
        self._stages = stages
        self._tokens = tokens
        self._limits = limits
        self._policy = policy

    async def register(self, application: Application, action: Action) -> Registered:
        """Make an account once the stages are done.

        Raises RegistrationClosed, StagesNeeded, UserInUse, InvalidUsername, ExclusiveNamespace, WeakPassword,
        MissingParam. A name is checked before the first stage and again when the account is made.
        """
        flows = self._open_flows()
        user_id = None if application.name is None else self._new_accounts.user_id_for(application.name)
        if application.password is not None:
            self._new_accounts.check_password(application.password)
        if application.guest_token is not None:
            await self._require_guest(application.guest_token, user_id)
        elif user_id is not None and action.auth is None:
            await self._new_accounts.require_free(user_id)
        proof = await self._stages.prove(action, flows)
        if application.password is None:
            raise MissingParam("A password is needed")
        self._limits.spend("registrations", network_of(action.ip))
        settle = partial(self._stages.settle, proof=proof)
        if application.guest_token is not None and user_id is not None:
            grant = await self._new_accounts.upgrade_guest(
                user_id, application.password, application.session, settle
            )
            return Registered(user_id, grant)
        wanted = WantedAccount(
            user_id or self._new_accounts.random_user_id(),
            application.password,
            display_name=application.name,
            session=application.session,
        )
        return Registered(wanted.user_id, await self._new_accounts.create(wanted, settle))

    async def register_guest(self, *, device_name: str | None, ip: str) -> Registered:
        """An account without name and password. Raises GuestAccessForbidden where guests are not wanted."""
        if not self._policy.guests:
            raise GuestAccessForbidden("Guests are not allowed on this server")
        self._limits.spend("registrations", network_of(ip))
        session = DeviceWish(display_name=device_name)
        wanted = WantedAccount(self._new_accounts.random_user_id(), is_guest=True, session=session)
        return Registered(wanted.user_id, await self._new_accounts.create(wanted))

    async def check_available(self, name: str) -> None:
        """Could somebody register under this name? Raises what `register` would."""
        self._open_flows()
        await self._new_accounts.require_free(self._new_accounts.user_id_for(name))

    async def is_token_valid(self, token: str) -> bool:
        """Would this registration token do? RegistrationClosed where none does."""
        self._open_flows()
        return await self._tokens.is_valid(token)

    async def _require_guest(self, token: str, user_id: UserId | None) -> None:
        """Is it the token of the guest of this name? Guests who become full accounts keep it."""
        guest = await self._sessions.lookup(token)
        if not guest.is_guest or guest.user_id != user_id:
            raise Forbidden("guest_access_token must be a guest's, and username the guest's name")

    def _open_flows(self) -> tuple[Flow, ...]:
        flows = _FLOWS.get(self._policy.mode)
        if flows is None:
            raise RegistrationClosed
        return flows
