"""What tells clients and other servers where this server is.

https://spec.matrix.org/latest/client-server-api/#server-discovery
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from homeserver.protocol.errors import NotFound
from homeserver.protocol.json_values import Json, JsonObject


class Discovery:
    """The well-known documents. Without a public URL there is nothing to tell: NotFound."""

    def __init__(self, *, public_url: str | None, support: Mapping[str, Json] | None = None) -> None:
        self._public_url = public_url.rstrip("/") if public_url else None
        self._support = support

    def for_clients(self) -> JsonObject:
        """`/.well-known/matrix/client`: where the client-server API is."""
        return {"m.homeserver": {"base_url": self._known_public_url()}}

    def for_servers(self) -> JsonObject:
        """`/.well-known/matrix/server`: the host and port for other servers; always with a port, so that no
        SRV record is asked for."""
        url = urlsplit(self._known_public_url())
        host = f"[{url.hostname}]" if url.hostname and ":" in url.hostname else url.hostname
        return {"m.server": f"{host}:{url.port or (80 if url.scheme == 'http' else 443)}"}

    def for_people(self) -> JsonObject:
        """`/.well-known/matrix/support`: whom to ask. NotFound unless configured."""
        if not self._support:
            raise NotFound("The operator of this server has not said how to reach them")
        return dict(self._support)

    def _known_public_url(self) -> str:
        if self._public_url is None:
            raise NotFound("This server does not know its public URL: set public_url in its configuration")
        return self._public_url
