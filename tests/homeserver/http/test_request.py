"""What endpoints read of a request: checked, or refused with the errcode of the specification."""

from typing import Any

import msgspec
import pytest

from homeserver.http.request import Request
from homeserver.protocol.errors import (
    BadJson,
    Forbidden,
    InvalidParam,
    MatrixError,
    MissingParam,
    MissingToken,
    NotJson,
)
from homeserver.protocol.ids import UserId
from homeserver.protocol.requester import Requester
from tests.support.http import Body, request_of

ALICE = UserId("@alice:example.org")


class SetTyping(msgspec.Struct):
    typing: bool
    timeout: int = 0
    name: str = ""


def sent(body: Body) -> Request:
    return request_of("PUT", "/x", body=body)


def asked(query: str) -> Request:
    return request_of("GET", f"/x?{query}")


def test_a_body_becomes_a_record() -> None:
    body = sent({"typing": True, "timeout": 5, "org.example.unknown": {}}).json(SetTyping)
    assert body == SetTyping(typing=True, timeout=5)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", NotJson, "not JSON"),
        (b"{", NotJson, "not JSON"),
        (b"typing=true", NotJson, "not JSON"),
        (b'{"typing":true}{}', NotJson, "not JSON"),
        (b'{"typing":tru', NotJson, "not JSON"),
        (b'{"typing":true,"name":"\xff"}', NotJson, "not JSON"),
        (b'{"typing":true,"a":"\\ud800"}', NotJson, "not JSON"),
        (b'{"typing":NaN}', NotJson, "not JSON"),
        (b'{"typing":"yes"}', BadJson, "$.typing"),
        (b'{"typing":1}', BadJson, "$.typing"),
        (b'{"typing":true,"timeout":1.5}', BadJson, "$.timeout"),
        (b'{"typing":true,"timeout":null}', BadJson, "$.timeout"),
        (b'{"timeout":1}', BadJson, "`typing`"),
        (b"[]", BadJson, "array"),
        (b"null", BadJson, "null"),
        (b'"typing"', BadJson, "str"),
        (b'{"typing":true,"a":' + b"[" * 200 + b"]" * 200 + b"}", BadJson, "100 levels"),
        (b'{"typing":true,"a":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}", BadJson, "100 levels"),
        (b"[" * 100_000, NotJson, "not JSON"),
        (b'{"typing":true,"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", NotJson, "not JSON"),
    ],
)
def test_a_body_of_the_wrong_form_is_refused_with_the_place(
    body: bytes, error: type[MatrixError], says: str
) -> None:
    with pytest.raises(error) as caught:
        sent(body).json(SetTyping)
    assert type(caught.value) is error
    assert says in caught.value.message


def test_no_body_may_count_as_an_empty_object() -> None:
    class AllOptional(msgspec.Struct):
        reason: str | None = None

    assert sent(None).json(AllOptional, allow_empty=True) == AllOptional()
    assert sent(None).json_object(allow_empty=True) == {}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NotJson),
        (b"{", NotJson),
        (b"[]", BadJson),
        (b"1", BadJson),
        (b"null", BadJson),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", BadJson),
        (b"[" * 100_000, NotJson),
    ],
)
def test_an_object_is_asked_for(body: bytes, error: type[MatrixError]) -> None:
    with pytest.raises(error):
        sent(body).json_object()


@pytest.mark.parametrize(
    "value", [{}, {"a": [[[1]]]}, {"a": [{}] * 1000}, {"a": [1] * 100 + [[] for _ in range(200)]}]
)
def test_wide_is_not_deep(value: dict[str, Any]) -> None:
    assert sent(value).json_object() == value


