"""A hostile server tries everything it can think of; what it must not reach stays as it was.

Each test is one lie. The victim is a whole server in memory, so that a lie costs milliseconds to tell.
"""

import time as wall_clock
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol import canonical_json
from homeserver.protocol.hashes import content_hash
from homeserver.protocol.ids import ServerName
from homeserver.protocol.room_versions import room_version
from homeserver.protocol.signatures import SigningKey, sign_event
from tests.support.adversary import V1, V2, VERSIONS, Adversary, Pdu, View, event_path
from tests.support.clock import FakeClock
from tests.support.database import Databases
from tests.support.network import Network
from tests.support.people import Person, path
from tests.support.whole_server import QUIET, WholeServer

OPEN_TO_OTHERS = QUIET.replace("presence: {enabled: false}", "presence: {enabled: true}")


@pytest.fixture
def server(databases: Databases, time: FakeClock, tmp_path: Path) -> Iterator[WholeServer]:
    """The victim."""
    server = WholeServer(
        databases.fresh("sqlite"), time, settings=OPEN_TO_OTHERS, folder=tmp_path, network=Network()
    )
    yield server
    server.stop()


@pytest.fixture
def mallory(server: WholeServer) -> Adversary:
    return Adversary(server)


@pytest.fixture
def third(server: WholeServer) -> Adversary:
    """A server that has done nothing wrong."""
    return Adversary(server, "innocent.example", seed=b"i")


@pytest.fixture
def room(alice: Person) -> str:
    return alice.create_room(preset="public_chat", room_version="11")


@pytest.fixture
def view(mallory: Adversary, room: str) -> View:
    """Mallory has joined, honestly."""
    return mallory.join(room)


def is_hidden(alice: Person, room: str, view: View, *pdus: Pdu) -> bool:
    """None of these events can be seen in any way."""
    ids = {view.name(pdu) for pdu in pdus}
    shown = {event["event_id"] for event in alice.messages(room, limit=1000).events}
    state = {event["event_id"] for event in alice.state(room).values()}
    return not ids & (shown | state) and not any(alice.sees(room, event_id) for event_id in ids)


def still_works(alice: Person, room: str, view: View, mallory: Adversary) -> bool:
    """After the attack, honest events go both ways."""
    event_id = mallory.say(view, "honest")
    mine = alice.send(room, "me too")
    mallory.settle()
    return alice.sees(room, event_id) and any(view.name(pdu) == mine for pdu in mallory.received)


