import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.property_paths import MISSING, parse_path, value_at


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("type", ("type",)),
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        (r"content.m\\foo", ("content", r"m\foo")),
        (r"content.\x", ("content", r"\x")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\\\.b", (r"a\.b",)),
        ("a\\", ("a\\",)),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
        (".", ("", "")),
    ],
)
def test_paths_split_at_dots_that_no_backslash_escapes(text, names):
    assert parse_path(text) == names


@given(st.lists(st.text(), min_size=1))
def test_escaped_names_come_back(names):
    text = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)
    assert parse_path(text) == tuple(names)


def test_null_is_a_value_and_absence_is_not():
    event = {"content": {"body": None, "list": [1]}}
    assert value_at(event, ("content", "body")) is None
    assert value_at(event, ("content", "other")) is MISSING
    assert value_at(event, ("content", "list", "0")) is MISSING
    assert value_at(event, ("content", "body", "x")) is MISSING
