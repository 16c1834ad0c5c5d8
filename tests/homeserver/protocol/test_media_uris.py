"""mxc:// URIs: nothing that could leave its folder."""

import pytest

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.media_uris import MediaUri, is_media_uri, parse_media_id, parse_media_uri


@pytest.mark.parametrize(
    "text", ["mxc://example.org/abc", "mxc://[::1]:80/A-b_9", "mxc://1.2.3.4:8448/" + "x" * 255]
)
def test_a_media_uri_reads_and_writes(text):
    uri = parse_media_uri(text)
    assert str(uri) == text
    assert is_media_uri(text)


def test_a_media_uri_has_two_parts():
    assert parse_media_uri("mxc://example.org/abc") == MediaUri("example.org", "abc")


@pytest.mark.parametrize("text", [
    "", "mxc://", "mxc:///", "mxc://example.org", "mxc://example.org/", "mxc:///abc",
    "http://example.org/abc",
    "MXC://example.org/abc", "mxc://example.org/a/b", "mxc://example.org/../etc", "mxc://example.org/..",
    "mxc://../abc", "mxc://example.org/%2e%2e", "mxc://example.org/a.b", "mxc://example.org/abc?x",
    "mxc://a b/abc",
    "mxc://example.org/abc\n", "mxc://example.org/\u00e9", "mxc://example.org/\u0661",
    "mxc://example.org/" + "x" * 256,
    " mxc://example.org/abc", "example.org/abc", "mxc://user@example.org/abc",
])  # fmt: skip
def test_anything_else_is_refused(text):
    assert not is_media_uri(text)
    with pytest.raises(InvalidParam):
        parse_media_uri(text)


def test_media_ids_alone():
    assert parse_media_id("aZ09_-") == "aZ09_-"
    for text in ("", ".", "..", "a/b", "a\0"):
        with pytest.raises(InvalidParam):
            parse_media_id(text)