def test_the_adversary_can_be_honest(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Else the refusals below would prove nothing."""
    first, second = mallory.say(view, "hello"), mallory.say(view, "it is me")
    assert alice.sees(room, first)
    assert alice.sees(room, second)
    assert still_works(alice, room, view, mallory)


# Signatures


def test_an_event_in_the_name_of_a_user_of_the_victim(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    forged = mallory.event(view, "I owe Mallory money", sender=alice.user_id)
    mallory.send([forged])
    assert is_hidden(alice, room, view, forged)
    assert still_works(alice, room, view, mallory)


def test_an_event_in_the_name_of_a_user_of_a_third_server(
    alice: Person, room: str, view: View, mallory: Adversary, third: Adversary
) -> None:
    joined = third.join(room)
    mallory.catch_up(view)
    view.state["m.room.member", third.user] = joined.state["m.room.member", third.user]
    forged = mallory.event(view, "forged", sender=third.user)
    claimed = sign_event(view.version, forged, third.name, mallory.key)  # in its name, with our key
    mallory.send([forged, claimed])
    assert is_hidden(alice, room, view, forged)
    assert alice.sees(room, third.say(joined, "really mine"))


@pytest.mark.parametrize(
    "damage", ["none", "garbage", "other key", "short", "not base64", "list", "other name"]
)
def test_a_signature_that_is_none(
    alice: Person, room: str, view: View, mallory: Adversary, damage: str
) -> None:
    pdu = mallory.event(view, damage)
    good = pdu["signatures"][mallory.name][mallory.key.key_id]
    other = SigningKey(mallory.key.key_id.partition(":")[2], b"o" * 32)
    pdu["signatures"] = {
        "none": {},
        "garbage": {mallory.name: {mallory.key.key_id: "A" * 86}},
        "other key": mallory.finish(view, pdu, key=other)["signatures"],
        "short": {mallory.name: {mallory.key.key_id: good[:20]}},
        "not base64": {mallory.name: {mallory.key.key_id: "€" * 86}},
        "list": [good],
        "other name": {"innocent.example": {mallory.key.key_id: good}},
    }[damage]
    assert mallory.send([pdu]).status == 200
    assert is_hidden(alice, room, view, pdu)
    assert still_works(alice, room, view, mallory)


def test_content_changed_after_signing_is_redacted(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    """The hash does not fit: what was not signed is not shown, the event's place in history is kept."""
    pdu = mallory.event(view, "what I signed")
    pdu["content"] = {"msgtype": "m.text", "body": "what I did not"}
    mallory.send([pdu])
    assert alice.event(room, view.name(pdu))["content"] == {}
    assert "what I did not" not in alice.messages(room).texts


def test_a_key_that_had_expired_when_the_event_was_made(
    server: WholeServer, alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    """Room versions from 5 on: keys are good until they expire, whatever they sign afterwards."""
    old = SigningKey("old", b"o" * 32)
    expired = server.time.now_ms() - 3_600_000
    entry = {old.key_id: {"key": old.verify_key.to_base64(), "expired_ts": expired}}
    mallory.key_document = lambda: mallory.honest_keys(old_verify_keys=entry)
    server.time.advance(7_200)  # the victim has asked for the keys just now, and does not do so all the time
    late = mallory.finish(view, mallory.event(view, "too late"), key=old)
    early = mallory.finish(view, mallory.event(view, "in time", origin_server_ts=expired - 1), key=old)
    mallory.send([late])
    assert is_hidden(alice, room, view, late)
    mallory.send([early])
    assert alice.sees(room, view.name(early))


def test_a_key_document_that_lies(server: WholeServer, alice: Person, mallory: Adversary) -> None:
    """Not signed by the key it holds, for another server, or outdated: nobody is admitted."""
    room = alice.create_room(preset="public_chat")
    make_join = f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}"
    other = Adversary(server, "other.example", seed=b"o")
    for document in (
        {**mallory.honest_keys(), "valid_until_ts": server.time.now_ms() + 1},  # changed after signing
        other.honest_keys(),
        mallory.honest_keys(server_name="other.example"),
        mallory.honest_keys(verify_keys={}),
        {"server_name": mallory.name},
        [],
        b"{" * 10_000,
    ):
        mallory.key_document = lambda document=document: document
        assert mallory.request("GET", make_join).status in (401, 403), document
        server.time.advance(7200)


def test_the_key_that_a_generator_without_randomness_made(server: WholeServer, alice: Person) -> None:
    """CVE-2026-24044: servers of a known bad deployment share one signing key."""
    room = alice.create_room(preset="public_chat")
    lucky = Adversary(server, "honest.example", seed=b"h")
    assert lucky.request("GET", f"{V1}/make_join{event_path(room, lucky.user)}?{VERSIONS}").status == 200


@pytest.mark.parametrize("door", ["get_missing_events", "event_auth", "state"])
def test_forged_events_fetched_to_fill_gaps(
    alice: Person, room: str, view: View, mallory: Adversary, door: str
) -> None:
    """CVE-2022-39200: what a server answers is checked as what it sends."""
    forged = mallory.event(view, "forged", sender=alice.user_id)
    power = mallory.event(
        view,
        {"users": {mallory.user: 100, alice.user_id: 0}},
        type_="m.room.power_levels",
        state_key="",
        sender=alice.user_id,
    )
    mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": [forged, power]}))
    mallory.on(f"{V1}/event_auth", lambda _: (200, {"auth_chain": [forged, power, *view.state.values()]}))
    state = {"pdus": [power, *view.state.values()], "auth_chain": [*view.state.values()]}
    mallory.on(f"{V1}/state/", lambda _: (200, state))
    mallory.on(f"{V1}/event/", lambda _: (200, {"pdus": [power]}))
    mallory.on(
        f"{V1}/state_ids",
        lambda _: (
            200,
            {
                "pdu_ids": [view.name(power), *map(view.name, view.state.values())],
                "auth_chain_ids": [view.name(pdu) for pdu in view.state.values()],
            },
        ),
    )
    if door != "get_missing_events":
        mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": []}))
    fields: dict[str, Any] = {"prev_events": [view.name(forged)]}
    if door == "event_auth":
        fields["auth_events"] = [view.name(power)]
    follower = mallory.event(view, "follows", **fields)
    mallory.send([follower])
    mallory.settle(5)
    assert is_hidden(alice, room, view, forged, power)
    assert alice.state_of(room, "m.room.power_levels")["users"].get(mallory.user, 0) == 0
    alice.set_state(room, "m.room.name", {"name": "Still hers"})


# Requests


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
        assert answer.status in (401, 403), (lie, answer.json)
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
    assert mallory.request("PUT", f"{V1}/send/other", body).status in (400, 401, 403)


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
    assert answer.status in (400, 401, 403), answer.json


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


# EDUs


def test_typing_of_others_users(
    alice: Person, bob: Person, room: str, view: View, mallory: Adversary
) -> None:
    bob.join(room)
    bob.sync()
    for user in (alice.user_id, "@somebody:innocent.example"):
        content = {"room_id": room, "user_id": user, "typing": True}
        mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert bob.sync().typing(room) == set()
    content = {"room_id": room, "user_id": mallory.user, "typing": True}
    mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert bob.sync().typing(room) == {mallory.user}


def test_receipts_of_others_users(
    alice: Person, bob: Person, room: str, view: View, mallory: Adversary
) -> None:
    """CVE-2023-42453."""
    event_id = alice.send(room, "read me")
    bob.join(room)
    alice.sync()

    def receipt(user: str) -> dict[str, Any]:
        read = {"m.read": {user: {"data": {"ts": 1}, "event_ids": [event_id]}}}
        return {"edu_type": "m.receipt", "content": {room: read}}

    mallory.send(edus=[receipt(bob.user_id), receipt("@somebody:innocent.example")])
    assert alice.sync().receipts(room) == {}
    mallory.send(edus=[receipt(mallory.user)])
    assert mallory.user in alice.sync().receipts(room)[event_id]["m.read"]


def test_presence_of_others_users(
    alice: Person, bob: Person, room: str, view: View, mallory: Adversary
) -> None:
    bob.join(room)
    alice.sync()
    entries = [
        {"user_id": user, "presence": "online", "status_msg": "pwned"}
        for user in (bob.user_id, "@somebody:innocent.example")
    ]
    mallory.send(edus=[{"edu_type": "m.presence", "content": {"push": entries}}])
    assert "pwned" not in str(alice.sync().json)


@pytest.mark.parametrize(
    "type_", ["m.typing", "m.receipt", "m.presence", "m.direct_to_device", "m.odd", "", 5, None]
)
@pytest.mark.parametrize(
    "content", [{}, [], None, "x", {"push": 5}, {"room_id": 5}, {"!r:x": {"m.read": []}}]
)
def test_edus_that_make_no_sense(
    alice: Person, room: str, view: View, mallory: Adversary, type_: Any, content: Any
) -> None:
    event = mallory.event(view, "beside nonsense")
    answer = mallory.send([event], [{"edu_type": type_, "content": content}, content])
    assert answer.status == 200, answer.json
    assert alice.sees(room, view.name(event))


def test_edus_of_a_server_that_the_room_shuts_out(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    alice.sync()
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": ["evil.example"]})
    content = {"room_id": room, "user_id": mallory.user, "typing": True}
    mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert alice.sync().typing(room) == set()


def test_typing_in_a_room_that_its_server_is_not_in(alice: Person, mallory: Adversary) -> None:
    room = alice.create_room()
    alice.sync()
    content = {"room_id": room, "user_id": mallory.user, "typing": True}
    mallory.send(edus=[{"edu_type": "m.typing", "content": content}])
    assert alice.sync().typing(room) == set()


# Paths and bodies


def half_joined(mallory: Adversary, room: str) -> tuple[View, Pdu]:
    """A room that Mallory is not in, and a template for joining it."""
    template = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}").json
    view = View(room, room_version(template["room_version"]))
    return view, template["event"]


def test_a_join_sent_to_another_room(alice: Person, room: str, mallory: Adversary) -> None:
    """CVE-2020-26257: the path names one room, the event another."""
    secret = alice.create_room(preset="private_chat", room_version="11")
    view, template = half_joined(mallory, room)
    pdu = mallory.finish(view, template)
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(secret, view.name(pdu))}", pdu)
    assert answer.status in (400, 403, 404)
    assert mallory.user not in alice.state_of(secret, "m.room.member", mallory.user, refused="M_NOT_FOUND")


