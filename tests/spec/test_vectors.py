"""The test vectors printed in the specification.

https://spec.matrix.org/latest/appendices/#canonical-json
https://spec.matrix.org/latest/appendices/#cryptographic-test-vectors
"""

import json

import pytest

from homeserver.protocol.canonical_json import NotCanonical, decode, encode
from homeserver.protocol.hashes import content_hash, decode_base64
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signatures import SigningKey, sign_event, sign_json, verify_event, verify_json

KEY = SigningKey("1", decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"))
NESTED = """{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {
    "display_name": "John Doe",
    "three_pids": [{"medium": "email", "address": "john.doe@example.org"},
                   {"medium": "msisdn", "address": "123456789"}]}}}"""
NESTED_CANONICAL = (
    '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
    '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]}'
    ',"success":true}}'
)


@pytest.mark.parametrize(("given", "canonical"), [
    ("{}", "{}"),
    ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
    ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
    ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
    (NESTED, NESTED_CANONICAL),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    ('{"a": "\\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0, "b": 10000000000}', '{"a":0,"b":10000000000}'),
])  # fmt: skip
def test_canonical_json(given, canonical):
    assert encode(decode(given.encode())) == canonical.encode()


def test_an_exponent_is_a_float_and_refused():
    """The specification prints 1e10 as an example, yet permits no floats: servers refuse it."""
    with pytest.raises(NotCanonical):
        encode(decode(b'{"b": 1e10}'))


@pytest.mark.parametrize(("given", "signature"), [
    ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
    (
        {"one": 1, "two": "Two"},
        "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
    ),
])  # fmt: skip
def test_signed_json(given, signature):
    signed = sign_json(given, "domain", KEY)
    assert signed == {**given, "signatures": {"domain": {"ed25519:1": signature}}}
    verify_json(signed, "domain", KEY.verify_key)


MINIMAL = {
    "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1000000,
    "signatures": {},
    "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [], "depth": 3,
    "unsigned": {"age_ts": 1000000},
}  # fmt: skip
REDACTABLE = {
    "content": {"body": "Here is the message content"}, "event_id": "$0:domain", "origin": "domain",
    "origin_server_ts": 1000000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
    "signatures": {}, "unsigned": {"age_ts": 1000000},
}  # fmt: skip


@pytest.mark.parametrize(("given", "content_hash_", "signature"), [
    (
        MINIMAL, "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
        "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
    ),
    (
        REDACTABLE, "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
        "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
    ),
])  # fmt: skip
def test_signed_events(given, content_hash_, signature):
    version = ROOM_VERSIONS["1"]
    assert content_hash(given) == content_hash_
    signed = sign_event(version, {**given, "hashes": {"sha256": content_hash_}}, "domain", KEY)
    assert signed["signatures"] == {"domain": {"ed25519:1": signature}}
    verify_event(version, json.loads(json.dumps(signed)), "domain", KEY.verify_key)
