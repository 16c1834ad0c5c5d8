"""Every call to other homeservers: what is sent, how it is signed, what comes back."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import pytest

from homeserver.protocol.canonical_json import encode
from homeserver.protocol.ids import EventId, RoomAlias, RoomId, UserId
from homeserver.remote.errors import (
    RemoteMisbehaved,
    RemoteRefused,
)
from homeserver.remote.federation import FederationClient
from homeserver.remote.federation_requests import path_of, target_of
from tests.homeserver.remote.federation.other import (
    EVENT,
    PDU,
    ROOM,
    THEM,
    USER,
    Other,
    check_signature,
)
from tests.support.clock import FakeClock
from tests.support.running import Running, result

# One method per call

Call = Callable[[FederationClient], Coroutine[Any, Any, Any]]

CALLS: list[tuple[str, Call, Any, str, dict[str, list[str]], Any]] = [
    (
        "send_transaction",
        lambda c: c.send_transaction(THEM, "txn/1", {"pdus": []}),
        {"pdus": {}},
        "PUT /_matrix/federation/v1/send/txn%2F1",
        {},
        {"pdus": []},
    ),
    (
        "make_join",
        lambda c: c.make_join(THEM, ROOM, USER, ["10", "11"]),
        {"room_version": "11", "event": PDU},
        "GET /_matrix/federation/v1/make_join/%21room%2Fwith%3Fodd%25characters%3Athem.example/"
        "%40user%2F%C3%BC%3Athem.example",
        {"ver": ["10", "11"]},
        None,
    ),
    (
        "send_join",
        lambda c: c.send_join(THEM, RoomId("!r"), EventId("$e"), PDU, omit_members=True),
        {"state": [PDU], "auth_chain": [], "members_omitted": True, "servers_in_room": ["a"], "event": PDU},
        "PUT /_matrix/federation/v2/send_join/%21r/%24e",
        {"omit_members": ["true"]},
        PDU,
    ),
    (
        "make_leave",
        lambda c: c.make_leave(THEM, RoomId("!r"), UserId("@u:a")),
        {"event": PDU},
        "GET /_matrix/federation/v1/make_leave/%21r/%40u%3Aa",
        {},
        None,
    ),
    (
        "send_leave",
        lambda c: c.send_leave(THEM, RoomId("!r"), EventId("$e"), PDU),
        {},
        "PUT /_matrix/federation/v2/send_leave/%21r/%24e",
        {},
        PDU,
    ),
    (
        "make_knock",
        lambda c: c.make_knock(THEM, RoomId("!r"), UserId("@u:a"), ["7"]),
        {"room_version": "7", "event": PDU},
        "GET /_matrix/federation/v1/make_knock/%21r/%40u%3Aa",
        {"ver": ["7"]},
        None,
    ),
    (
        "send_knock",
        lambda c: c.send_knock(THEM, RoomId("!r"), EventId("$e"), PDU),
        {"knock_room_state": [{}]},
        "PUT /_matrix/federation/v1/send_knock/%21r/%24e",
        {},
        PDU,
    ),
    (
        "invite",
        lambda c: c.invite(
            THEM, RoomId("!r"), EventId("$e"), room_version="11", event=PDU, invite_room_state=[{"a": 1}]
        ),
        {"event": PDU},
        "PUT /_matrix/federation/v2/invite/%21r/%24e",
        {},
        {"event": PDU, "invite_room_state": [{"a": 1}], "room_version": "11"},
    ),
    (
        "exchange_third_party_invite",
        lambda c: c.exchange_third_party_invite(THEM, RoomId("!r"), PDU),
        {},
        "PUT /_matrix/federation/v1/exchange_third_party_invite/%21r",
        {},
        PDU,
    ),
    (
        "get_event",
        lambda c: c.get_event(THEM, EVENT),
        {"pdus": [PDU]},
        "GET /_matrix/federation/v1/event/%24event%2F%2B%3Athem.example",
        {},
        None,
    ),
    (
        "state",
        lambda c: c.state(THEM, RoomId("!r"), EVENT),
        {"pdus": [PDU], "auth_chain": [PDU]},
        "GET /_matrix/federation/v1/state/%21r",
        {"event_id": [EVENT]},
        None,
    ),
    (
        "state_ids",
        lambda c: c.state_ids(THEM, RoomId("!r"), EVENT),
        {"pdu_ids": ["$a"], "auth_chain_ids": ["$b"]},
        "GET /_matrix/federation/v1/state_ids/%21r",
        {"event_id": [EVENT]},
        None,
    ),
    (
        "event_auth",
        lambda c: c.event_auth(THEM, RoomId("!r"), EventId("$e")),
        {"auth_chain": [PDU]},
        "GET /_matrix/federation/v1/event_auth/%21r/%24e",
        {},
        None,
    ),
    (
        "backfill",
        lambda c: c.backfill(THEM, RoomId("!r"), [EventId("$a"), EventId("$b")], limit=100),
        {"pdus": [PDU]},
        "GET /_matrix/federation/v1/backfill/%21r",
        {"v": ["$a", "$b"], "limit": ["100"]},
        None,
    ),
    (
        "missing_events",
        lambda c: c.missing_events(
            THEM, RoomId("!r"), earliest=[EventId("$a")], latest=[EventId("$b")], limit=5, min_depth=3
        ),
        {"events": [PDU]},
        "POST /_matrix/federation/v1/get_missing_events/%21r",
        {},
        {"earliest_events": ["$a"], "latest_events": ["$b"], "limit": 5, "min_depth": 3},
    ),
    (
        "timestamp_to_event",
        lambda c: c.timestamp_to_event(THEM, RoomId("!r"), 123, direction="f"),
        {"event_id": "$a", "origin_server_ts": 5},
        "GET /_matrix/federation/v1/timestamp_to_event/%21r",
        {"ts": ["123"], "dir": ["f"]},
        None,
    ),
    (
        "profile",
        lambda c: c.profile(THEM, USER, field="displayname"),
        {"displayname": "x"},
        "GET /_matrix/federation/v1/query/profile",
        {"user_id": [USER], "field": ["displayname"]},
        None,
    ),
    (
        "directory",
        lambda c: c.directory(THEM, RoomAlias("#a:them.example")),
        {"room_id": "!r", "servers": ["a"]},
        "GET /_matrix/federation/v1/query/directory",
        {"room_alias": ["#a:them.example"]},
        None,
    ),
    (
        "public_rooms",
        lambda c: c.public_rooms(THEM, {"limit": 5, "filter": {"generic_search_term": "x"}}),
        {"chunk": []},
        "POST /_matrix/federation/v1/publicRooms",
        {},
        {"limit": 5, "filter": {"generic_search_term": "x"}},
    ),
    (
        "public_rooms by GET",
        lambda c: c.public_rooms(THEM, {"limit": 5, "filter": {}}, insist_on_get=True),
        {"chunk": []},
        "GET /_matrix/federation/v1/publicRooms",
        {"limit": ["5"]},
        None,
    ),
    (
        "hierarchy",
        lambda c: c.hierarchy(THEM, RoomId("!r"), suggested_only=True),
        {"room": {}, "children": []},
        "GET /_matrix/federation/v1/hierarchy/%21r",
        {"suggested_only": ["true"]},
        None,
    ),
    (
        "user_devices",
        lambda c: c.user_devices(THEM, UserId("@u:a")),
        {"devices": [], "stream_id": 1},
        "GET /_matrix/federation/v1/user/devices/%40u%3Aa",
        {},
        None,
    ),
    (
        "query_keys",
        lambda c: c.query_keys(THEM, {USER: []}),
        {"device_keys": {}},
        "POST /_matrix/federation/v1/user/keys/query",
        {},
        {"device_keys": {USER: []}},
    ),
    (
        "claim_keys",
        lambda c: c.claim_keys(THEM, {USER: {"DEVICE": "signed_curve25519"}}),
        {"one_time_keys": {}},
        "POST /_matrix/federation/v1/user/keys/claim",
        {},
        {"one_time_keys": {USER: {"DEVICE": "signed_curve25519"}}},
    ),
    (
        "openid_userinfo",
        lambda c: c.openid_userinfo(THEM, "tok&en"),
        {"sub": "@a:them.example"},
        "GET /_matrix/federation/v1/openid/userinfo",
        {"access_token": ["tok&en"]},
        None,
    ),
    (
        "server_version",
        lambda c: c.server_version(THEM),
        {"server": {"name": "x"}},
        "GET /_matrix/federation/v1/version",
        {},
        None,
    ),
    (
        "policy_signature",
        lambda c: c.policy_signature(THEM, PDU),
        {"them.example": {}},
        "POST /_matrix/policy/v1/sign",
        {},
        PDU,
    ),
]


@pytest.mark.parametrize(
    ("call", "answer", "line", "query", "body"), [call[1:] for call in CALLS], ids=[call[0] for call in CALLS]
)
def test_what_is_sent(
    client: FederationClient,
    them: Other,
    call: Call,
    answer: Any,
    line: str,
    query: dict[str, list[str]],
    body: Any,
) -> None:
    them.will(answer)
    result(call(client))
    assert f"{them.request.method} {urlsplit(them.request.path).path}" == line
    assert them.query == query
    if body is None:
        assert them.request.body is None
    else:
        assert them.request.body == encode(body)
        assert them.request.headers["Content-Type"] == "application/json"
    check_signature(them.request)


@pytest.mark.parametrize("call", [call[1] for call in CALLS], ids=[call[0] for call in CALLS])
@pytest.mark.parametrize("answer", [b"", b"nonsense", b"[]", b"null", b"5", b'"x"', b"[" * 100_000])
def test_answers_that_are_no_objects(
    client: FederationClient, them: Other, call: Call, answer: bytes
) -> None:
    them.will(answer)
    with pytest.raises(RemoteMisbehaved):
        result(call(client))


LACKING_NOTHING = {"send_transaction", "send_leave", "exchange_third_party_invite", "profile", "query_keys"}
LACKING_NOTHING |= {"claim_keys", "server_version", "policy_signature", "send_knock", "state", "backfill"}
LACKING_NOTHING |= {"missing_events"}


@pytest.mark.parametrize(
    "call", [call[1] for call in CALLS if call[0] not in LACKING_NOTHING],
    ids=[call[0] for call in CALLS if call[0] not in LACKING_NOTHING],
)  # fmt: skip
@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"event": [], "state": {}, "auth_chain": "x", "pdus": 5, "events": {}, "chunk": {}, "devices": 1},
        {"state": [5], "auth_chain": [[]], "pdus": ["x"], "chunk": [1], "devices": ["a"], "room": []},
        {"pdu_ids": [1], "auth_chain_ids": [], "event_id": 1, "origin_server_ts": "x", "sub": 5},
        {"room_id": 1, "servers": [], "room": {}, "children": [5]},
        {"room_id": "!r", "servers": [{}]},
    ],
)
def test_answers_that_lack_what_they_must_have(
    client: FederationClient, them: Other, call: Call, answer: Any
) -> None:
    them.will(answer)
    with pytest.raises(RemoteMisbehaved):
        result(call(client))


def test_what_is_read(client: FederationClient, them: Other) -> None:
    them.will(
        {"state": [PDU], "auth_chain": [], "members_omitted": True, "servers_in_room": ["a"], "event": PDU}
    )
    joined = result(client.send_join(THEM, RoomId("!r"), EventId("$e"), PDU))
    assert (joined.state, joined.auth_chain, joined.event) == ([PDU], [], PDU)
    assert (joined.members_omitted, joined.servers_in_room) == (True, ["a"])
    them.answers.clear()
    them.will({"state": [], "auth_chain": []})
    joined = result(client.send_join(THEM, RoomId("!r"), EventId("$e"), PDU))
    assert (joined.members_omitted, joined.servers_in_room, joined.event) == (False, [], None)
    them.answers.clear()
    them.will({"event": PDU})
    assert result(client.make_leave(THEM, RoomId("!r"), USER)).room_version == "1"


def test_a_large_room_does_not_stop_the_clock(client: FederationClient, them: Other, time: FakeClock) -> None:
    them.will({"state": [{"n": number} for number in range(2_000)], "auth_chain": []})
    running = Running(client.send_join(THEM, RoomId("!r"), EventId("$e"), PDU))
    assert not running.is_done
    time.advance(0.1)
    assert [pdu["n"] for pdu in running.result().state] == list(range(2_000))


def test_an_invite_to_an_old_server(client: FederationClient, them: Other) -> None:
    them.will({"errcode": "M_UNRECOGNIZED"}, 404)
    them.will([200, {"event": {"signed": True}}])
    invited = result(
        client.invite(
            THEM, RoomId("!r"), EventId("$e"), room_version="2", event=PDU, invite_room_state=[{"a": 1}]
        )
    )
    assert invited == {"signed": True}
    assert them.request.path == "/_matrix/federation/v1/invite/%21r/%24e"
    assert them.body == {**PDU, "unsigned": {"invite_room_state": [{"a": 1}]}}


@pytest.mark.parametrize(("version", "status"), [("11", 404), ("2", 403)])
def test_an_invite_that_is_refused(client: FederationClient, them: Other, version: str, status: int) -> None:
    them.will({"errcode": "M_UNRECOGNIZED" if status == 404 else "M_FORBIDDEN"}, status)
    with pytest.raises(RemoteRefused):
        result(
            client.invite(
                THEM, RoomId("!r"), EventId("$e"), room_version=version, event=PDU, invite_room_state=[]
            )
        )
    assert len(them.asked) == 1


# Signing


def test_bytes_are_sent_as_they_are(client: FederationClient, them: Other) -> None:
    them.will({})
    body = b'{"pdus":[{"depth":1.5}]}'
    result(client.send_transaction(THEM, "1", body))
    assert them.request.body == body
    check_signature(them.request)


def test_numbers_of_old_rooms_can_be_sent(client: FederationClient, them: Other) -> None:
    them.will({})
    result(client.send_transaction(THEM, "1", {"pdus": [{"depth": 2**63, "x": 1.5}]}))
    assert them.request.body == b'{"pdus":[{"depth":9223372036854775808,"x":1.5}]}'
    check_signature(them.request)


@pytest.mark.parametrize(
    ("query", "target"),
    [
        (None, "/p"),
        ({}, "/p"),
        ({"a": None, "b": []}, "/p"),
        ({"a": "x y&z=ü", "b": ["1", "2"]}, "/p?a=x%20y%26z%3D%C3%BC&b=1&b=2"),
        ({"c": True, "d": False, "e": 5}, "/p?c=true&d=false&e=5"),
    ],
)  # fmt: skip
def test_queries(query: Any, target: str) -> None:
    assert target_of("/p", query) == target


def test_paths() -> None:
    assert path_of("/a/{}/b/{}", "x/../y", "?#%") == "/a/x%2F..%2Fy/b/%3F%23%25"
