"""Invites by e-mail address: offered by one server, signed for by an identity server, completed by any."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signatures import SigningKey, VerifyKey
from homeserver.runtime.http_client import HttpAnswer, HttpRequest
from tests.support.adversary import Adversary, event_path
from tests.support.database import Databases
from tests.support.federation import Federation
from tests.support.identity_server import V2, IdentityServer
from tests.support.people import Person, path
from tests.support.whole_server import WholeServer

BOBS = "bob@example.org"
OFFER = "m.room.third_party_invite"
EXCHANGE = "/_matrix/federation/v1/exchange_third_party_invite"


@pytest.fixture
def identity(federation: Federation) -> IdentityServer:
    return IdentityServer("id.example", federation.network)


@pytest.fixture
def dave(federation: Federation, alice: Person) -> Person:
    """Of the same server as Alice."""
    return federation.all["one"].register("dave")


def invite(alice: Person, room: str, body: Any, *, refused: str | None = None) -> Any:
    return alice.ask("POST", path("rooms", room, "invite"), body, refused=refused)


def offered(alice: Person, identity: IdentityServer, address: str = BOBS, **wishes: Any) -> str:
    """A room to which somebody is invited by address."""
    room = alice.create_room(**wishes)
    invite(alice, room, identity.invitation(address))
    return room


# The offer


def test_an_address_that_is_known_is_invited_as_the_user(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = alice.create_room()
    for person in (bob, dave):
        identity.bound["they@example.org"] = person.user_id
        invite(alice, room, identity.invitation("They@Example.ORG "))
        assert room in person.sync().invites
    assert identity.stored == []
    assert not any(key[0] == OFFER for key in alice.state(room))


def test_an_address_that_nobody_knows_becomes_an_offer(identity: IdentityServer, alice: Person) -> None:
    alice.ask("PUT", path("profile", alice.user_id, "displayname"), {"displayname": "Alice"})
    room = alice.create_room(name="The den", room_alias_name="den")
    invite(alice, room, identity.invitation(BOBS))
    assert identity.stored == [
        {
            "medium": "email", "address": BOBS, "room_id": room, "sender": alice.user_id,
            "room_alias": "#den:one", "room_name": "The den", "room_join_rules": "invite",
            "sender_display_name": "Alice", "token": "token-1",
        }
    ]  # fmt: skip
    key = {"public_key": identity.public_key, "key_validity_url": "https://id.example/key"}
    expected = {"display_name": "b...@e...", "public_keys": [key], **key}
    assert alice.state_of(room, OFFER, "token-1") == expected


def test_a_new_room_invites_by_address_too(identity: IdentityServer, alice: Person, dave: Person) -> None:
    identity.bound["dave@example.org"] = dave.user_id
    wanted = [identity.invitation(address) for address in (BOBS, "dave@example.org")]
    room = alice.create_room(invite_3pid=wanted, is_direct=True)
    assert alice.state_of(room, OFFER, "token-1")["display_name"] == "b...@e..."
    assert dave.sync().invite_state(room)["m.room.member", dave.user_id]["content"]["is_direct"] is True


def test_addresses_are_given_to_trusted_identity_servers_only(
    federation: Federation, identity: IdentityServer, alice: Person
) -> None:
    other = IdentityServer("curious.example", federation.network)
    room = alice.create_room()
    invite(alice, room, other.invitation(BOBS), refused="M_SERVER_NOT_TRUSTED")
    alice.ask(
        "POST", "/createRoom", {"invite_3pid": [other.invitation(BOBS)]}, refused="M_SERVER_NOT_TRUSTED"
    )
    assert (other.asked, alice.joined_rooms()) == ([], {room})


def test_who_may_not_invite_makes_nobody_get_mail(
    identity: IdentityServer, alice: Person, dave: Person
) -> None:
    room = alice.create_room(power_level_content_override={"invite": 50})
    invite(dave, room, identity.invitation(BOBS), refused="M_FORBIDDEN")
    alice.invite(room, dave)
    invite(dave, room, identity.invitation(BOBS), refused="M_FORBIDDEN")
    dave.join(room)
    invite(dave, room, identity.invitation(BOBS), refused="M_FORBIDDEN")
    assert identity.asked == []


@pytest.mark.parametrize(
    ("changed", "errcode"),
    [
        ({"medium": "pigeon"}, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
        ({"address": "bob"}, "M_INVALID_PARAM"),
        ({"address": "b b@example.org"}, "M_INVALID_PARAM"),
        ({"address": "call me", "medium": "msisdn"}, "M_INVALID_PARAM"),
        ({"id_access_token": "two\r\nlines"}, "M_INVALID_PARAM"),
        ({"id_server": "https://id.example/path"}, "M_INVALID_PARAM"),
        ({"id_server": None}, "M_BAD_JSON"),
        ({"address": None}, "M_MISSING_PARAM"),
    ],
)
def test_what_names_nobody_is_refused(
    identity: IdentityServer, alice: Person, changed: dict[str, Any], errcode: str
) -> None:
    body = {**identity.invitation(BOBS), **changed}
    invite(alice, alice.create_room(), body, refused=errcode)
    assert identity.asked == []


def test_what_identity_servers_may_answer(
    federation: Federation, identity: IdentityServer, alice: Person, dave: Person
) -> None:
    room = alice.create_room()
    for name, answer, errcode in (
        ("hash_details", (200, []), "M_UNKNOWN"),
        ("hash_details", (200, {"lookup_pepper": "x", "algorithms": ["rot13"]}), "M_UNKNOWN"),
        ("hash_details", (403, {"errcode": "M_TERMS_NOT_SIGNED"}), "M_TERMS_NOT_SIGNED"),
        ("lookup", (500, {}), "M_UNKNOWN"),
        ("store-invite", (200, {"token": "t"}), "M_UNKNOWN"),
        ("store-invite", (200, {"token": "", "public_keys": [{"public_key": "x"}]}), "M_UNKNOWN"),
        ("store-invite", (400, {"errcode": "M_THREEPID_IN_USE", "mxid": 7}), "M_UNKNOWN"),
    ):
        identity.answers = {f"{V2}/{name}": answer}
        invite(alice, room, identity.invitation(BOBS), refused=errcode)
    identity.answers = {}
    invite(alice, room, identity.invitation(BOBS, token="wrong"), refused="M_UNKNOWN")
    federation.network.down.add("id.example")
    invite(alice, room, identity.invitation(BOBS), refused="M_CONNECTION_FAILED")
    assert set(alice.members(room)) == {alice.user_id}
    assert not any(key[0] == OFFER for key in alice.state(room))

    federation.network.heal()
    in_use = {"errcode": "M_THREEPID_IN_USE", "mxid": dave.user_id}
    identity.answers = {f"{V2}/store-invite": (400, in_use)}
    invite(alice, room, identity.invitation(BOBS))
    assert room in dave.sync().invites


def test_an_identity_server_may_want_addresses_as_they_are(
    identity: IdentityServer, alice: Person, dave: Person
) -> None:
    identity.algorithms, identity.bound[BOBS] = ["none"], dave.user_id
    room = offered(alice, identity)
    assert room in dave.sync().invites


# Completed because the identity server tells of a binding


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_the_offer_becomes_an_invite_on_the_same_server(
    federation: Federation, identity: IdentityServer, alice: Person, dave: Person, method: str
) -> None:
    dave.ask("PUT", path("profile", dave.user_id, "displayname"), {"displayname": "Dave"})
    room = offered(alice, identity)
    assert identity.bind(BOBS, dave, federation.all["one"], method=method).json == {}
    own = dave.sync().invite_state(room)["m.room.member", dave.user_id]
    assert (own["sender"], own["content"]["displayname"]) == (alice.user_id, "Dave")
    proof = own["content"]["third_party_invite"]
    assert proof == {"display_name": "b...@e...", "signed": identity.signed(dave.user_id, "token-1")}
    dave.join(room)
    assert identity.bind(BOBS, dave, federation.all["one"]).status == 200
    assert dave.joined_rooms() == {room}


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_the_offer_is_exchanged_with_the_server_that_made_it(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, version: str
) -> None:
    room = offered(alice, identity, room_version=version, name="The den")
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 200
    invited = bob.sync().invite_state(room)
    assert invited["m.room.name", ""]["content"] == {"name": "The den"}
    assert invited["m.room.member", bob.user_id]["sender"] == alice.user_id
    bob.join(room)
    federation.check_agreement(room, "one", "two")
    alice.send(room, "welcome")
    federation.settle()
    assert "welcome" in bob.messages(room).texts


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_a_server_in_the_room_completes_it_in_the_name_of_who_offered(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, version: str
) -> None:
    erin = federation.servers("two")[0].register("erin")
    carol = federation.servers("three")[0].register("carol")
    room = offered(alice, identity, room_version=version, preset="public_chat")
    for person in (erin, carol):
        federation.join(person, room, via="one")
    federation.settle()
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 200
    assert not any(EXCHANGE in request.path for _, request in federation.network.sent)
    federation.check_agreement(room, "one", "two", "three")
    event_id = federation.state_of(room, "one")["m.room.member", bob.user_id]
    pdu = federation.pdu(event_id, "one")
    assert (pdu["sender"], set(pdu["signatures"])) == (alice.user_id, {"two"})
    assert room in bob.sync().invites
    bob.join(room)
    federation.check_agreement(room, "one", "two", "three")


def test_bindings_of_nobody_here_change_nothing(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = offered(alice, identity)
    one = federation.all["one"]
    assert identity.bind(BOBS, bob, one).errcode == "M_INVALID_PARAM"
    nobody = Person(one, "@nobody:one", "", "")
    assert identity.bind(BOBS, nobody, one).json == {}
    dave.ask("POST", "/account/deactivate", {"auth": {
        "type": "m.login.password", "password": "correct horse battery",
        "identifier": {"type": "m.id.user", "user": "dave"},
    }})  # fmt: skip
    assert identity.bind(BOBS, dave, one).json == {}
    assert set(alice.members(room)) == {alice.user_id}


def test_a_binding_that_cannot_be_told_now_is_told_again(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person
) -> None:
    two = federation.all["two"]
    room = offered(alice, identity)
    federation.part("one", "two")
    assert identity.bind(BOBS, bob, two).status >= 500
    federation.heal()
    assert identity.bind(BOBS, bob, two).status == 200
    assert room in bob.sync().invites


# Completed by who joins with what the identity server has signed


def test_who_was_signed_for_joins(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    for number, person in enumerate((bob, dave), start=1):
        room = offered(alice, identity)
        person.join(room, refused="M_FORBIDDEN" if person is dave else "M_NOT_FOUND")
        signed = identity.signed(person.user_id, f"token-{number}", sender=alice.user_id)
        person.join(room, third_party_signed=signed)
        assert room in person.joined_rooms()
        federation.check_agreement(room, *{"one", person.user_id.partition(":")[2]})


def test_what_was_signed_must_fit(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room, other = offered(alice, identity), alice.create_room()
    signed = identity.signed(dave.user_id, "token-1", sender=alice.user_id)
    forger = IdentityServer("forger.example", federation.network)
    forger.key = type(forger.key)("0", b"f" * 32)
    for where, proof, errcode in (
        (room, {**signed, "token": "token-2"}, "M_FORBIDDEN"),
        (room, {**signed, "sender": dave.user_id}, "M_FORBIDDEN"),
        (room, {**signed, "signatures": {}}, "M_FORBIDDEN"),
        (room, {**signed, "more": "than was signed"}, "M_FORBIDDEN"),
        (room, identity.signed(bob.user_id, "token-1", sender=alice.user_id), "M_FORBIDDEN"),
        (room, forger.signed(dave.user_id, "token-1", sender=alice.user_id), "M_FORBIDDEN"),
        (other, signed, "M_FORBIDDEN"),
        (room, {}, "M_BAD_JSON"),
        (room, {**signed, "sender": "nobody"}, "M_INVALID_PARAM"),
    ):
        dave.join(where, third_party_signed=proof, refused=errcode)
    assert dave.joined_rooms() == set()
    dave.join(room, third_party_signed=signed)


# What ends an offer


def exchange(evil: Adversary, identity: IdentityServer, alice: Person, room: str, token: str) -> str | None:
    """Ask Alice's server to complete the offer for a user of the adversary."""
    signed = identity.signed(evil.user, token)
    body = {
        "type": "m.room.member", "room_id": room, "sender": alice.user_id, "state_key": evil.user,
        "content": {"membership": "invite", "third_party_invite": {"display_name": "m", "signed": signed}},
    }  # fmt: skip
    return evil.request("PUT", EXCHANGE + event_path(room), body).errcode


