"""Registration tokens: make, list, revoke.

https://spec.matrix.org/latest/client-server-api/#token-authenticated-registration
"""

import re
import secrets

from homeserver.protocol.errors import InvalidParam, NotFound
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.registration_tokens import RegistrationToken

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)


class RegistrationTokens:
    """What administrators give to those who may register."""

    def __init__(self, database: Database, stores: AccountStores, clock: Clock) -> None:
        self._database = database
        self._store = stores.registration_tokens
        self._clock = clock

    async def create(
        self, token: str | None = None, *, uses_allowed: int | None = None, expires_ms: int | None = None
    ) -> RegistrationToken:
        """Make one; drawn at random unless named. Raises InvalidParam."""
        if token is None:
            token = secrets.token_urlsafe(12)
        if not _TOKEN.fullmatch(token):
            raise InvalidParam("A registration token is 1 to 64 of A-Z a-z 0-9 . _ ~ -")
        if uses_allowed is not None and uses_allowed < 1:
            raise InvalidParam(f"uses_allowed must be at least 1, not {uses_allowed}")
        if expires_ms is not None and expires_ms <= self._clock.now_ms():
            raise InvalidParam("The token would have expired already")
        made = RegistrationToken(token, uses_allowed, 0, 0, expires_ms)
        if not await self._database.write(self._store.add, made, now_ms=self._clock.now_ms()):
            raise InvalidParam(f"There is a registration token {token!r} already")
        return made

    async def tokens(self) -> list[RegistrationToken]:
        """All of them, oldest first."""
        return await self._database.read(self._store.tokens)

    async def token(self, token: str) -> RegistrationToken:
        """One of them. Raises NotFound."""
        found = await self._database.look_up(self._store.token, token)
        if found is None:
            raise NotFound(f"There is no registration token {token[:100]!r}")
        return found

    async def revoke(self, token: str) -> None:
        """Nobody registers with it from now on. Raises NotFound."""
        if not await self._database.write(self._store.remove, token):
            raise NotFound(f"There is no registration token {token[:100]!r}")

    async def is_valid(self, token: str) -> bool:
        """Would it let somebody register now?"""
        return await self._database.look_up(self._store.is_usable, token, now_ms=self._clock.now_ms())