def test_a_join_under_another_event_id(alice: Person, room: str, mallory: Adversary) -> None:
    view, template = half_joined(mallory, room)
    pdu = mallory.finish(view, template)
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(room, '$' + 'A' * 43)}", pdu)
    assert answer.status in (400, 403)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "m.room.name"},
        {"content": {"membership": "invite"}},
        {"content": {"membership": "leave"}},
        {"content": {}},
        {"state_key": "@other:evil.example"},
        {"state_key": "@alice:test"},
        {"sender": "@alice:test", "state_key": "@alice:test"},
        {"sender": "@x:innocent.example", "state_key": "@x:innocent.example"},
        {"state_key": None},
        {"room_id": "!other:test"},
        {"auth_events": []},
        {"prev_events": []},
        {"depth": -1},
        {"depth": "1"},
        {"origin_server_ts": None},
    ],
)
def test_a_join_that_is_something_else(
    alice: Person, room: str, mallory: Adversary, change: dict[str, Any]
) -> None:
    before = alice.state(room).keys()
    view, template = half_joined(mallory, room)
    pdu = mallory.finish(view, {**template, **change})
    answer = mallory.request("PUT", f"{V2}/send_join{event_path(room, view.name(pdu))}", pdu)
    assert answer.status in (400, 403, 404, 413, 503), answer.json
    assert alice.state(room).keys() == before


@pytest.mark.parametrize("what", ["make_join", "make_leave", "make_knock"])
def test_templates_for_users_of_other_servers(
    alice: Person, room: str, mallory: Adversary, what: str
) -> None:
    for user in (alice.user_id, "@x:innocent.example", "nonsense", "@:evil.example:80"):
        answer = mallory.request("GET", f"{V1}/{what}{event_path(room, user)}?{VERSIONS}")
        assert 400 <= answer.status < 500, (user, answer.json)


def test_a_leave_that_is_a_kick(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    kick = mallory.event(view, {"membership": "leave"}, type_="m.room.member", state_key=alice.user_id)
    answer = mallory.request("PUT", f"{V2}/send_leave{event_path(room, view.name(kick))}", kick)
    assert 400 <= answer.status < 500
    assert room in alice.joined_rooms()


# Authorisation


def test_power_that_was_never_given(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels.get("users", {}), mallory.user: 100}
    grab = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="")
    ban = mallory.event(view, {"membership": "ban"}, type_="m.room.member", state_key=alice.user_id)
    mallory.send([grab, name, ban])
    assert is_hidden(alice, room, view, grab, name, ban)
    assert room in alice.joined_rooms()
    assert still_works(alice, room, view, mallory)


