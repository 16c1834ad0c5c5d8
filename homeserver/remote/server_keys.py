"""Fetch the signing keys of servers: from themselves, and from notaries.

https://spec.matrix.org/latest/server-server-api/#retrieving-server-keys
"""

from collections.abc import Mapping

from homeserver.protocol.ids import ServerName
from homeserver.protocol.json_values import JsonObject
from homeserver.remote import federation_answers as answers
from homeserver.remote.federation_requests import Effort, SignedRequests

MAX_DOCUMENT_BYTES = 32 * 1024
DIRECT = Effort(timeout_s=10.0, max_bytes=MAX_DOCUMENT_BYTES, insist=True)
NOTARY = Effort(timeout_s=30.0, max_bytes=10 * 1024 * 1024)

WantedKeys = Mapping[ServerName, Mapping[str, int]]
"""By server, by key ID: the time (ms) at which the key should be valid."""


class ServerKeyFetcher:
    """Asks for key documents. Nothing in them is checked here."""

    def __init__(self, requests: SignedRequests) -> None:
        self._requests = requests

    async def direct(self, server_name: ServerName) -> JsonObject:
        """The server's document about itself. Raises RemoteError.

        Asked even of a server that did not answer lately: it has just spoken, or an event of its is at hand.
        """
        return await self._requests.json(server_name, "GET", "/_matrix/key/v2/server", effort=DIRECT)

    async def from_notary(self, notary: ServerName, wanted: WantedKeys) -> list[JsonObject]:
        """What the notary has about servers: signed by them and, it should be, by it. Raises RemoteError."""
        criteria: JsonObject = {
            server: {key_id: {"minimum_valid_until_ts": at_ms} for key_id, at_ms in keys.items()}
            for server, keys in wanted.items()
        }
        body: JsonObject = {"server_keys": criteria}
        answer = await self._requests.json(notary, "POST", "/_matrix/key/v2/query", body=body, effort=NOTARY)
        return answers.objects(answer.get("server_keys"), "server_keys")
