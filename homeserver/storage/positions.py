"""How far the stream positions have been reserved."""

from homeserver.runtime.database import Transaction


class PositionStore:
    """One row: everything at or below it may have been handed out."""

    def reserve(self, txn: Transaction, count: int) -> int:
        """Reserve the next `count` positions; returns the last one reserved before."""
        reserved = txn.value(
            "UPDATE stream_position SET reserved = reserved + %s RETURNING reserved", (count,)
        )
        assert isinstance(reserved, int)
        return reserved - count