def test_query_parameters_are_decoded() -> None:
    request = asked("a=1&b=%C3%A9+x&a=2&empty=&flag&%61b=c")
    assert request.query == {"a": ["1", "2"], "b": ["é x"], "empty": [""], "flag": [""], "ab": ["c"]}
    assert request.query_one("a") == "1"
    assert request.query_all("a") == ["1", "2"]
    assert request.query_one("none") is None
    assert request.query_one("none", "default") == "default"
    assert request.query_required("empty") == ""
    with pytest.raises(MissingParam, match="none"):
        request.query_required("none")


@pytest.mark.parametrize("query", ["a=%ff", "%ff=1", "a=%00", "a=%ed%a0%80", "&".join(["a=1"] * 1001)])
def test_a_query_that_is_no_text_is_refused(query: str) -> None:
    with pytest.raises(InvalidParam):
        asked(query).query_one("a")


@pytest.mark.parametrize(
    ("text", "value"),
    [("limit=5", 5), ("limit=-3", -3), ("limit=0", 0), ("", 10), ("limit=99999", 100), ("limit=007", 7)],
)
def test_numbers_in_the_query(text: str, value: int) -> None:
    assert asked(text).query_int("limit", 10, maximum=100) == value


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e3", "+5", " 5", "5 ", "--5", "٣", "9" * 5000, "1_000"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidParam, match="limit must be"):
        request_of(
            "GET", "/x?limit=" + text.encode().hex("%").join(["%", ""]) if text else "/x?limit="
        ).query_int("limit", 1)


def test_a_number_below_the_minimum_is_refused() -> None:
    with pytest.raises(InvalidParam, match="at least 1"):
        asked("limit=0").query_int("limit", 10, minimum=1)


@pytest.mark.parametrize(("text", "value"), [("f=true", True), ("f=false", False), ("", False)])
def test_booleans_in_the_query(text: str, *, value: bool) -> None:
    assert asked(text).query_bool("f") is value


@pytest.mark.parametrize("text", ["f=1", "f=True", "f=", "f"])
def test_booleans_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidParam, match="f must be true or false"):
        asked(text).query_bool("f")


def test_choices_in_the_query() -> None:
    assert asked("dir=b").query_choice("dir", ("b", "f")) == "b"
    assert asked("").query_choice("dir", ("b", "f"), "f") == "f"
    with pytest.raises(MissingParam):
        asked("").query_choice("dir", ("b", "f"))
    with pytest.raises(InvalidParam, match="one of b, f"):
        asked("dir=x").query_choice("dir", ("b", "f"))


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ({"Authorization": "Bearer abc"}, "", "abc"),
        ({"Authorization": "bearer abc"}, "", "abc"),
        ({"Authorization": "Bearer  abc "}, "", "abc"),
        ({}, "access_token=abc", "abc"),
        ({}, "access_token=a%2Fbc", "a/bc"),
        ({"Authorization": "Bearer abc"}, "access_token=other", "abc"),
        ({"Authorization": "Basic abc"}, "access_token=other", None),
        ({"Authorization": "Bearer"}, "", None),
        ({"Authorization": ""}, "", None),
        ({}, "access_token=", None),
        ({}, "", None),
    ],
)
def test_where_the_access_token_stands(headers: dict[str, str], query: str, token: str | None) -> None:
    assert request_of("GET", f"/x?{query}", headers).access_token() == token


def test_headers_are_found_in_any_case() -> None:
    request = request_of("GET", "/x", {"User-Agent": "Element"})
    assert request.header("user-agent") == request.header("USER-AGENT") == "Element"
    assert request.header("x-none") is None


def test_nobody_acts_for_somebody_else() -> None:
    request = sent({})
    with pytest.raises(MissingToken):
        request.require_self(ALICE)
    request.known_requester = Requester(ALICE)
    request.require_self(ALICE)
    with pytest.raises(Forbidden, match="@bob:example"):
        request.require_self(UserId("@bob:example.org"))


def test_a_callback_set_too_late_is_called_at_once() -> None:
    told = []
    request = sent({})
    request.disconnect()
    request.on_disconnect(lambda: told.append("gone"))
    assert told == ["gone"]
