"""What can go wrong when a request is sent to another server."""


class HttpFailure(Exception):
    """There is no answer that could be used. The message says why, for an operator to read."""


class Unreachable(HttpFailure):
    """No connection: the name is unknown, the address refused or silent, the certificate wrong."""


class TookTooLong(Unreachable):
    """The answer was not complete in time."""


class BrokenAnswer(HttpFailure):
    """The connection ended within the answer, or what came is not HTTP."""


class AnswerTooLarge(HttpFailure):
    """More bytes than the caller wants."""


class NoRoom(HttpFailure):
    """Other answers needed the memory. Asked again later, it may be there."""


class BadRedirect(HttpFailure):
    """A redirect to nowhere, in a circle, or away from https."""
