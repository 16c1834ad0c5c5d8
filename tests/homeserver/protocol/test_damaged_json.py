"""Cutting a transaction into entries of which some are no JSON."""

import pytest

from homeserver.protocol.damaged_json import check_whole, read_entries, signed_forms
from homeserver.protocol.errors import NotJson


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{}", {}),
        (b" { } ", {}),
        (b'{"l":[]}', {"l": []}),
        (b'{"l":[ ]}', {"l": []}),
        (b'{"l":[1, {"a":"]},["} ,"\\"]"]}', {"l": [1, {"a": "]},["}, '"]']}),
        (b'{"l":["\\ud800",1e999,2],"a":"b"}', {"l": [None, None, 2], "a": "b"}),
        (b'{"l":[x,{"a":1,"a":2},[y,z],3]}', {"l": [None, {"a": 2}, None, 3]}),
        (b'{"l":[1,]}', {"l": [1, None]}),
        (b'{"l":12345678901234567890123}', {"l": 12345678901234567890123}),
        (b'{"l":[12345678901234567890123]}', {"l": [12345678901234567890123]}),
        (b'{"l" : {"a":1}}', {"l": {"a": 1}}),
    ],
)
def test_entries(data: bytes, expected: object) -> None:
    assert read_entries(data, ("l",)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b"}", b"{]", b'{"l":[}]', b'{"l":[1]', b'{"l":[1]}}', b'{"l":[1]}x', b'{"l"}',
        b'{"l":1,"l":2}', b'{"other":["\\ud800"]}', b'{l:[1]}', b'{"l":["]}', b'{"l":[1],}', b'{"l":[1]]}',
        b'{"\\ud800":1}', b'{"l":[1]:2}', b'"{}"', b'{"l":["\\"]}',
    ],
)  # fmt: skip
def test_what_has_no_entries(data: bytes) -> None:
    with pytest.raises(NotJson):
        read_entries(data, ("l",))


@pytest.mark.parametrize("data", [b'{"a":1}x', b'{"a":1},{"b":2}', b'{"a":"}', b"[1]", b'{"a":[}]}'])
def test_what_is_more_or_less_than_an_object(data: bytes) -> None:
    with pytest.raises(NotJson):
        check_whole(data)


def test_strings_without_end_cost_no_more_than_others() -> None:
    with pytest.raises(NotJson):
        check_whole(b'{"' + b'\\"' * 400_000)


def test_what_may_have_been_signed() -> None:
    assert list(signed_forms(b'{"b":"\\ud800","a":1.5}')) == [
        '{"a":1.5,"b":"�"}'.encode(),
        b'{"a":1.5,"b":"\\ud800"}',
        b'{"a":1.5,"b":"\xed\xa0\x80"}',
    ]
    assert list(signed_forms(b'{"b":1,"b":2}')) == [b'{"b":2}']
    assert list(signed_forms(b"[" * 100_000)) == []
    assert list(signed_forms(b'{"a":"\xff"}')) == []