def test_rejected_power_cannot_be_used(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2022-39374: what rests on a rejected event is rejected, and never comes into the state."""
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels.get("users", {}), mallory.user: 100}
    grab = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    auth = [view.name(view.state["m.room.create", ""]), view.name(grab)]
    auth.append(view.name(view.state["m.room.member", mallory.user]))
    name = mallory.event(
        view,
        {"name": "Mine"},
        type_="m.room.name",
        state_key="",
        auth_events=auth,
        prev_events=[view.name(grab)],
    )
    for batch in ([grab, name], [name], [grab], [name]):
        mallory.send(batch)
    assert is_hidden(alice, room, view, grab, name)
    after = alice.send(room, "fine")
    mallory.settle()
    sent = next(pdu for pdu in mallory.received if view.name(pdu) == after)
    assert not {view.name(grab), view.name(name)} & set(sent["prev_events"])


def test_auth_events_of_another_room(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """MSC4307: power in one room is none in another."""
    own = alice.create_room(
        preset="public_chat",
        room_version="11",
        power_level_content_override={"users": {alice.user_id: 100, mallory.user: 100}},
    )
    there = mallory.join(own)
    auth = [view.name(view.state["m.room.create", ""]), view.name(there.state["m.room.power_levels", ""])]
    auth.append(view.name(view.state["m.room.member", mallory.user]))
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="", auth_events=auth)
    mallory.send([name])
    assert is_hidden(alice, room, view, name)


@pytest.mark.parametrize(
    "what", ["twice", "without create", "without membership", "too many", "unknown", "itself"]
)
def test_wrong_auth_events(alice: Person, room: str, view: View, mallory: Adversary, what: str) -> None:
    honest = mallory.event(view)
    chosen = honest["auth_events"]
    create = view.name(view.state["m.room.create", ""])
    member = view.name(view.state["m.room.member", mallory.user])
    auth = {
        "twice": [*chosen, chosen[0]],
        "without create": [one for one in chosen if one != create],
        "without membership": [one for one in chosen if one != member],
        "too many": [*chosen, view.name(view.state["m.room.join_rules", ""])],
        "unknown": [*chosen, "$" + "A" * 43],
        "itself": [*chosen, view.name(honest)],
    }[what]
    pdu = mallory.event(view, "no", auth_events=auth)
    mallory.send([pdu])
    mallory.settle(10)
    assert is_hidden(alice, room, view, pdu)
    assert still_works(alice, room, view, mallory)


def test_who_was_banned_writes_on_an_old_branch(
    alice: Person, room: str, view: View, mallory: Adversary
) -> None:
    """Allowed by the state it rests on, not by the present: kept, not shown, and never built upon."""
    alice.ban(room, mallory.user)
    late = [mallory.event(view, f"I was quicker {number}") for number in range(3)]
    mallory.send(late)
    assert is_hidden(alice, room, view, *late)
    assert alice.state_of(room, "m.room.member", mallory.user)["membership"] == "ban"
    alice.send(room, "peace")


def test_who_was_demoted_uses_old_power(alice: Person, mallory: Adversary) -> None:
    override = {"users": {alice.user_id: 100, mallory.user: 50}}
    room = alice.create_room(preset="public_chat", room_version="11", power_level_content_override=override)
    view = mallory.join(room)
    levels = alice.state_of(room, "m.room.power_levels")
    alice.set_state(room, "m.room.power_levels", {**levels, "users": {alice.user_id: 100}})
    name = mallory.event(view, {"name": "Mine"}, type_="m.room.name", state_key="")
    mallory.send([name])
    assert alice.state_of(room, "m.room.name", refused="M_NOT_FOUND")
    assert is_hidden(alice, room, view, name)


def test_a_second_create_event(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    content = {"creator": mallory.user, "room_version": "11"}
    create = mallory.event(view, content, type_="m.room.create", state_key="")
    first = mallory.event(
        view, content, type_="m.room.create", state_key="", prev_events=[], auth_events=[], depth=1
    )
    mallory.send([create, first])
    assert is_hidden(alice, room, view, create, first)


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_creators_cannot_be_demoted(alice: Person, mallory: Adversary, version: str) -> None:
    override = {"users": {mallory.user: 100} if version == "12" else {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version=version, power_level_content_override=override
    )
    view = mallory.join(room)
    levels = dict(view.state["m.room.power_levels", ""]["content"])
    levels["users"] = {**levels["users"], alice.user_id: 0}
    grab = mallory.event(view, levels, type_="m.room.power_levels", state_key="")
    kick = mallory.event(view, {"membership": "leave"}, type_="m.room.member", state_key=alice.user_id)
    mallory.send([grab, kick])
    assert is_hidden(alice, room, view, grab, kick)
    assert room in alice.joined_rooms()


# Forms and sizes


BAD_VALUES: list[Any] = [1.5, 2**53, -(2**53), 2**70, 1e400]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_numbers_that_are_not_canonical(
    alice: Person, room: str, view: View, mallory: Adversary, value: Any
) -> None:
    pdu = mallory.event(view, "?")
    raw = canonical_json.encode_lenient({"edus": [], "origin": mallory.name, "pdus": [pdu]})
    text = {1e400: b"1e400"}.get(value, repr(value).encode())
    raw = raw.replace(b'"body":"?"', b'"body":"?","number":%b' % text)
    mallory.request("PUT", f"{V1}/send/number{BAD_VALUES.index(value)}", raw=raw)
    mallory.settle()
    assert "?" not in alice.messages(room).texts
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("value", [-1, 2**53, 2**63, 2**64, "5", None, 1.0, True])
@pytest.mark.parametrize("name", ["depth", "origin_server_ts"])
def test_absurd_numbers_in_an_event(
    alice: Person, room: str, view: View, mallory: Adversary, name: str, value: Any
) -> None:
    """CVE-2025-30355: one malformed event must not stop the events after it, from here or elsewhere."""
    mallory.send([mallory.event(view, "absurd", **{name: value})])
    assert still_works(alice, room, view, mallory)


def test_the_deepest_event(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """The room goes on, though nothing can be deeper."""
    deep = mallory.event(view, "abyss", depth=2**53 - 1)
    mallory.send([deep])
    mine = alice.send(room, "deeper?")
    mallory.settle()
    sent = next(pdu for pdu in mallory.received if view.name(pdu) == mine)
    assert sent["depth"] <= 2**53 - 1
    alice.send(room, "and deeper?")
    mallory.settle()
    assert len(alice.messages(room, limit=10).texts) >= 2


def test_big_events(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    big = mallory.event(view, {"msgtype": "m.text", "body": "x" * 66_000})
    fits = mallory.event(view, {"msgtype": "m.text", "body": "x" * 64_000})
    mallory.send([big])
    mallory.send([fits])
    assert is_hidden(alice, room, view, big)
    assert alice.sees(room, view.name(fits))


@pytest.mark.parametrize("name", ["type", "sender", "state_key", "room_id"])
def test_fields_of_more_than_255_bytes(
    alice: Person, room: str, view: View, mallory: Adversary, name: str
) -> None:
    """Bytes, not characters."""
    value = {"sender": f"@{'é' * 130}:evil.example", "room_id": f"!{'é' * 130}:test"}.get(name, "é" * 130)
    pdu = mallory.event(view, "long", **{name: value})
    assert mallory.send([pdu]).status == 200
    assert is_hidden(alice, room, view, pdu)
    assert still_works(alice, room, view, mallory)


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\x00b"])
def test_characters_that_are_none(
    alice: Person, room: str, view: View, mallory: Adversary, text: str
) -> None:
    escaped = {"\ud800": rb"\ud800", "\x00": rb"\u0000", "a\x00b": rb"a\u0000b"}[text]
    pdu = mallory.event(view, "MARK")
    raw = canonical_json.encode_lenient({"edus": [], "origin": mallory.name, "pdus": [pdu]})
    for number, target in enumerate((b'"body":"MARK"', b'"type":"m.room.message"')):
        changed = raw.replace(target, target[:-1] + escaped + b'"')
        mallory.request("PUT", f"{V1}/send/odd{number}", raw=changed)
    mallory.settle()
    assert alice.sync(since=None).next_batch
    assert still_works(alice, room, view, mallory)


def test_deep_nesting(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Nothing recurses as deep as somebody else likes."""
    pdu = mallory.event(view, "MARK")
    raw = canonical_json.encode_lenient({"edus": [], "origin": mallory.name, "pdus": [pdu]})
    nested = raw.replace(b'"MARK"', b"[" * 20_000 + b"]" * 20_000)
    mallory.request("PUT", f"{V1}/send/nested", raw=nested)
    assert still_works(alice, room, view, mallory)


NONSENSE: list[Any] = [
    None,
    5,
    "x",
    [],
    {},
    {"type": 5},
    {"room_id": []},
    {"content": "x", "type": "m.room.message"},
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_beside_an_event(
    alice: Person, room: str, view: View, mallory: Adversary, nonsense: Any
) -> None:
    """One malformed entry never harms the rest of a transaction."""
    pdu = mallory.event(view, "sense")
    if isinstance(nonsense, dict):
        nonsense = {"room_id": room, **nonsense}
    answer = mallory.send([nonsense, pdu, nonsense])
    assert answer.status == 200, answer.json
    assert answer.json["pdus"].get(view.name(pdu)) == {}
    assert alice.sees(room, view.name(pdu))


FIELDS = [
    "type",
    "sender",
    "content",
    "room_id",
    "prev_events",
    "auth_events",
    "depth",
    "origin_server_ts",
    "hashes",
]


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [[]], [5], [None], {"sha256": 5}])
@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_wrong_form(
    alice: Person, room: str, view: View, mallory: Adversary, name: str, value: Any
) -> None:
    """CVE-2025-30355 again, for every field."""
    try:
        pdu = mallory.event(view, "odd", **{name: value})
    except Exception:
        pdu = {**mallory.event(view, "odd"), name: value}
    if name == "hashes":
        pdu["hashes"] = value
    assert mallory.send([pdu]).status == 200
    assert still_works(alice, room, view, mallory)


