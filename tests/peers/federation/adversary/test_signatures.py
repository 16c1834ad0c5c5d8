"""Events that somebody else signed, or nobody, or with keys that prove nothing."""

from typing import Any

import pytest

from homeserver.protocol import server_keys
from homeserver.protocol.event_signatures import Wanted
from homeserver.protocol.hashes import content_hash
from homeserver.protocol.ids import ServerName
from homeserver.protocol.signatures import SigningKey, sign_event
from tests.peers.federation.adversary.hostile import is_hidden, still_works
from tests.support.adversary import V1, VERSIONS, Adversary, View, event_path
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer


def test_the_adversary_can_be_honest(alice: Person, room: str, view: View, mallory: Adversary) -> None:
    """Else the refusals below would prove nothing."""
    first, second = mallory.say(view, "hello"), mallory.say(view, "it is me")
    assert alice.sees(room, first)
    assert alice.sees(room, second)
    assert still_works(alice, room, view, mallory)


def test_hash_and_signature_helpers_agree(view: View, mallory: Adversary) -> None:
    """The adversary's own events are what the protocol says, so that its lies are only the ones it means."""
    pdu = mallory.event(view)
    assert pdu["hashes"]["sha256"] == content_hash(pdu)
    assert set(pdu["signatures"]) == {ServerName(mallory.name)}


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
        assert mallory.request("GET", make_join).status == 401, document
        server.time.advance(7200)


def test_the_key_that_a_generator_without_randomness_made(
    server: WholeServer, alice: Person, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-24044: servers of a known bad deployment share one signing key, which everybody has.

    The secret half of the real one is not for tests: the adversary's key takes its place on the list.
    """
    careless = Adversary(server, "careless.example", seed=b"c")
    view = careless.join(room)
    careless.say(view, "before anybody knew")
    shared = careless.key.verify_key.to_base64()
    monkeypatch.setattr(server_keys, "KNOWN_TO_EVERYBODY", server_keys.KNOWN_TO_EVERYBODY | {shared})
    server.restart()  # a new version, which knows

    forged = careless.event(view, "by whom?")
    assert careless.send([forged]).status == 401
    third = Adversary(server, "innocent.example", seed=b"i")
    third.join(room)
    third.send([forged])
    third.settle(5)
    assert is_hidden(alice, room, view, forged)
    make_join = f"{V1}/make_join{event_path(room, careless.user)}?{VERSIONS}"
    assert careless.request("GET", make_join).status == 401
    sound = SigningKey("sound", b"s" * 32)
    careless.key = sound
    server.time.advance(7200)
    assert careless.request("GET", make_join).status == 200


@pytest.mark.parametrize("key", sorted(server_keys.KNOWN_TO_EVERYBODY))
def test_a_document_with_the_key_itself(server: WholeServer, alice: Person, room: str, key: str) -> None:
    """Whatever else such a server lists, nothing that this key has signed is believed."""
    careless = Adversary(server, "careless.example", seed=b"c")
    listed = {"ed25519:weak": {"key": key}, careless.key.key_id: {"key": careless.key.verify_key.to_base64()}}
    careless.key_document = lambda: careless.honest_keys(verify_keys=listed)
    assert careless.join(room)
    found = result(server.services.key_ring.find([Wanted(careless.name, "ed25519:weak", None)]))
    assert found is None
    assert server.services.key_ring.known_key(careless.name, "ed25519:weak", None) is None


def test_points_with_which_anybody_can_sign(server: WholeServer, alice: Person, room: str) -> None:
    """A key of small order is good for any signature that is made up for it."""
    careless = Adversary(server, "careless.example", seed=b"c")
    listed = {"ed25519:zero": {"key": "A" * 43}, "ed25519:one": {"key": "AQ" + "A" * 41}}
    good = {careless.key.key_id: {"key": careless.key.verify_key.to_base64()}}
    careless.key_document = lambda: careless.honest_keys(verify_keys={**listed, **good})
    assert careless.join(room)
    for name in listed:
        assert server.services.key_ring.known_key(careless.name, name, None) is None


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
