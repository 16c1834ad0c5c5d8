"""Glob-style patterns: `*` is zero or more characters, `?` exactly one.

People who do not trust each other write the patterns and the texts, so matching never backtracks over
a `*`: the cost is at most len(pattern) * len(text) (CVE-2021-29471). Each piece between stars is found
at its leftmost place and never tried again, which is right because the earliest end leaves the most room.
https://spec.matrix.org/latest/appendices/#glob-style-matching
"""

import re

_STARS = re.compile(r"\*+")
_MARKS = re.compile(r"[*?]+")
# Not between two word characters: the start or end of the text, or beside a character outside [A-Za-z0-9_].
WORD_BOUNDARY = r"(?:(?<![A-Za-z0-9_])|(?![A-Za-z0-9_]))"


class Glob:
    """A compiled pattern. Case counts: fold both sides first where it should not.

    With `star_only` a question mark is a character like any other, as filters have it.
    """

    __slots__ = ("_any_character", "_literals", "_whole", "_words", "cost", "literal", "pattern")

    def __init__(self, pattern: str, *, star_only: bool = False) -> None:
        marks = _STARS if star_only else _MARKS
        self.pattern = pattern
        self.literal: str | None = None if marks.search(pattern) else pattern
        """The text itself, when the pattern has no wildcard."""
        self.cost = 1 if star_only or "?" not in pattern else len(pattern)
        """Steps for each character of a text, at worst and roughly."""
        self._any_character = r"\?" if star_only else "."
        self._literals = [piece for piece in marks.split(pattern) if piece]
        self._whole: re.Pattern[str] | None = None
        self._words: re.Pattern[str] | None = None

    def matches(self, text: str) -> bool:
        """Does the pattern match all of the text?"""
        if self.literal is not None:
            return text == self.literal
        if self._whole is None:
            self._whole = re.compile(_whole_expression(self._pieces()), re.DOTALL)
        return self._has_literals(text) and self._whole.fullmatch(text) is not None

    def occurs_in(self, text: str) -> bool:
        """Does it match some part of the text that starts and ends at a word boundary?"""
        if not self._has_literals(text):
            return False
        if self._words is None:
            self._words = re.compile(_words_expression(self._pieces()), re.DOTALL)
        return self._words.match(text) is not None

    def _has_literals(self, text: str) -> bool:
        """A cheap look that turns most texts away."""
        return all(literal in text for literal in self._literals)

    def _pieces(self) -> list[str]:
        """What stands between the stars, as regular expressions of a fixed length."""
        escaped = [re.escape(piece) for piece in _STARS.split(self.pattern)]
        return [piece.replace(r"\?", self._any_character) for piece in escaped]


def _whole_expression(pieces: list[str]) -> str:
    first, *others = pieces
    if not others:
        return first
    # The last piece has a fixed length: `.*` gives back until it fits or cannot, once.
    *middle, last = others
    return first + "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last


def _words_expression(pieces: list[str]) -> str:
    # A leading or trailing star reaches to the start or end of the text, which is a boundary.
    if pieces[0]:
        pieces[0] = WORD_BOUNDARY + pieces[0]
    if pieces[-1]:
        pieces[-1] += WORD_BOUNDARY
    return "".join(f"(?>.*?{piece})" for piece in pieces if piece)
