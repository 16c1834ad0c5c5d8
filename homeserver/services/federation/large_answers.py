"""Answers of megabytes, such as states of rooms, while other servers read them, as slowly as they like.

What is held for all of them together has a bound. Beyond it the server that most is held for loses the answer
it has been reading for longest, and has to ask again: nobody uses up the memory, or keeps it from others.
"""

from collections import Counter

from homeserver.protocol.ids import ServerName

MOST_HELD_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class LargeAnswers:
    """Those that are being read."""

    def __init__(self, most_bytes: int = MOST_HELD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._answers: dict[LargeAnswer, None] = {}  # the oldest first
        self.held = 0
        """Bytes, in all."""

    def hold(self, origin: ServerName, pieces: list[bytes]) -> "LargeAnswer":
        """The answer, to be read in chunks and closed whatever happens. Others may have to make room."""
        answer = LargeAnswer(self, origin, pieces)
        self._answers[answer] = None
        self.held += answer.length
        while self.held > self._most_bytes and len(self._answers) > 1:
            self._first_to_go(answer).close()
        return answer

    def let_go(self, answer: "LargeAnswer") -> None:
        """For the answer: it is not held any more."""
        if answer in self._answers:
            del self._answers[answer]
            self.held -= answer.length

    def _first_to_go(self, newest: "LargeAnswer") -> "LargeAnswer":
        held: Counter[ServerName] = Counter()
        for answer in self._answers:
            held[answer.origin] += answer.length
        return max((one for one in self._answers if one is not newest), key=lambda one: held[one.origin])


class LargeAnswer:
    """An iterator over chunks. It ends early when it had to make room, which breaks the connection."""

    def __init__(self, answers: LargeAnswers, origin: ServerName, pieces: list[bytes]) -> None:
        self.origin = origin
        self.length = sum(map(len, pieces))
        self._answers = answers
        self._pieces = pieces[::-1]

    def __iter__(self) -> "LargeAnswer":
        return self

    def __next__(self) -> bytes:
        if not self._pieces:
            raise StopIteration
        chunk, size = [], 0
        while self._pieces and size < CHUNK_BYTES:
            piece = self._pieces.pop()
            chunk.append(piece)
            size += len(piece)
        return b"".join(chunk)

    def close(self) -> None:
        """Forget what has not been read."""
        self._pieces = []
        self._answers.let_go(self)
