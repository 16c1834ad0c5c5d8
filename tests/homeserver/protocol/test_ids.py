"""Identifiers: what each parser accepts and refuses."""

import pytest

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.ids import (
    domain_of,
    is_server_name,
    is_user_id,
    is_valid_localpart,
    localpart_of,
    parse_device_id,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_room_id_or_alias,
    parse_server_name,
    parse_user_id,
    user_id_of,
)

HASH = "A" * 43


@pytest.mark.parametrize("name", [
    "matrix.org", "matrix.org:8888", "1.2.3.4", "1.2.3.4:1234", "[1234:5678::abcd]", "[1234:5678::abcd]:5678",
    "localhost", "a-b.example", "UPPER.example", "[::ffff:1.2.3.4]", "x" * 255, "h:65535",
])  # fmt: skip
def test_server_names_that_are_accepted(name: str) -> None:
    assert parse_server_name(name) == name


@pytest.mark.parametrize("name", [
    "", ":80", "example.org:", "example.org:123456", "example.org:65536", "under_score.org", "exa mple.org",
    "256.1.1.1", "[::1", "::1", "[::1]x", "[1.2.3.4]", "[zz::]", "[:::]", "ex\u00e4mple.org", "example.org\n",
    "example.org:8\u0660", "a/b", "../etc", "user@host", "x" * 256, ".", "..", ".example", "a..example",
])  # fmt: skip
def test_server_names_that_are_refused(name: str) -> None:
    assert not is_server_name(name)
    with pytest.raises(InvalidParam):
        parse_server_name(name)


@pytest.mark.parametrize("user_id", [
    "@alice:example.org", "@a.b_c=d-e/f+g:example.org", "@:example.org", "@Upper Case \u00e9\x01:example.org",
    "@alice:example.org:8448", "@alice:[::1]:80", "@" + "a" * 242 + ":example.org",
])  # fmt: skip
def test_user_ids_are_accepted_even_historical_ones(user_id: str) -> None:
    assert parse_user_id(user_id) == user_id
    assert is_user_id(user_id)


@pytest.mark.parametrize("user_id", [
    "", "@", "alice:example.org", "@alice", "@alice:", "#alice:example.org", "@al:ice:example.org",
    "@al\0ice:example.org", "@\ud800:example.org", "@alice:exa mple", "@" + "a" * 244 + ":example.org",
    "@" + "\u00e9" * 122 + ":example.org",
])  # fmt: skip
def test_user_ids_that_are_refused(user_id: str) -> None:
    assert not is_user_id(user_id)
    with pytest.raises(InvalidParam):
        parse_user_id(user_id)


def test_a_user_id_may_be_255_bytes_long_and_no_longer() -> None:
    assert is_user_id("@" + "a" * 242 + ":example.org")
    assert not is_user_id("@" + "a" * 243 + ":example.org")


@pytest.mark.parametrize("room_id", ["!abc:example.org", "!" + HASH, "!a b\u00e9:example.org:80"])
def test_room_ids_have_a_domain_or_are_a_hash(room_id: str) -> None:
    assert parse_room_id(room_id) == room_id


@pytest.mark.parametrize(
    "room_id", ["", "!", "abc", "#abc:example.org", "!abc/..", "!a:b c", "!" + "A" * 255, "!a:"]
)
def test_room_ids_that_are_refused(room_id: str) -> None:
    with pytest.raises(InvalidParam):
        parse_room_id(room_id)


@pytest.mark.parametrize("event_id", ["$abc:example.org", "$" + HASH, "$acR1l0/raoZ+nm60CBwAVgqbZqoO"])
def test_event_ids_of_all_room_versions_are_accepted(event_id: str) -> None:
    assert parse_event_id(event_id) == event_id


@pytest.mark.parametrize("event_id", ["", "$", "abc", "!abc:example.org", "$a b", "$\n", "$" + "a" * 255])
def test_event_ids_that_are_refused(event_id: str) -> None:
    with pytest.raises(InvalidParam):
        parse_event_id(event_id)


def test_a_room_may_be_named_by_id_or_alias() -> None:
    assert parse_room_id_or_alias("#a:example.org") == "#a:example.org"
    assert parse_room_id_or_alias("!a:example.org") == "!a:example.org"
    for text in ("@a:example.org", "#a", ""):
        with pytest.raises(InvalidParam):
            parse_room_id_or_alias(text)


def test_aliases_need_a_domain() -> None:
    assert parse_room_alias("#\u00e9 room:example.org") == "#\u00e9 room:example.org"
    with pytest.raises(InvalidParam):
        parse_room_alias("#room")


def test_device_ids_are_any_printable_text() -> None:
    assert parse_device_id("My phone/1") == "My phone/1"
    for text in ("", "a\0b", "a\nb", "x" * 256):
        with pytest.raises(InvalidParam):
            parse_device_id(text)


def test_an_id_comes_apart_at_its_first_colon() -> None:
    assert domain_of("@alice:example.org:8448") == "example.org:8448"
    assert localpart_of("@alice:example.org:8448") == "alice"
    assert localpart_of("!" + HASH) == HASH
    with pytest.raises(InvalidParam):
        domain_of("!" + HASH)


def test_new_accounts_keep_to_the_strict_grammar() -> None:
    assert is_valid_localpart("a.b_c=d-e/f+9")
    for localpart in ("", "Alice", "al ice", "\u00e9", "a:b", "a\n", "\u0660"):
        assert not is_valid_localpart(localpart)


def test_a_user_id_is_made_of_localpart_and_server() -> None:
    assert user_id_of("alice", parse_server_name("example.org")) == "@alice:example.org"
    with pytest.raises(InvalidParam):
        user_id_of("a" * 250, parse_server_name("example.org"))


def test_a_refusal_does_not_repeat_a_long_text() -> None:
    with pytest.raises(InvalidParam) as refusal:
        parse_user_id("x" * 100_000)
    assert len(refusal.value.message) < 400