def test_membership_content_that_is_odd(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2024-52815: whatever a display name is, syncs and pages go on."""
    for odd in (5, None, [], {"a": 1}, "x" * 60_000, "\u202e" * 300):
        content = {"membership": "join", "displayname": odd, "avatar_url": odd, "third_party_invite": odd}
        pdu = mallory.event(view, content, type_="m.room.member", state_key=mallory.user)
        mallory.send([pdu])
        assert alice.sync(since=None).next_batch
        assert alice.messages(room).events is not None
        assert alice.ask("GET", path("rooms", room, "joined_members"))["joined"]
        assert alice.members(room)


def test_odd_state_does_not_break_the_room(alice: Person, mallory: Adversary) -> None:
    """Sent by somebody who may: every reader of state survives what it holds."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version="11", visibility="public", power_level_content_override=override
    )
    view = mallory.join(room)
    types = [
        "m.room.name",
        "m.room.topic",
        "m.room.avatar",
        "m.room.canonical_alias",
        "m.room.server_acl",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.tombstone",
        "m.space.child",
        "m.room.encryption",
        "m.room.pinned_events",
        "m.room.join_rules",
    ]
    for type_ in types:
        for odd in (5, None, ["x"], {"a": 1}):
            names = (
                "name",
                "topic",
                "url",
                "alias",
                "alt_aliases",
                "allow",
                "deny",
                "history_visibility",
                "guest_access",
                "replacement_room",
                "via",
                "algorithm",
                "pinned",
                "join_rule",
            )
            mallory.say(view, dict.fromkeys(names, odd), type_=type_, state_key="")
            assert alice.sync(since=None).next_batch
            assert alice.state(room)
            assert alice.ask("GET", "/publicRooms")["chunk"] is not None
            alice.ask("GET", f"/_matrix/client/v1{path('rooms', room, 'hierarchy')}")


# Floods


