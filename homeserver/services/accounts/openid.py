"""OpenID tokens: a user proves to another service who they are, without giving it an access token.

https://spec.matrix.org/latest/client-server-api/#openid
"""

from homeserver.protocol.errors import UnknownToken
from homeserver.protocol.ids import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.services.accounts.tokens import hash_of, new_token
from homeserver.storage.account_stores import AccountStores

LIFETIME_S = 3600


class OpenId:
    """Issues tokens and, for the federation API, says whose they are."""

    def __init__(self, database: Database, stores: AccountStores, clock: Clock) -> None:
        self._database = database
        self._tokens = stores.purpose_tokens
        self._clock = clock

    async def issue(self, user_id: UserId) -> str:
        """A token that is good for LIFETIME_S seconds."""
        token, expires_ms = new_token("pso"), self._clock.now_ms() + LIFETIME_S * 1000
        await self._database.write(self._tokens.add, hash_of(token), "openid", user_id, expires_ms=expires_ms)
        return token

    async def user_of(self, token: str) -> UserId:
        """Whose token it is. Raises UnknownToken."""
        found = await self._database.look_up(self._tokens.token, hash_of(token), "openid")
        if found is None or found.expires_ms <= self._clock.now_ms():
            raise UnknownToken("The OpenID token is unknown or has expired")
        return found.user_id
