"""Canonical JSON: one byte form, and nothing read that has none."""

import json

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.canonical_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    NotCanonical,
    check,
    decode,
    encode,
    encode_lenient,
)
from homeserver.protocol.errors import BadJson, NotJson

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.none() | st.booleans() | st.integers(MIN_INTEGER, MAX_INTEGER) | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30)
LOOSE = st.recursive(
    LEAVES | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


@given(VALUES)
def test_encoding_agrees_with_the_reference_library(value):
    assert encode(value) == canonicaljson.encode_canonical_json(value)


@given(LOOSE)
def test_lenient_encoding_agrees_with_the_reference_library(value):
    assert encode_lenient(value) == canonicaljson.encode_canonical_json(value)


@given(VALUES)
def test_what_is_encoded_is_decoded_again(value):
    assert decode(encode(value)) == value


@given(LOOSE)
def test_decoding_agrees_with_the_standard_library_however_the_json_is_laid_out(value):
    for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
        decoded = decode(text.encode())
        assert decoded == json.loads(text)
        assert repr(decoded) == repr(json.loads(text))


@pytest.mark.parametrize("value", [
    1.5, 1.0, -0.0, float("nan"), float("inf"), 2**53, -(2**53), 2**64, "\ud800", {"\udfff": 1}, {1: 2},
    [[1.0]], {"a": {"b": [1, {"c": 0.5}]}}, {"a": (1, 2.0)}, b"bytes", {"a": {1, 2}},
], ids=repr)  # fmt: skip
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(NotCanonical):
        encode(value)
    with pytest.raises(NotCanonical):
        check(value)
    assert issubclass(NotCanonical, BadJson)


def test_integers_reach_to_the_edge_of_a_double():
    assert encode([MAX_INTEGER, MIN_INTEGER]) == b"[9007199254740991,-9007199254740991]"


def test_keys_are_sorted_by_code_point_and_nul_is_escaped():
    assert (
        encode({"\U00010000": 1, "\uffff": 2, "a\0": 3})
        == '{"a\\u0000":3,"\uffff":2,"\U00010000":1}'.encode()
    )


def test_booleans_are_not_numbers():
    assert encode([True, False, 1, 0]) == b"[true,false,1,0]"


@pytest.mark.parametrize("value", ["\ud800", float("nan"), {"a": float("inf")}], ids=repr)
def test_even_lenient_encoding_refuses_what_is_not_json(value):
    with pytest.raises(NotCanonical):
        encode_lenient(value)


@pytest.mark.parametrize("text", [
    b"", b"{", b"{'a':1}", b"nul", b"NaN", b"Infinity", b"1e400", b"[1,]", b'{"a":1}x', b"\xff",
    b'"\xed\xa0\x80"',
    b'"\\ud800"', b'"\\udc00\\ud800"', b"01", b"\xef\xbb\xbf{}",
])  # fmt: skip
def test_what_is_not_json_is_refused(text):
    with pytest.raises(NotJson):
        decode(text)


@pytest.mark.parametrize("text", [
    b'{"a":1,"a":2}', b'{"a":1,"a":1}', b'{ "a" : { "b" : 1 , "b" : 1 } }',
    b'[{"a":{}},{"x":":","x":"\\":"}]',
    b'{"a":1,"\\u0061":2}',
])  # fmt: skip
def test_a_key_that_stands_twice_is_refused(text):
    with pytest.raises(NotJson, match="twice"):
        decode(text)


@pytest.mark.parametrize("text", [
    b'{"a":":","b":"\\":\\\\", "c":"{\\"a\\":1}"}', b'{ "a:a" : "::" }', b'{"\\\\":1, "\\"":2}', b'[ ]',
    b' 1 ',
])  # fmt: skip
def test_colons_and_quotes_inside_strings_are_no_keys(text):
    assert decode(text) == json.loads(text)


def test_numbers_are_read_exactly_as_they_stand():
    assert decode(b"[18446744073709551616, -9223372036854775809]") == [
        18446744073709551616,
        -9223372036854775809,
    ]
    assert decode(b"-0") == 0
    assert isinstance(decode(b"-0"), int)
    assert decode(b"1e10") == 10_000_000_000.0
    assert isinstance(decode(b"1e10"), float)


def test_absurdly_long_numbers_are_refused_rather_than_computed():
    with pytest.raises(NotJson):
        decode(b"[" + b"9" * 60_000 + b"]")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_is_bounded_on_the_way_in_and_out(opening):
    def nested(depth: int) -> bytes:
        return opening * depth + b"1" + (b"]" if opening == b"[" else b"}") * depth

    assert encode(decode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 1_000, 100_000):
        with pytest.raises(NotJson):
            decode(nested(depth))
    value = []
    for _ in range(100_000):
        value = [value]
    for encoder in (encode, encode_lenient, check):
        with pytest.raises(NotCanonical):
            encoder(value)