def test_an_offer_is_taken_back(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = offered(alice, identity)
    alice.set_state(room, OFFER, {}, state_key="token-1")
    for person, name in ((bob, "two"), (dave, "one")):
        assert identity.bind(BOBS, person, federation.all[name]).status == 200
        signed = identity.signed(person.user_id, "token-1", sender=alice.user_id)
        person.join(room, third_party_signed=signed, refused="M_FORBIDDEN")
        assert person.sync().invites == {}


def test_who_was_removed_does_not_come_back_by_an_old_offer(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = offered(alice, identity)
    for person, name in ((bob, "two"), (dave, "one")):
        identity.bind(BOBS, person, federation.all[name])
        person.join(room)
        federation.settle()
        alice.kick(room, person)
        federation.settle()
        signed = identity.signed(person.user_id, "token-1", sender=alice.user_id)
        person.join(room, third_party_signed=signed, refused="M_FORBIDDEN")
    invite(alice, room, identity.invitation("dave@example.org"))
    dave.join(room, third_party_signed=identity.signed(dave.user_id, "token-2", sender=alice.user_id))


def test_the_banned_are_not_invited(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person
) -> None:
    room = offered(alice, identity)
    alice.ban(room, bob)
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 200
    assert bob.sync().invites == {}
    assert alice.membership_of(room, bob) == "ban"


def test_an_offer_outlives_the_membership_of_who_made_it(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = alice.create_room(members=[dave])
    invite(dave, room, identity.invitation(BOBS))
    dave.leave(room)
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 200
    bob.join(room)
    federation.check_agreement(room, "one", "two")


def test_the_offers_of_the_banned_are_not_completed(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = alice.create_room(members=[dave])
    invite(dave, room, identity.invitation(BOBS))
    alice.ban(room, dave)
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 200
    assert bob.sync().invites == {}


def test_an_offer_that_is_taken_back_while_its_key_is_checked(
    federation: Federation, identity: IdentityServer, alice: Person, dave: Person
) -> None:
    room = offered(alice, identity)
    answer = identity.answer

    def slow(request: HttpRequest) -> HttpAnswer:
        if request.path.startswith("/key"):
            alice.ban(room, dave)
            alice.unban(room, dave)
        return answer(request)

    federation.network.add(identity.name, slow)
    identity.bind(BOBS, dave, federation.all["one"])
    assert dave.sync().invites == {}


def test_many_keys_and_signatures_cost_little(
    monkeypatch: pytest.MonkeyPatch, federation: Federation, identity: IdentityServer, alice: Person,
    dave: Person,
) -> None:  # fmt: skip
    room, keys = alice.create_room(), [SigningKey("x", bytes([n]) * 32) for n in range(100)]
    listed = [{"public_key": key.verify_key.to_base64()} for key in keys]
    alice.set_state(room, OFFER, {"display_name": "b", "public_keys": listed}, state_key="t")
    signed = identity.signed(dave.user_id, "t", sender=alice.user_id)
    signed["signatures"] |= {f"s{n}": {"ed25519:x": "A" * 86} for n in range(100)}
    checks, verify = [], VerifyKey.verify

    def counted(self: VerifyKey, message: bytes, signature: str) -> None:
        checks.append(1)
        verify(self, message, signature)

    monkeypatch.setattr(VerifyKey, "verify", counted)
    dave.join(room, third_party_signed=signed, refused="M_FORBIDDEN")
    assert len(checks) <= 32


def test_a_key_must_still_be_valid(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = offered(alice, identity)
    identity.keys_are_valid = False
    for person, name in ((bob, "two"), (dave, "one")):
        identity.bind(BOBS, person, federation.all[name])
        assert person.sync().invites == {}
    assert identity.asked.count("/key") == 1  # remembered
    identity.keys_are_valid = True
    federation.time.advance(601)
    identity.bind(BOBS, bob, federation.all["two"])
    assert room in bob.sync().invites


def test_a_key_that_cannot_be_checked_is_not_believed(
    federation: Federation, identity: IdentityServer, alice: Person, bob: Person, dave: Person
) -> None:
    room = offered(alice, identity)
    answers: list[tuple[int, Any]] = [(500, {}), (200, []), (200, {"valid": "yes"})]
    for answer in answers:
        identity.answers = {"/key": answer}
        assert identity.bind(BOBS, dave, federation.all["one"]).status in (200, 502)
        assert dave.sync().invites == {}
        federation.time.advance(601)
    identity.answers = {}
    federation.network.down.add("id.example")
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 502
    assert identity.bind(BOBS, dave, federation.all["one"]).status == 502
    federation.network.heal()
    assert identity.bind(BOBS, bob, federation.all["two"]).status == 200
    assert room in bob.sync().invites


def test_an_offer_without_a_validity_url_is_good_for_ever(
    federation: Federation, identity: IdentityServer, alice: Person, dave: Person
) -> None:
    room = alice.create_room()
    content = {"display_name": "b", "public_keys": [{"public_key": identity.public_key}]}
    alice.set_state(room, OFFER, content, state_key="mine")
    dave.join(room, third_party_signed=identity.signed(dave.user_id, "mine", sender=alice.user_id))
    assert identity.asked == []


def test_validity_urls_lead_to_no_place_inside(
    federation: Federation, identity: IdentityServer, alice: Person, dave: Person
) -> None:
    urls = (
        "http://id.example/key",
        "file:///etc/passwd",
        "https://",
        "no url",
        "https://id.example/" + "k" * 3_000,
    )
    for number, url in enumerate(urls):
        room = alice.create_room()
        key = {"public_key": identity.public_key, "key_validity_url": url}
        alice.set_state(room, OFFER, {"display_name": "b", **key}, state_key=f"t{number}")
        signed = identity.signed(dave.user_id, f"t{number}", sender=alice.user_id)
        dave.join(room, third_party_signed=signed, refused="M_UNKNOWN")
    assert identity.asked == []


def test_only_so_many_get_mail(databases: Databases, federation: Federation, tmp_path: Path) -> None:
    settings = "server_name: four\nfederation: {identity_servers: [id.example]}\n"
    settings += "registration: {mode: open}\npasswords: {hash_passes: 1, hash_memory_kib: 8}\n"
    settings += "rate_limits: {third_party_invites: {per_second: 0.1, burst: 3}}"
    server = WholeServer(
        databases.fresh("sqlite"), federation.time, settings=settings, folder=tmp_path,
        network=federation.network,
    )  # fmt: skip
    identity, erin = IdentityServer("id.example", federation.network), server.register("erin")
    room = erin.create_room(invite_3pid=[identity.invitation(f"{name}@example.org") for name in "ab"])
    invite(erin, room, identity.invitation("c@example.org"))
    invite(erin, room, identity.invitation("d@example.org"), refused="M_LIMIT_EXCEEDED")
    assert len(identity.stored) == 3
    server.stop()


# Other servers that ask for an exchange


def test_another_servers_user_gets_what_was_offered_to_them_only(
    federation: Federation, identity: IdentityServer, alice: Person
) -> None:
    evil = Adversary(federation.all["one"])
    room, other = offered(alice, identity), alice.create_room()
    assert exchange(evil, identity, alice, other, "token-1") == "M_FORBIDDEN"
    assert exchange(evil, identity, alice, room, "token-2") == "M_FORBIDDEN"
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [evil.name]})
    assert exchange(evil, identity, alice, room, "token-1") == "M_FORBIDDEN"
    alice.set_state(room, "m.room.server_acl", {"allow": ["*"]})
    evil.on("/_matrix/federation/v2/invite", lambda _: (200, {"event": {}}))
    assert exchange(evil, identity, alice, room, "token-1") is None
    assert alice.members(room)[evil.user] == "invite"
    evil.join(room)
    assert alice.members(room)[evil.user] == "join"
