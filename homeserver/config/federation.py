"""Which other servers this one speaks with, and how it trusts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from homeserver.config import checks
from homeserver.protocol.ids import ServerName
from homeserver.protocol.signatures import VerifyKey
from homeserver.runtime.settings import BadSetting, setting


def _server_names(texts: Sequence[str]) -> None:
    for text in texts:
        checks.server_name(text)


def _hours(hours: int) -> None:
    if hours < 1:
        raise ValueError("must be at least 1")


@dataclass(frozen=True)
class OldSigningKey:
    """A key this server signed with until `expired_ts` (milliseconds); `key` is its public half."""

    key_id: str
    key: str
    expired_ts: int

    def __post_init__(self) -> None:
        try:
            self.verify_key()
        except ValueError as error:
            raise BadSetting("key", f"is not a public key: {error}") from None

    def verify_key(self) -> VerifyKey:
        """The key itself."""
        return VerifyKey.from_base64(self.key_id, self.key)


@dataclass(frozen=True)
class Federation:
    """Names in `allow` and `deny` may hold `*` and `?`; `deny` wins; an empty `allow` allows everyone."""

    enabled: bool = True
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ca_file: Path | None = None
    allow_private_addresses: bool = False
    presence: bool = False
    longest_back_off_hours: int = setting(24, check=_hours)
    trusted_key_servers: tuple[ServerName, ...] = setting((ServerName("matrix.org"),), check=_server_names)
    identity_servers: tuple[ServerName, ...] = setting((), check=_server_names)
    old_signing_keys: tuple[OldSigningKey, ...] = ()
