import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.globs import Glob


def naive_match(pattern, text):
    """The definition, by a table: cell (i, j) says whether pattern[:i] matches text[:j]."""
    row = [True] + [False] * len(text)
    for mark in pattern:
        following = [mark == "*" and row[0]]
        for j, character in enumerate(text, 1):
            if mark == "*":
                following.append(following[j - 1] or row[j])
            else:
                following.append(row[j - 1] and mark in ("?", character))
        row = following
    return row[-1]


def naive_occurs(pattern, text):
    def boundary(at):
        before, after = text[at - 1 : at], text[at : at + 1]
        return not (re.match(r"[A-Za-z0-9_]", before) and re.match(r"[A-Za-z0-9_]", after))

    places = [at for at in range(len(text) + 1) if boundary(at)]
    return any(naive_match(pattern, text[i:j]) for i in places for j in places if i <= j)


patterns = st.text("ab*? .", max_size=8)
texts = st.text("ab .é\n", max_size=12)


@given(patterns, texts)
def test_matching_follows_the_definition(pattern, text):
    assert Glob(pattern).matches(text) == naive_match(pattern, text)


@given(patterns, texts)
def test_finding_in_words_follows_the_definition(pattern, text):
    assert Glob(pattern).occurs_in(text) == naive_occurs(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "body", "found"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("cake", "cakes", False),
        ("cake", "a piece of cake!", True),
        ("cake", "éclair, cake", True),
        ("cake", "cheese_cake", False),
        ("@room", "hey @room", True),
        ("*", "", True),
        ("c[ae]ke", "cake", False),
        (r"\w+", "cake", False),
    ],
)
def test_word_matching_as_the_specification_shows_it(pattern, body, found):
    assert Glob(pattern).occurs_in(body) is found


def test_a_question_mark_may_be_plain():
    assert Glob("a?*", star_only=True).matches("a?b")
    assert not Glob("a?*", star_only=True).matches("abb")
    assert Glob("a?", star_only=True).literal == "a?"


@pytest.mark.parametrize("pattern", ["a*" * 500 + "b", "*a" * 500, "a?*" * 300 + "b", "*?" * 500 + "b"])
def test_hostile_patterns_cost_no_more_than_their_length_times_the_text(pattern):
    text = "a" * 20_000
    started = time.process_time()
    Glob(pattern).matches(text)
    Glob(pattern).occurs_in(text)
    Glob(pattern).occurs_in(text + " b" * 100)
    assert time.process_time() - started < 2
