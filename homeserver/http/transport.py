"""What is used of a Twisted transport: Twisted's own interfaces are of a kind that mypy does not follow."""

from typing import Protocol


class PushProducer(Protocol):
    """What a transport slows down when its buffer is full (twisted.internet.interfaces.IPushProducer)."""

    def pauseProducing(self) -> None: ...  # noqa: N802

    def resumeProducing(self) -> None: ...  # noqa: N802

    def stopProducing(self) -> None: ...  # noqa: N802


class Transport(Protocol):
    """A TCP, Unix or TLS connection (twisted.internet.interfaces.ITransport and neighbours)."""

    def write(self, data: bytes, /) -> None: ...

    def loseConnection(self) -> None:  # noqa: N802
        """Close once all is written."""

    def abortConnection(self) -> None:  # noqa: N802
        """Close now."""

    def getPeer(self) -> object: ...  # noqa: N802

    def registerProducer(self, producer: PushProducer, streaming: bool, /) -> None: ...  # noqa: N802

    def unregisterProducer(self) -> None: ...  # noqa: N802

    def pauseProducing(self) -> None:  # noqa: N802
        """Read no more."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Read on."""
