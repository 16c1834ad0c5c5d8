"""Profiles of users of other servers: asked for when somebody looks, and remembered for a while.

https://spec.matrix.org/latest/server-server-api/#get_matrixfederationv1queryprofile
"""

import orjson

from homeserver.protocol.errors import NotFound
from homeserver.protocol.ids import UserId, domain_of
from homeserver.protocol.json_values import JsonObject
from homeserver.remote.errors import RemoteError, RemoteMisbehaved, RemoteRefused
from homeserver.remote.federation import FederationClient
from homeserver.runtime.clock import Clock
from homeserver.runtime.coalescing import Coalescing
from homeserver.runtime.memory import Memory

MAX_PROFILE_BYTES = 65_536
MOST_REMEMBERED = 2_000
MOST_REMEMBERED_BYTES = 4 * 1024 * 1024
REMEMBERED_S = 300.0
REFUSAL_REMEMBERED_S = 60.0
SHOWN_IN_ROOMS = ("displayname", "avatar_url")


class RemoteProfiles:
    """One request for whoever asks for the same user meanwhile."""

    def __init__(self, client: FederationClient, clock: Clock) -> None:
        self._client = client
        self._known: Memory[UserId, JsonObject] = Memory(
            clock, MOST_REMEMBERED, max_size=MOST_REMEMBERED_BYTES
        )
        self._refusals: Memory[UserId, str] = Memory(clock, MOST_REMEMBERED)
        self._asking: Coalescing[UserId, JsonObject] = Coalescing()

    async def profile(self, user_id: UserId) -> JsonObject:
        """The whole profile. Raises NotFound, also when the user's server cannot be asked."""
        known = self._known.get(user_id)
        if known is not None:
            return known
        refusal = self._refusals.get(user_id)
        if refusal is not None:
            raise NotFound(refusal)
        return await self._asking.run(user_id, lambda: self._ask(user_id))

    def note_member(self, user_id: UserId, content: JsonObject) -> None:
        """The user is in a room that we are in, and looks like this there: what we remember may be old.

        What the event says holds for its room only, so it does not take the place of the profile.
        """
        self._refusals.forget(user_id)
        known = self._known.get(user_id)
        if known is not None and any(known.get(name) != content.get(name) for name in SHOWN_IN_ROOMS):
            self._known.forget(user_id)

    async def _ask(self, user_id: UserId) -> JsonObject:
        try:
            profile = await self._client.profile(domain_of(user_id), user_id)
            size = len(orjson.dumps(profile))
            if size > MAX_PROFILE_BYTES:
                raise RemoteMisbehaved(f"The profile of {user_id} is too large")
        except RemoteError as error:
            told = f"There is no user {user_id}"
            if not isinstance(error, RemoteRefused):
                told = f"The profile of {user_id} cannot be had: {error.message}"
            self._refusals.keep(user_id, told, REFUSAL_REMEMBERED_S)
            raise NotFound(told) from error
        self._known.keep(user_id, profile, REMEMBERED_S, size=size)
        return profile
