"""The access tokens that were used lately, in memory: most requests need no SQL to know who asks."""

from collections.abc import Iterable
from typing import NamedTuple

from homeserver.protocol.requester import Requester


class Known(NamedTuple):
    """Whose token it is and until when; None: it never expires."""

    requester: Requester
    expires_ms: int | None


class KnownTokens:
    """Tokens by hash, at most about `capacity`: those not used for longest give way.

    Two generations: when the young one is full it becomes the old one, whose unused half is forgotten.
    """

    __slots__ = ("_half", "_old", "_young", "drops")

    def __init__(self, capacity: int = 50_000) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[bytes, Known] = {}
        self._old: dict[bytes, Known] = {}
        self.drops = 0
        """How often tokens were dropped. What was read from the database before the last drop may be void."""

    def get(self, token_hash: bytes) -> Known | None:
        """What is known of the token."""
        known = self._young.get(token_hash)
        if known is None:
            known = self._old.pop(token_hash, None)
            if known is not None:
                self.put(token_hash, known)
        return known

    def put(self, token_hash: bytes, known: Known) -> None:
        """Remember it."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[token_hash] = known

    def drop(self, token_hashes: Iterable[bytes]) -> None:
        """Forget tokens: they are void, or stand for something else now."""
        self.drops += 1
        for token_hash in token_hashes:
            self._young.pop(token_hash, None)
            self._old.pop(token_hash, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
