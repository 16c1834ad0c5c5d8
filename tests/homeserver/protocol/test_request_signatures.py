"""The X-Matrix header and the bytes it covers, with the specification's examples."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol import canonical_json
from homeserver.protocol.request_signatures import (
    MalformedAuthorization,
    RequestSignature,
    authorization_header,
    parse_authorization,
    request_bytes,
)

SPEC_HEADER = (
    'X-Matrix origin="origin.hs.example.com",destination="destination.hs.example.com",'
    'key="ed25519:key1",sig="ABCDEF..."'
)
SPEC = RequestSignature("origin.hs.example.com", "destination.hs.example.com", "ed25519:key1", "ABCDEF...")


def test_the_specification_s_example() -> None:
    assert (
        authorization_header(SPEC.origin, str(SPEC.destination), SPEC.key_id, SPEC.signature) == SPEC_HEADER
    )
    assert parse_authorization(SPEC_HEADER) == SPEC


@pytest.mark.parametrize(
    "header",
    [
        "x-matrix " + SPEC_HEADER.partition(" ")[2],
        "X-MATRIX   " + SPEC_HEADER.partition(" ")[2],
        SPEC_HEADER.replace(",", " ,\t "),
        SPEC_HEADER.replace("origin=", "ORIGIN="),
        SPEC_HEADER.replace("=", " = "),
        SPEC_HEADER + ",unknown=1",
        SPEC_HEADER + ',unknown="a,b=\\"c\\""',
        SPEC_HEADER.replace('"', ""),
        SPEC_HEADER.replace('"ed25519:key1"', "ed25519:key1"),
        SPEC_HEADER.replace("example", r"ex\ample"),
        'X-Matrix sig="ABCDEF...",key="ed25519:key1",destination="destination.hs.example.com",'
        'origin="origin.hs.example.com"',
    ],
)
def test_other_spellings_of_the_same(header: str) -> None:
    assert parse_authorization(header) == SPEC


def test_old_servers_name_no_destination() -> None:
    assert parse_authorization('X-Matrix origin="a",key="ed25519:1",sig="x"').destination is None


@pytest.mark.parametrize("signature", ["a+b/c=", "a-b_c"])
def test_base64_may_stand_unquoted(signature: str) -> None:
    assert parse_authorization(f"X-Matrix origin=a,key=ed25519:1,sig={signature}").signature == signature


def test_an_address_with_brackets_may_stand_unquoted() -> None:
    assert parse_authorization("X-Matrix origin=[::1]:8448,key=ed25519:1,sig=x").origin == "[::1]:8448"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer abc",
        "X-Matrix",
        "X-Matrix ",
        "X-Matrixorigin=a,key=b,sig=c",
        'X-Matrix origin="a",key="b"',
        'X-Matrix origin="",key="b",sig="c"',
        'X-Matrix origin="a,key="b",sig="c"',
        'X-Matrix origin="a" key="b" sig="c"',
        'X-Matrix origin="a",key="b",sig="c',
        'X-Matrix origin="a",origin="b",key="b",sig="c"',
        'X-Matrix origin="a",Origin="b",key="b",sig="c"',
        'X-Matrix origin=a b,key="b",sig="c"',
        'X-Matrix origin="a",key="b",sig="c",="d"',
        "X-Matrix " + "a=b," * 1000 + "origin=a,key=b,sig=c",
    ],
)
def test_malformed_headers_are_refused(header: str | None) -> None:
    with pytest.raises(MalformedAuthorization):
        parse_authorization(header)


@given(st.text(max_size=200))
def test_no_header_breaks_the_parser(text: str) -> None:
    with suppress(MalformedAuthorization):
        parse_authorization("X-Matrix " + text)


@pytest.mark.parametrize("content", [None, b"{}", b'{"b":[1,"\xc3\xa9"],"z":null}'])
def test_what_is_signed_is_canonical_json(content: bytes | None) -> None:
    target = '/_matrix/federation/v1/x?a="b"&c=%22\\é'
    signed = request_bytes("PUT", target, "origin.example", "destination.example", content)
    expected = {
        "method": "PUT",
        "uri": target,
        "origin": "origin.example",
        "destination": "destination.example",
    }
    if content is not None:
        expected["content"] = canonical_json.decode(content)  # type: ignore[assignment]
    assert signed == canonical_json.encode(expected)


def test_what_is_no_text_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        request_bytes("GET", "/\ud800", "a", "b", None)
