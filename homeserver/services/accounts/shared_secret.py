"""Register with the secret from the configuration: how tools of other homeservers make accounts here too.

The door is Synapse's: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

import hmac
import secrets
from dataclasses import dataclass, field

from homeserver.protocol.errors import Forbidden, MatrixError
from homeserver.runtime.clock import Clock
from homeserver.services.accounts.new_accounts import NewAccounts, WantedAccount
from homeserver.services.accounts.registration import Registered
from homeserver.services.accounts.sessions import DeviceWish

NONCE_LIFETIME_S = 60
MAX_NONCES = 1000


class SharedSecretUnset(MatrixError):
    status, default = 400, "Registration with a shared secret is not enabled on this server"


class BadNonce(MatrixError):
    status, default = 400, "This nonce is unknown, used or too old: ask for another"


@dataclass(frozen=True, slots=True)
class SignedApplication:
    """An account to be made, and the HMAC-SHA1 over its parts, in hex."""

    nonce: str
    name: str
    password: str = field(repr=False)
    mac: str
    is_admin: bool = False
    user_type: str | None = None
    display_name: str | None = None
    session: DeviceWish | None = None

    def signed_parts(self) -> bytes:
        """What the MAC is made over."""
        parts = [self.nonce, self.name, self.password, "admin" if self.is_admin else "notadmin"]
        if self.user_type:
            parts.append(self.user_type)
        return b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)


class SharedSecretRegistration:
    """Makes accounts for whoever knows the secret. Nonces live in memory, for a minute."""

    def __init__(self, new_accounts: NewAccounts, clock: Clock, shared_secret: str | None) -> None:
        self._new_accounts = new_accounts
        self._clock = clock
        self._secret = shared_secret
        self._nonces: dict[str, float] = {}

    def nonce(self) -> str:
        """For one registration within a minute. Raises SharedSecretUnset."""
        self._required_secret()
        self._forget_old_nonces()
        nonce = secrets.token_hex(32)
        self._nonces[nonce] = self._clock.monotonic() + NONCE_LIFETIME_S
        return nonce

    async def register(self, application: SignedApplication) -> Registered:
        """Make the account. Raises SharedSecretUnset, BadNonce, Forbidden and what NewAccounts raises."""
        secret = self._required_secret()
        self._forget_old_nonces()
        if self._nonces.pop(application.nonce, None) is None:
            raise BadNonce
        mac = hmac.new(secret.encode(), application.signed_parts(), "sha1").hexdigest()
        if not hmac.compare_digest(mac.encode(), application.mac.lower().encode("utf-8", "surrogatepass")):
            raise Forbidden("The MAC is wrong: it is made with another secret or over other parts")
        wanted = WantedAccount(
            self._new_accounts.user_id_for(application.name, is_reserved_ok=True),
            application.password,
            display_name=application.display_name or application.name,
            is_admin=application.is_admin,
            session=application.session,
        )
        return Registered(wanted.user_id, await self._new_accounts.create(wanted))

    def _required_secret(self) -> str:
        if not self._secret:
            raise SharedSecretUnset
        return self._secret

    def _forget_old_nonces(self) -> None:
        """Nonces stand in the order in which they end."""
        now = self._clock.monotonic()
        while self._nonces:
            oldest = next(iter(self._nonces))
            if self._nonces[oldest] > now and len(self._nonces) < MAX_NONCES:
                break
            del self._nonces[oldest]
