"""How large, how slow and how many: what a client may do to a listener."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds. Times are checked a few seconds apart."""

    head_bytes: int = 64 * 1024
    header_count: int = 200
    pipelined: int = 32
    """Requests behind the one that is being answered. Past it the client waits; far past it, is cut off."""

    connections_per_address: int = 0
    """Open at a time, for each address that is not near (see `Crowds`) and no trusted proxy. 0: no limit."""

    idle_seconds: int = 120
    """Between two requests of a connection."""

    head_seconds: int = 20
    body_seconds: int = 30
    body_bytes_per_second: int = 1024
    """A body may take `body_seconds`, and one more for each so many bytes that arrived."""

    write_seconds: int = 60
    """For the client to take the next piece of a large answer."""

    linger_seconds: int = 5
    linger_bytes: int = 4 * 1024 * 1024
    """What a client may still send after it was refused, so that it gets to read why."""
