"""Server names in parts, and access control lists."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.server_names import ServerAcl, split_server_name


@pytest.mark.parametrize(("name", "host", "port"), [
    ("example.org", "example.org", None), ("example.org:80", "example.org", 80),
    ("1.2.3.4:8448", "1.2.3.4", 8448),
    ("[::1]", "[::1]", None), ("[::1]:8448", "[::1]", 8448), ("[1:2::3]", "[1:2::3]", None),
])  # fmt: skip
def test_a_server_name_is_host_and_port(name, host, port):
    assert split_server_name(name) == (host, port)


@pytest.mark.parametrize("name", ["", "a b", "example.org:", "[::1", "x:y"])
def test_what_is_no_server_name_does_not_come_apart(name):
    with pytest.raises(InvalidParam):
        split_server_name(name)


@pytest.mark.parametrize(("name", "literal"), [
    ("1.2.3.4", True), ("1.2.3.4:80", True), ("[::1]", True), ("[::1]:80", True), ("1.2.3.4.example", False),
    ("example.org", False), ("1234", False),
])  # fmt: skip
def test_ip_literals(name, literal):
    assert split_server_name(name).is_ip_literal is literal


def allowed(server_name: str, **content) -> bool:
    return ServerAcl(content).allows(server_name)


def test_nobody_is_allowed_unless_named():
    assert not allowed("a.example")
    assert not allowed("a.example", allow=[])
    assert allowed("a.example", allow=["*"])
    assert allowed("a.example", allow=["a.example"])
    assert not allowed("b.example", allow=["a.example"])


def test_denying_is_stronger_than_allowing():
    assert not allowed("evil.example", allow=["*"], deny=["evil.example"])
    assert allowed("good.example", allow=["*"], deny=["evil.example"])


def test_case_and_port_do_not_matter():
    for name in ("evil.example", "EVIL.example", "evil.example:8448", "Evil.Example:1"):
        assert not allowed(name, allow=["*"], deny=["eViL.exAmple"])
        assert not allowed(name, allow=["*"], deny=["*.EXAMPLE"])


def test_ip_literals_are_allowed_unless_forbidden():
    for name in ("1.2.3.4", "1.2.3.4:80", "[::1]", "[::1]:80"):
        assert allowed(name, allow=["*"])
        assert allowed(name, allow=["*"], allow_ip_literals=True)
        assert allowed(name, allow=["*"], allow_ip_literals="no")
        assert not allowed(name, allow=["*"], allow_ip_literals=False)
    assert allowed("a.example", allow=["*"], allow_ip_literals=False)
    assert not allowed("[::1]:80", allow=["*"], deny=["[::1]"])


@pytest.mark.parametrize("name", ["", "a b", "\0", "a/b", "a\n", "\u00e9.example"])
def test_what_is_no_server_name_is_denied(name):
    assert not allowed(name, allow=["*"])


@pytest.mark.parametrize(
    "content", [{"allow": "*"}, {"allow": None}, {"allow": {"*": 1}}, {"allow": [1, None, ["*"]]}]
)
def test_malformed_lists_count_as_missing(content):
    assert not allowed("a.example", **content)
    assert allowed("a.example", allow=["*", 5], deny=content["allow"])


@pytest.mark.parametrize(("pattern", "name", "matches"), [
    ("*.example", "a.example", True), ("*.example", "example", False), ("*.example", "a.examples", False),
    ("a?.example", "ab.example", True), ("a?.example", "a.example", False), ("?", "a", True),
    ("?", "ab", False),
    ("a*b*c", "aXbXc", True), ("a*b*c", "abc", True), ("a*b*c", "acb", False), ("**", "a", True),
    ("*?*?*", "a", False),
    ("*a", "aaa", True), ("a.c", "abc", False), ("[a-z]", "a", False), ("", "a", False), ("a|b", "a", False),
])  # fmt: skip
def test_globs(pattern, name, matches):
    assert allowed(name, allow=[pattern]) is matches


@given(st.text("ab*?", max_size=8), st.text("abc", min_size=1, max_size=12))
def test_globs_agree_with_the_plain_definition(pattern, name):
    expression = "".join({"*": ".*", "?": "."}.get(character, character) for character in pattern)
    assert allowed(name, allow=[pattern]) is (re.fullmatch(expression, name) is not None)


@pytest.mark.parametrize(
    "pattern", ["*a" * 120 + "?" * 100, "?*" * 201, "a*" * 30_000, "*" * 60_000 + "?" * 201]
)
def test_a_hostile_pattern_costs_little(pattern):
    started = time.process_time()
    assert allowed("a" * 200, allow=["*"], deny=[pattern])
    assert time.process_time() - started < 0.5


def test_a_hostile_list_costs_little():
    many = [f"*{'a' * (number % 50)}?{'a' * (number // 50)}*c*" for number in range(2_500)]
    acl = ServerAcl({"allow": ["*"], "deny": many})
    started = time.process_time()
    assert acl.allows("a" * 200)
    assert time.process_time() - started < 2


def test_verdicts_are_remembered_within_bounds():
    acl = ServerAcl({"allow": ["*.example"]})
    for number in range(3_000):
        assert acl.allows(f"s{number}.example")
        assert acl.allows(f"s{number}.example")