def test_a_flood_of_forks(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Hundreds of events that follow the same one: heads are bounded, an own event names few, all in time."""
    began = wall_clock.process_time()
    for batch in range(8):
        mallory.send([mallory.event(view, f"fork {batch} {number}") for number in range(50)])
    mine = alice.send(room, "enough")
    mallory.settle()
    sent = next(pdu for pdu in mallory.received if view.name(pdu) == mine)
    assert len(sent["prev_events"]) <= 20
    spent = wall_clock.process_time() - began
    assert spent < 20, f"{spent:.1f} s"
    assert still_works(alice, room, view, mallory)


def test_a_flood_of_forks_of_the_state(alice: Person, mallory: Adversary) -> None:
    """Each fork sets the same name otherwise: every one is a resolution of states."""
    override = {"users": {alice.user_id: 100, mallory.user: 50}}
    room = alice.create_room(preset="public_chat", room_version="11", power_level_content_override=override)
    view = mallory.join(room)
    began = wall_clock.process_time()
    for batch in range(4):
        mallory.send(
            [
                mallory.event(view, {"name": f"{batch} {number}"}, type_="m.room.name", state_key="")
                for number in range(50)
            ]
        )
    assert alice.state_of(room, "m.room.name")["name"]
    spent = wall_clock.process_time() - began
    assert spent < 20, f"{spent:.1f} s"
    assert still_works(alice, room, view, mallory)


def test_missing_events_without_end(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Each answer names yet another event that is missing: the victim stops asking."""
    made = [mallory.event(view, "0", prev_events=["$" + "A" * 43])]

    def more(_: Any) -> tuple[int, Any]:
        unknown = f"${len(made):043d}"
        made.append(mallory.event(view, f"{len(made)}", prev_events=[unknown]))
        return 200, {"events": [made[-1]]}

    mallory.on(f"{V1}/get_missing_events", more)
    mallory.on(f"{V1}/event/", lambda _: (404, {"errcode": "M_NOT_FOUND"}))
    mallory.on(f"{V1}/state", lambda _: (404, {"errcode": "M_NOT_FOUND"}))
    mallory.send([made[0]])
    mallory.settle(20)
    assert len(mallory.asked) < 100, f"{len(mallory.asked)} requests for one event"
    assert still_works(alice, room, view, mallory)


def test_an_auth_chain_without_end(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2024-31208 and its kind: each auth event rests on another that must be fetched first."""
    made: dict[str, Pdu] = {}

    def link(number: int) -> Pdu:
        content = {"membership": "join", "displayname": f"{number}"}
        auth = [view.name(view.state["m.room.create", ""]), f"${number + 1:043d}"]
        return mallory.event(view, content, type_="m.room.member", state_key=mallory.user, auth_events=auth)

    def event(_: Any) -> tuple[int, Any]:
        pdu = link(len(made))
        made[view.name(pdu)] = pdu
        return 200, {"pdus": [pdu]}

    mallory.on(f"{V1}/event/", event)
    mallory.on(f"{V1}/event_auth", lambda _: (200, {"auth_chain": [link(number) for number in range(500)]}))
    mallory.send([mallory.event(view, "deep roots", auth_events=[f"${0:043d}"])])
    mallory.settle(20)
    assert len(mallory.asked) < 100, f"{len(mallory.asked)} requests for one event"
    assert still_works(alice, room, view, mallory)


def test_pages_full_of_what_nobody_may_see(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """CVE-2026-45076: paging goes on beyond events that were refused."""
    before = alice.send(room, "before")
    mallory.settle()
    mallory.catch_up(view)
    for batch in range(3):
        mallory.send(
            [
                mallory.event(view, {"name": f"{batch} {number}"}, type_="m.room.name", state_key="")
                for number in range(50)
            ]
        )
    alice.send(room, "after")
    found, start = [], None
    for _ in range(20):
        page = alice.messages(room, limit=10, start=start)
        found += page.ids
        if page.end is None:
            break
        start = page.end
    assert before in found
    assert alice.state(room)["m.room.create", ""]["event_id"] in found


@pytest.mark.parametrize("glob", ["*" * 200 + "b", "*a" * 100 + "b", "?*" * 100, "*" + "?" * 200])
def test_access_control_lists_made_to_be_slow(alice: Person, mallory: Adversary, glob: str) -> None:
    """CVE-2023-45129."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(preset="public_chat", room_version="11", power_level_content_override=override)
    view = mallory.join(room)
    began = wall_clock.process_time()
    for number in range(5):
        mallory.say(
            view,
            {"allow": ["*"], "deny": [f"{glob}{number}{extra}" for extra in range(100)]},
            type_="m.room.server_acl",
            state_key="",
        )
    mallory.say(view, "hello")
    assert wall_clock.process_time() - began < 10


# Access control lists


@pytest.mark.parametrize("name", ["evil.example", "EVIL.example", "Evil.Example"])
def test_who_is_shut_out_stays_out_in_any_case(server: WholeServer, alice: Person, name: str) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    lists = {"allow": ["*"], "deny": ["eVil.eXample"]}
    alice.set_state(room, "m.room.server_acl", lists)
    mallory = Adversary(server, name)
    answer = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}")
    assert answer.status in (401, 403), answer.json


def test_who_was_shut_out_later(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Nothing of theirs comes in, and nothing is handed out to them."""
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": ["*.Example"]})
    pdu = mallory.event(view, "still here")
    mallory.send([pdu])
    assert is_hidden(alice, room, view, pdu)
    head = view.heads[0]
    for door in (
        f"{V1}/state/{room}?event_id={head}",
        f"{V1}/state_ids/{room}?event_id={head}",
        f"{V1}/backfill/{room}?v={head}&limit=10",
        f"{V1}/event_auth/{room}/{head}",
        f"{V1}/make_leave{event_path(room, mallory.user)}",
        f"{V1}/make_knock{event_path(room, mallory.user)}?{VERSIONS}",
    ):
        assert mallory.request("GET", door).status in (401, 403, 404), door
    body = {"earliest_events": [], "latest_events": [head], "limit": 10}
    assert mallory.request("POST", f"{V1}/get_missing_events/{room}", body).status in (401, 403, 404)


def test_a_list_names_addresses(server: WholeServer, alice: Person) -> None:
    room = alice.create_room(preset="public_chat", room_version="11")
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False})
    for name in ("10.0.0.9", "10.0.0.9:8448", "[2001:db8::1]", "[2001:db8::1]:8448"):
        mallory = Adversary(server, name)
        answer = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}")
        assert answer.status in (401, 403), name


# What is handed out


def test_rooms_that_a_server_is_not_in(alice: Person, mallory: Adversary, third: Adversary) -> None:
    """CVE-2022-39335, CVE-2021-39164: neither events, nor members, nor names."""
    room = alice.create_room(preset="private_chat", room_version="11", name="Secret")
    head = alice.send(room, "secret")
    doors = (
        f"{V1}/state/{room}?event_id={head}",
        f"{V1}/state_ids/{room}?event_id={head}",
        f"{V1}/backfill/{room}?v={head}&limit=10",
        f"{V1}/event/{head}",
        f"{V1}/event_auth/{room}/{head}",
        f"{V1}/timestamp_to_event/{room}?ts=0&dir=f",
        f"{V1}/hierarchy/{room}",
    )
    for door in doors:
        answer = mallory.request("GET", door)
        assert answer.status in (403, 404), (door, answer.json)
        assert b"Secret" not in answer.body
        assert b"secret" not in answer.body
    body = {"earliest_events": [], "latest_events": [head], "limit": 10}
    assert mallory.request("POST", f"{V1}/get_missing_events/{room}", body).status in (403, 404)


def test_history_from_before_a_server_came(alice: Person, mallory: Adversary) -> None:
    """`joined` history is not for servers that came later: at most the skeleton."""
    setting = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "joined"},
    }
    room = alice.create_room(preset="public_chat", room_version="11", initial_state=[setting])
    head = alice.send(room, "before anybody came")
    view = mallory.join(room)
    for door in (f"{V1}/backfill/{room}?v={view.heads[0]}&limit=50", f"{V1}/event/{head}"):
        assert b"before anybody came" not in mallory.request("GET", door).body
    body = {"earliest_events": [], "latest_events": view.heads, "limit": 50}
    answer = mallory.request("POST", f"{V1}/get_missing_events/{room}", body)
    assert b"before anybody came" not in answer.body


def test_history_from_after_a_server_left(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    alice.kick(room, mallory.user)
    after = alice.send(room, "now that they are gone")
    mallory.settle()
    assert not any(view.name(pdu) == after for pdu in mallory.received)
    for door in (f"{V1}/event/{after}", f"{V1}/backfill/{room}?v={after}&limit=5"):
        answer = mallory.request("GET", door)
        assert b"now that they are gone" not in answer.body


# Invites


def invite(mallory: Adversary, whom: str, *, version: str = "11", state: Any = None, **fields: Any) -> Any:
    """Send an invite to a room that only Mallory's server knows."""
    view = View("!lair:evil.example", room_version(version))
    create = mallory.event(
        view, {"room_version": version}, type_="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    view.take(create)
    view.take(mallory.event(view, {"membership": "join"}, type_="m.room.member", state_key=mallory.user))
    content = fields.pop("content", {"membership": "invite"})
    pdu = mallory.event(view, content, type_="m.room.member", **{"state_key": whom, **fields})
    stripped = [{"type": "m.room.name", "state_key": "", "sender": mallory.user, "content": {"name": "Lair"}}]
    body = {
        "event": pdu,
        "room_version": version,
        "invite_room_state": [create, *stripped] if state is None else state,
    }
    target = f"{V2}/invite{event_path(view.room_id, view.name(pdu))}"
    return mallory.request("PUT", target, body)


def test_an_honest_invite(alice: Person, mallory: Adversary) -> None:
    answer = invite(mallory, alice.user_id)
    assert answer.status == 200, answer.json
    assert "test" in answer.json["event"]["signatures"]
    assert alice.sync(since=None).invites


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": "@alice:test"},
        {"sender": "@x:innocent.example"},
        {"state_key": "@x:evil.example"},
        {"state_key": "@nobody:test:8448"},
        {"type": "m.room.name"},
        {"content": {"membership": "join"}},
        {"content": {"membership": "ban"}},
        {"room_id": "!other:evil.example"},
    ],
)
def test_invites_that_are_none(alice: Person, mallory: Adversary, fields: dict[str, Any]) -> None:
    answer = invite(mallory, alice.user_id, **fields)
    assert 400 <= answer.status < 500, answer.json
    assert not alice.sync(since=None).invites


ODD_STATES: list[Any] = [
    [5], "x", {"a": 1}, [{}], [{"type": 5, "content": []}], [None],
    [{"type": "m.room.name", "state_key": "", "sender": "@x:y", "content": {"name": "x" * 1000}}] * 3000,
    [{"type": "m.room.member", "state_key": 5, "sender": None, "content": None}],
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ODD_STATES)))
def test_invites_with_odd_state(alice: Person, mallory: Adversary, number: int) -> None:
    """CVE-2023-32323 and CVE-2024-52815: huge or malformed, it breaks neither sync nor federation."""
    answer = invite(mallory, alice.user_id, state=ODD_STATES[number])
    assert answer.status < 500, answer.json
    synced = alice.sync(since=None)
    assert len(str(synced.json)) < 1_000_000
    if synced.invites:
        alice.leave("!lair:evil.example")
    assert alice.sync(since=None).next_batch


