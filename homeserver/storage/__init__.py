"""SQL lives here and nowhere else. `Stores` is all of it.

Stores are plain classes whose methods take the transaction first.
"""

from dataclasses import dataclass, field
from pathlib import Path

from homeserver.storage.account_stores import AccountStores
from homeserver.storage.media import MediaStore
from homeserver.storage.positions import PositionStore

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Stores:
    """Every store there is."""

    positions: PositionStore = field(default_factory=PositionStore)
    accounts: AccountStores = field(default_factory=AccountStores)
    media: MediaStore = field(default_factory=MediaStore)
