"""Which other servers this one speaks with, and how it trusts them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Federation:
    """Names in `allow` and `deny` may hold `*` and `?`; `deny` wins; an empty `allow` allows everyone."""

    enabled: bool = True
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ca_file: Path | None = None
    allow_private_addresses: bool = False
