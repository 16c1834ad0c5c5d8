"""Requests that are not what was signed, and bodies that are not what they should be."""

from typing import Any

import pytest

from homeserver.protocol import canonical_json
from homeserver.protocol.signatures import SigningKey
from tests.peers.federation.adversary.hostile import is_hidden
from tests.support.adversary import V1, VERSIONS, Adversary, View, event_path
from tests.support.people import Person


def test_requests_that_are_not_what_was_signed(alice: Person, room: str, mallory: Adversary) -> None:
    target = f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}"
    lies: list[dict[str, Any]] = [
        {"signed_as": {"destination": "somebody.else"}},
        {"signed_as": {"origin": "innocent.example"}},
        {"signed_as": {"target": f"{V1}/version"}},
        {"signed_as": {"method": "POST"}},
        {"signed_as": {"content": b"{}x"}},
        {"signed_as": {"key": SigningKey("evil", b"x" * 32)}},
        {"signed_as": {"key": SigningKey("unknown", b"e" * 32)}},
        {"header": ""},
        {"header": "Bearer abc"},
        {"header": 'X-Matrix origin="evil.example",key="ed25519:evil",sig=""'},
    ]
    for lie in lies:
        answer = mallory.request("GET", target, **lie)
        assert answer.status == 401, (lie, answer.json)
    assert mallory.request("GET", target).status == 200


def test_a_request_for_another_server_is_not_taken(mallory: Adversary, room: str) -> None:
    """CVE-like replay: what was signed for one destination is sent to another."""
    signature = {"destination": "somebody.else"}
    answer = mallory.request(
        "GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}", signed_as=signature
    )
    assert answer.status == 401


def test_a_body_of_another_origin(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    body = {
        "origin": "innocent.example",
        "origin_server_ts": 1,
        "pdus": [mallory.event(view, "x")],
        "edus": [],
    }
    assert mallory.request("PUT", f"{V1}/send/other", body).status == 403


def test_duplicate_keys_in_a_request(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """One reader's first value is another reader's last: neither is believed, or both read the same."""
    pdu = mallory.event(view, "said once")
    good = canonical_json.encode_lenient(pdu)
    twice = good.replace(b'"content":', b'"content":{"body":"said twice","msgtype":"m.text"},"content":', 1)
    raw = b'{"edus":[],"origin":"evil.example","origin_server_ts":1,"pdus":[%b]}' % twice
    mallory.request("PUT", f"{V1}/send/twice", raw=raw)
    mallory.settle()
    assert "said twice" not in alice.messages(room).texts


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b'"x"', b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"pdus":{}}'],
)
def test_bodies_that_are_no_transaction(mallory: Adversary, view: View, raw: bytes) -> None:
    answer = mallory.request("PUT", f"{V1}/send/x{len(raw)}{raw[:1].hex()}", raw=raw)
    assert answer.status == (400 if raw else 401), answer.json


def test_a_transaction_replayed(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """By transaction ID and by event: it happens once."""
    pdu = mallory.event(view, "once")
    first = mallory.send([pdu], txn_id="again")
    assert mallory.send([pdu], txn_id="again").json == first.json
    other = mallory.event(view, "other")
    mallory.send([other], txn_id="again")  # the same ID is the same transaction, whatever it holds
    mallory.send([pdu])
    assert alice.messages(room, limit=100).texts.count("once") == 1
    assert not alice.sees(room, view.name(other))


def test_too_many_in_one_transaction(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    events = [mallory.event(view, f"flood {number}") for number in range(51)]
    assert mallory.send(events).status == 400
    assert mallory.send([], [{"edu_type": "m.typing", "content": {}}] * 101).status == 400
    assert is_hidden(alice, room, view, events[0])
