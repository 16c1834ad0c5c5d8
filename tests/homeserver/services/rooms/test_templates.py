"""What another server proposes as our user's membership, and what of it is taken."""

from collections.abc import Mapping
from typing import Any

import pytest

from homeserver.protocol.errors import IncompatibleRoomVersion
from homeserver.protocol.ids import RoomId, ServerName, UserId
from homeserver.protocol.room_versions import ROOM_VERSIONS, EventIdFormat
from homeserver.protocol.signatures import SigningKey, verify_event
from homeserver.remote.errors import RemoteMisbehaved
from homeserver.services.rooms.templates import Completed, Wish, complete, with_signature_of

HERE = ServerName("here")
KEY = SigningKey("k", b"k" * 32)
BOB = UserId("@bob:here")
ROOMS = {version: "!hash" if version == "12" else "!room:there" for version in ROOM_VERSIONS}


def wish(version: str, **content: Any) -> Wish:
    return Wish(RoomId(ROOMS[version]), BOB, "join", {"membership": "join", "displayname": "Bob", **content})


def template(version: str, **changed: Any) -> dict[str, Any]:
    explicit = ROOM_VERSIONS[version].event_id_format is EventIdFormat.EXPLICIT
    link: Any = ["$e:there", {"sha256": "aGFzaA"}] if explicit else "$event"
    return {
        "type": "m.room.member", "room_id": ROOMS[version], "sender": BOB, "state_key": BOB,
        "content": {"membership": "join", "evil": "x"}, "prev_events": [link], "auth_events": [link],
        "depth": 7, "origin": "there", "origin_server_ts": 5, **changed,
    }  # fmt: skip


def completed(version: str, **changed: Any) -> Completed:
    return complete(version, template(version, **changed), wish(version), HERE, KEY, now_ms=1_000)


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_the_place_is_taken_and_the_content_is_ours(version: str) -> None:
    done = completed(version)
    event = done.event
    assert event.content == {"membership": "join", "displayname": "Bob"}
    assert (event.depth, event.origin_server_ts) == (7, 1_000)
    assert len(event.prev_event_ids) == len(event.auth_event_ids) == 1
    verify_event(done.version, event.pdu, HERE, KEY.verify_key)
    if ROOM_VERSIONS[version].event_id_format is EventIdFormat.EXPLICIT:
        assert event.pdu["prev_events"] == [["$e:there", {"sha256": "aGFzaA"}]]
        assert event.event_id.endswith(":here")


def test_who_authorises_a_restricted_join_is_taken_over() -> None:
    content = {"membership": "join", "join_authorised_via_users_server": "@a:there"}
    assert completed("11", content=content).event.content["join_authorised_via_users_server"] == "@a:there"
    odd = {**content, "join_authorised_via_users_server": 5}
    assert "join_authorised_via_users_server" not in completed("11", content=odd).event.content


BAD: dict[str, dict[str, Any]] = {
    "another type": {"type": "m.room.message"},
    "another room": {"room_id": "!other:there"},
    "another sender": {"sender": "@a:there"},
    "another user": {"state_key": "@a:there"},
    "another membership": {"content": {"membership": "leave"}},
    "no content": {"content": None},
    "no depth": {"depth": "7"},
    "a negative depth": {"depth": -1},
    "no prevs": {"prev_events": None},
    "pairs": {"prev_events": [["$e", {}]]},
    "no event IDs": {"auth_events": ["nonsense"]},
    "too many": {"auth_events": [f"${n}" for n in range(11)]},
}


@pytest.mark.parametrize("case", list(BAD))
def test_anything_else_is_not_signed(case: str) -> None:
    with pytest.raises(RemoteMisbehaved):
        completed("11", **BAD[case])


@pytest.mark.parametrize("links", [["$e"], [["$e:there"]], [["$e:there", "x"]], [[5, {}]]])
def test_old_versions_have_pairs(links: Any) -> None:
    with pytest.raises(RemoteMisbehaved):
        completed("1", prev_events=links)


def test_a_version_that_is_not_known_here() -> None:
    with pytest.raises(IncompatibleRoomVersion) as refused:
        complete("org.example", template("11"), wish("11"), HERE, KEY, now_ms=1)
    assert refused.value.fields == {"room_version": "org.example"}


def test_only_a_signature_is_taken_of_what_comes_back() -> None:
    event = completed("11").event
    signatures: Any = {"there": {"ed25519:a": "x"}, "here": {"ed25519:b": "y"}}
    sent_back = {**event.pdu, "signatures": signatures, "content": {"no": 1}}
    pdu = with_signature_of(ServerName("there"), event, sent_back)
    assert pdu["content"] == event.content
    assert pdu["signatures"] == {**_signatures(event.pdu), "there": {"ed25519:a": "x"}}
    for nothing in ({}, {"signatures": []}, {"signatures": {"there": 5}}):
        assert with_signature_of(ServerName("there"), event, nothing) == event.pdu


def _signatures(pdu: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = pdu["signatures"]
    return found