# Joining a hostile server's room


def test_a_resident_server_that_invents_the_state(
    server: WholeServer, alice: Person, mallory: Adversary
) -> None:
    """It answers send_join with events it had no right to make: none of them is believed."""
    view = View("!lair:evil.example", room_version("11"))
    create = mallory.event(
        view, {"room_version": "11"}, type_="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    view.take(create)
    for type_, key, content in (
        ("m.room.member", mallory.user, {"membership": "join"}),
        ("m.room.power_levels", "", {"users": {mallory.user: 100}}),
        ("m.room.join_rules", "", {"join_rule": "public"}),
    ):
        view.take(mallory.event(view, content, type_=type_, state_key=key))
    forged = mallory.event(
        view, {"membership": "join"}, type_="m.room.member", state_key="@bob:test", sender="@bob:test"
    )
    self_made = mallory.event(
        view, {"topic": "by somebody who is not here"}, type_="m.room.topic", state_key="",
        sender="@x:innocent.example",
    )  # fmt: skip

    def make_join(_: Any) -> tuple[int, Any]:
        template = mallory.event(
            view, {"membership": "join"}, type_="m.room.member", state_key=alice.user_id, sender=alice.user_id
        )
        return 200, {"room_version": "11", "event": template}

    def send_join(request: Any) -> tuple[int, Any]:
        state = [*view.state.values(), forged, self_made]
        return 200, {
            "state": state,
            "auth_chain": list(view.state.values()),
            "members_omitted": False,
            "origin": mallory.name,
            "servers_in_room": [mallory.name],
        }

    mallory.on(f"{V1}/make_join", make_join)
    mallory.on(f"{V2}/send_join", send_join)
    pending = alice.start_request("POST", path("join", view.room_id), {}, server_name=mallory.name)
    mallory.settle(5)
    answer = pending.answer
    if answer.status == 200:
        state = alice.state(view.room_id)
        assert ("m.room.member", "@bob:test") not in state
        assert ("m.room.topic", "") not in state
    else:
        assert answer.status < 500
        assert alice.joined_rooms() == set()


@pytest.mark.parametrize(
    "lie", ["other room", "other user", "no create", "other version", "nonsense", "endless"]
)
def test_a_resident_server_that_lies_about_a_join(
    server: WholeServer, alice: Person, mallory: Adversary, lie: str
) -> None:
    view = View("!lair:evil.example", room_version("11"))
    create = mallory.event(
        view, {"room_version": "11"}, type_="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    view.take(create)
    mine = alice.create_room()

    def make_join(_: Any) -> tuple[int, Any]:
        template = mallory.event(
            view, {"membership": "join"}, type_="m.room.member", state_key=alice.user_id, sender=alice.user_id
        )
        if lie == "other room":
            template["room_id"] = mine
        if lie == "other user":
            template["sender"] = template["state_key"] = "@bob:test"
        return 200, {"room_version": "99" if lie == "other version" else "11", "event": template}

    def send_join(_: Any) -> tuple[int, Any]:
        if lie == "nonsense":
            return 200, {"state": [5, None, {}], "auth_chain": "x"}
        if lie == "endless":
            return 200, b'{"state":[' + b"[" * 100_000
        return 200, {"state": [], "auth_chain": []}

    mallory.on(f"{V1}/make_join", make_join)
    mallory.on(f"{V2}/send_join", send_join)
    pending = alice.start_request("POST", path("join", view.room_id), {}, server_name=mallory.name)
    mallory.settle(10)
    assert 400 <= pending.answer.status < 600
    assert pending.answer.json["errcode"]
    assert alice.joined_rooms() == {mine}
    sent = mallory.requests_to(f"{V2}/send_join")
    assert not any(
        b"@bob:test" in (request.body or b"") or mine.encode() in (request.body or b"") for request in sent
    )


# History


def test_backfill_never_changes_the_present(alice: Person, mallory: Adversary) -> None:
    """Old state that a server makes up is no state of today."""
    override = {"users": {alice.user_id: 100, mallory.user: 100}}
    room = alice.create_room(
        preset="public_chat", room_version="11", power_level_content_override=override, name="Today"
    )
    view = mallory.join(room)
    old = mallory.event(
        view,
        {"name": "Yesterday"},
        type_="m.room.name",
        state_key="",
        depth=2,
        prev_events=[view.name(view.state["m.room.create", ""])],
    )
    mallory.on(f"{V1}/backfill", lambda _: (200, {"origin": mallory.name, "pdus": [old]}))
    mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": [old]}))
    alice.messages(room, limit=1000)
    mallory.settle()
    assert alice.state_of(room, "m.room.name")["name"] == "Today"


def test_an_event_that_follows_itself(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Two that name each other cannot exist with hashes; one that names an unknown one can, and waits."""
    pdu = mallory.event(view, "loop", prev_events=["$" + "L" * 43])
    mallory.on(f"{V1}/get_missing_events", lambda _: (200, {"events": [pdu]}))
    mallory.on(f"{V1}/event/", lambda _: (200, {"pdus": [pdu]}))
    mallory.send([pdu])
    mallory.settle(20)
    assert len(mallory.asked) < 100
    assert still_works(alice, room, view, mallory)


def test_one_more_chain(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Sent backwards in one transaction, honest events still come in order."""
    chain = []
    for number in range(20):
        pdu = mallory.event(view, f"link {number}")
        view.take(pdu)
        chain.append(pdu)
    mallory.send(chain[::-1])
    mallory.settle(5)
    ids = [event["event_id"] for event in alice.messages(room, limit=100).events][::-1]
    places = [ids.index(view.name(pdu)) for pdu in chain]
    assert all(one < other for one, other in pairwise(places))


def test_hash_and_signature_helpers_agree(view: View, mallory: Adversary) -> None:
    """The adversary's own events are what the protocol says, so that its lies are only the ones it means."""
    pdu = mallory.event(view)
    assert pdu["hashes"]["sha256"] == content_hash(pdu)
    assert set(pdu["signatures"]) == {ServerName(mallory.name)}
