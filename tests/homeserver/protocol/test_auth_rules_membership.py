"""Memberships: who may join, invite, leave, remove, ban and knock, in each room version."""

import pytest

from homeserver.protocol import third_party_invites
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Event
from homeserver.protocol.hashes import encode_base64_url
from homeserver.protocol.signatures import SigningKey, VerifyKey, sign_event, sign_json
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, CAROL, KEY, Room, versions

JOIN, INVITE, LEAVE, BAN = 2, 3, 4, 5
STATES = [None, "invite", "join", "leave", "ban", "knock"]


@pytest.fixture(params=ALL_VERSIONS)
def version(request) -> str:
    return request.param


def rule(version: str, *parts: object) -> str:
    """The number of a rule about memberships: it is the 5th in versions 1 to 5 and 12, the 4th in between."""
    return ".".join(str(part) for part in (4 if 6 <= int(version) <= 11 else 5, *parts))


def of(version: str, membership: int) -> int:
    """Version 8 put a rule before those for each membership."""
    return membership + (1 if int(version) >= 8 else 0)


def refusal(room: Room, event: Event) -> str:
    with pytest.raises(AuthFailure) as failure:
        room.check(event)
    return failure.value.rule


def room_where_bob_is(version: str, membership: str | None, *, join_rule: str = "invite") -> Room:
    room = Room(version)
    room.set_join_rule(join_rule)
    if membership is not None:
        room.set_member(BOB, membership)
    return room


def test_a_membership_has_a_target_and_a_value(version):
    room = Room(version)
    assert refusal(room, room.event("m.room.member", ALICE, {"membership": "join"})) == rule(version, 1)
    assert refusal(room, room.event("m.room.member", ALICE, {}, ALICE)) == rule(version, 1)


@pytest.mark.parametrize("membership", ["", "JOIN", "joined", None, 1, ["join"], {"join": True}], ids=repr)
def test_an_unknown_membership_is_refused(version, membership):
    room = Room(version)
    last = 6 + (int(version) >= 7) + (int(version) >= 8)
    assert refusal(room, room.member(ALICE, membership)) == rule(version, last)


class TestJoin:
    def test_the_creator_joins_first(self, version):
        room = Room(version)
        room.state.pop(("m.room.member", ALICE))
        first = room.event(
            "m.room.member", ALICE, {"membership": "join"}, ALICE, prev_event_ids=(room.create.event_id,)
        )
        room.check(first)
        bobs = room.event(
            "m.room.member", BOB, {"membership": "join"}, BOB, prev_event_ids=(room.create.event_id,)
        )
        assert refusal(room, bobs).startswith(rule(version, of(version, JOIN)))

    def test_the_creator_is_not_let_in_again_after_others_came(self, version):
        room = Room(version)
        room.set_member(ALICE, "leave")
        assert refusal(room, room.member(ALICE, "join")).startswith(rule(version, of(version, JOIN)))

    def test_an_additional_creator_does_not_join_first(self):
        room = Room("12", additional_creators=[BOB])
        join = room.event(
            "m.room.member", BOB, {"membership": "join"}, BOB, prev_event_ids=(room.create.event_id,)
        )
        assert refusal(room, join) == "5.3.7"

    def test_nobody_joins_for_another(self, version):
        room = room_where_bob_is(version, "invite", join_rule="public")
        assert refusal(room, room.member(BOB, "join", by=ALICE)) == rule(version, of(version, JOIN), 2)

    def test_the_banned_do_not_join(self, version):
        room = room_where_bob_is(version, "ban", join_rule="public")
        assert refusal(room, room.member(BOB, "join")) == rule(version, of(version, JOIN), 3)

    @pytest.mark.parametrize("before", [None, "invite", "join", "leave", "knock"])
    def test_anyone_joins_a_public_room(self, version, before):
        room = room_where_bob_is(version, before, join_rule="public")
        room.check(room.member(BOB, "join"))

    @pytest.mark.parametrize("before", [None, "invite", "join", "leave", "knock"])
    @pytest.mark.parametrize(("join_rule", "since"), [
        ("invite", 1), ("knock", 7), ("restricted", 8), ("knock_restricted", 10), ("private", 99), ("", 99),
    ])  # fmt: skip
    def test_the_invited_join_where_the_version_knows_the_join_rule(self, version, before, join_rule, since):
        room = room_where_bob_is(version, before, join_rule=join_rule)
        join = room.member(BOB, "join")
        if before in ("invite", "join") and int(version) >= since:
            room.check(join)
        else:
            expected = (
                "5.2"
                if "restricted" in join_rule and int(version) >= since
                else 7
                if int(version) >= 8
                else 6
            )
            assert refusal(room, join) == rule(version, of(version, JOIN), expected)

    @pytest.mark.parametrize("join_rule", [None, 1, ["public"], {"public": True}], ids=repr)
    def test_a_malformed_join_rule_lets_nobody_in(self, version, join_rule):
        room = room_where_bob_is(version, "invite")
        room.set_join_rule(join_rule)
        assert refusal(room, room.member(BOB, "join")).startswith(rule(version, of(version, JOIN)))

    def test_a_room_without_join_rules_is_by_invitation(self, version):
        room = Room(version)
        assert refusal(room, room.member(BOB, "join")).startswith(rule(version, of(version, JOIN)))
        room.set_member(BOB, "invite")
        room.check(room.member(BOB, "join"))


class TestRestrictedJoin:
    @pytest.fixture(params=versions(8))
    def room(self, request) -> Room:
        room = Room(request.param)
        room.set_join_rule("restricted")
        room.set_levels(invite=20, users={CAROL: 20})
        room.set_member(CAROL, "join")
        return room

    def join(self, room: Room, authoriser, *, signed: bool = True) -> Event:
        event = room.member(BOB, "join", join_authorised_via_users_server=authoriser)
        if not signed:
            return event
        pdu = sign_event(event.version, event.pdu, str(authoriser).partition(":")[2], KEY)
        return Event.from_pdu(event.version, pdu)

    def test_a_member_who_may_invite_authorises(self, room):
        room.check(self.join(room, CAROL))
        room.check(self.join(room, ALICE))

    def test_the_authorising_server_signs(self, room):
        number = rule(room.version.version, "2.1")
        assert refusal(room, self.join(room, CAROL, signed=False)) == number
        for malformed in (None, 1, [], "carol"):
            assert refusal(room, self.join(room, malformed, signed=False)) == number

    def test_the_authorising_user_is_in_the_room_and_may_invite(self, room):
        number = rule(room.version.version, "3.5.2")
        assert refusal(room, room.member(BOB, "join")) == number
        for membership in ("leave", "invite", "ban"):
            room.set_member(CAROL, membership)
            assert refusal(room, self.join(room, CAROL)) == number
        room.set_member(CAROL, "join")
        room.set_levels(invite=20, users={CAROL: 19})
        assert refusal(room, self.join(room, CAROL)) == number

    def test_the_invited_need_nobody(self, room):
        for membership in ("invite", "join"):
            room.set_member(BOB, membership)
            room.check(room.member(BOB, "join"))

    def test_nobody_authorises_the_banned(self, room):
        room.set_member(BOB, "ban")
        assert refusal(room, self.join(room, CAROL)) == rule(room.version.version, "3.3")

    def test_knock_restricted_is_restricted_from_version_10(self, room):
        room.set_join_rule("knock_restricted")
        if room.version.knock_restricted:
            room.check(self.join(room, CAROL))
        else:
            assert refusal(room, self.join(room, CAROL)) == rule(room.version.version, "3.7")


@pytest.mark.parametrize("version", versions(1, 7))
def test_nobody_authorises_joins_before_version_8(version):
    room = room_where_bob_is(version, None, join_rule="restricted")
    join = room.member(BOB, "join", join_authorised_via_users_server=ALICE)
    assert refusal(room, join) == rule(version, JOIN, 6)


class TestInvite:
    @pytest.mark.parametrize("inviter", STATES)
    def test_only_members_invite(self, version, inviter):
        room = room_where_bob_is(version, inviter)
        invite = room.member(CAROL, "invite", by=BOB)
        if inviter == "join":
            room.check(invite)
        else:
            assert refusal(room, invite) == rule(version, of(version, INVITE), 2)

    @pytest.mark.parametrize("target", STATES)
    def test_members_and_the_banned_are_not_invited(self, version, target):
        room = room_where_bob_is(version, target)
        invite = room.member(BOB, "invite", by=ALICE)
        if target in ("join", "ban"):
            assert refusal(room, invite) == rule(version, of(version, INVITE), 3)
        else:
            room.check(invite)

    def test_inviting_needs_its_level(self, version):
        room = room_where_bob_is(version, "join")
        room.set_levels(invite=30, users={BOB: 29})
        assert refusal(room, room.member(CAROL, "invite", by=BOB)) == rule(version, of(version, INVITE), 5)
        room.set_levels(invite=30, users={BOB: 30})
        room.check(room.member(CAROL, "invite", by=BOB))


class TestThirdPartyInvite:
    """Bob's address was invited by Alice; an identity server signs that it is his."""

    IDENTITY = SigningKey("id", b"7" * 32)

    def offer(self, version: str, **content) -> Room:
        room = Room(version)
        content = content or {"public_key": self.IDENTITY.verify_key.to_base64()}
        room.apply(room.event("m.room.third_party_invite", ALICE, content, "token"))
        return room

    def invite(self, room: Room, *, by=ALICE, change: dict | None = None) -> Event:
        signed = sign_json({"mxid": BOB, "token": "token", "sender": ALICE}, "id.example", self.IDENTITY)
        signed = {name: value for name, value in {**signed, **(change or {})}.items() if value is not None}
        return room.member(BOB, "invite", by=by, third_party_invite={"display_name": "b", "signed": signed})

    def number(self, version: str, last: int) -> str:
        return rule(version, of(version, INVITE), 1, last)

    def test_the_signature_of_the_identity_server_invites(self, version):
        room = self.offer(version)
        room.check(self.invite(room))
        room.set_member(ALICE, "leave")
        room.check(self.invite(room))

    def test_any_of_the_keys_in_either_alphabet_will_do(self, version):
        key = encode_base64_url(self.IDENTITY.verify_key.key)
        other = KEY.verify_key.to_base64()
        room = self.offer(version, public_key=other, public_keys=[{"public_key": other}, {"public_key": key}])
        room.check(self.invite(room))

    def test_the_banned_are_not_invited(self, version):
        room = self.offer(version)
        room.set_member(BOB, "ban")
        assert refusal(room, self.invite(room)) == self.number(version, 1)

    @pytest.mark.parametrize(
        "invite", [None, "x", [], {}, {"signed": None}, {"signed": "x"}, {"signed": []}], ids=repr
    )
    def test_it_is_signed(self, version, invite):
        room = self.offer(version)
        assert refusal(room, room.member(BOB, "invite", by=ALICE, third_party_invite=invite)) == self.number(
            version, 2
        )

    def test_it_names_user_and_token(self, version):
        room = self.offer(version)
        for change in ({"mxid": None}, {"token": None}, {"token": 1}, {"token": ["token"]}):
            assert refusal(room, self.invite(room, change=change)) == self.number(version, 3)
        for change in ({"mxid": CAROL}, {"mxid": 5}):
            assert refusal(room, self.invite(room, change=change)) == self.number(version, 4)
        assert refusal(room, self.invite(room, change={"token": "other"})) == self.number(version, 5)

    def test_it_comes_from_who_made_the_offer(self, version):
        room = self.offer(version)
        room.set_member(CAROL, "join")
        assert refusal(room, self.invite(room, by=CAROL)) == self.number(version, 6)

    @pytest.mark.parametrize("signatures", [
        None, "x", [], {}, {"id.example": []}, {"id.example": {"ed25519:id": 1}},
        {"id.example": {"ed25519:id": "AAAA"}},
        {"id.example": {"rsa:id": "x"}},
    ], ids=repr)  # fmt: skip
    def test_a_wrong_signature_invites_nobody(self, version, signatures):
        room = self.offer(version)
        assert refusal(room, self.invite(room, change={"signatures": signatures})) == self.number(version, 8)

    def test_a_tampered_promise_invites_nobody(self, version):
        room = self.offer(version)
        assert refusal(room, self.invite(room, change={"sender": CAROL})) == self.number(version, 8)

    @pytest.mark.parametrize("content", [
        {"public_key": KEY.verify_key.to_base64()}, {"public_key": "AAAA"}, {"public_key": 1},
        {"public_key": "!"},
        {"public_keys": "x"}, {"public_keys": [1, None, {}, {"public_key": []}]}, {"display_name": "none"},
    ], ids=repr)  # fmt: skip
    def test_a_wrong_key_invites_nobody(self, version, content):
        room = self.offer(version, **content)
        assert refusal(room, self.invite(room)) == self.number(version, 8)

    def test_the_work_is_bounded(self, monkeypatch):
        checks = []
        key = VerifyKey.verify

        def counted(self, message, signature):
            checks.append(1)
            key(self, message, signature)

        monkeypatch.setattr(VerifyKey, "verify", counted)
        monkeypatch.setattr(third_party_invites, "MAX_SIGNATURE_CHECKS", 20)
        room = self.offer("12", public_keys=[{"public_key": KEY.verify_key.to_base64()}] * 100)
        signatures = {f"s{number}": {"ed25519:id": "A" * 86} for number in range(100)}
        assert refusal(room, self.invite(room, change={"signatures": signatures})) == "5.4.1.8"
        assert len(checks) == 20


class TestLeave:
    @pytest.mark.parametrize("before", STATES)
    def test_people_leave_take_back_and_decline(self, version, before):
        room = room_where_bob_is(version, before)
        leave = room.member(BOB, "leave")
        if before in ("join", "invite") or (before == "knock" and int(version) >= 7):
            room.check(leave)
        else:
            assert refusal(room, leave) == rule(version, of(version, LEAVE), 1)

    @pytest.mark.parametrize("before", STATES)
    def test_only_members_remove_others(self, version, before):
        room = room_where_bob_is(version, before)
        room.set_levels(users={BOB: 50})
        room.set_member(CAROL, "join")
        kick = room.member(CAROL, "leave", by=BOB)
        if before == "join":
            room.check(kick)
        else:
            assert refusal(room, kick) == rule(version, of(version, LEAVE), 2)

    @pytest.mark.parametrize(
        ("kicker", "target", "allowed"), [(50, 49, True), (50, 50, False), (49, 0, False), (60, 99, False)]
    )
    def test_removing_needs_the_level_and_more_than_the_target_has(self, version, kicker, target, allowed):
        room = room_where_bob_is(version, "join")
        room.set_member(CAROL, "join")
        room.set_levels(kick=50, users={BOB: kicker, CAROL: target})
        kick = room.member(CAROL, "leave", by=BOB)
        if allowed:
            room.check(kick)
        else:
            assert refusal(room, kick) == rule(version, of(version, LEAVE), 5)

    def test_lifting_a_ban_needs_the_level_to_ban_and_to_kick(self, version):
        room = room_where_bob_is(version, "join")
        room.set_member(CAROL, "ban")
        room.set_levels(ban=60, kick=40, users={BOB: 59})
        assert refusal(room, room.member(CAROL, "leave", by=BOB)) == rule(version, of(version, LEAVE), 3)
        room.set_levels(ban=40, kick=60, users={BOB: 59})
        assert refusal(room, room.member(CAROL, "leave", by=BOB)) == rule(version, of(version, LEAVE), 5)
        room.set_levels(ban=60, kick=40, users={BOB: 60})
        room.check(room.member(CAROL, "leave", by=BOB))


class TestBan:
    @pytest.mark.parametrize("before", STATES)
    def test_only_members_ban(self, version, before):
        room = room_where_bob_is(version, before)
        room.set_levels(users={BOB: 50})
        ban = room.member(CAROL, "ban", by=BOB)
        if before == "join":
            room.check(ban)
        else:
            assert refusal(room, ban) == rule(version, of(version, BAN), 1)

    @pytest.mark.parametrize(
        ("banner", "target", "allowed"), [(50, 49, True), (50, 50, False), (49, 0, False), (60, 99, False)]
    )
    def test_banning_needs_the_level_and_more_than_the_target_has(self, version, banner, target, allowed):
        room = room_where_bob_is(version, "join")
        room.set_levels(ban=50, users={BOB: banner, CAROL: target})
        ban = room.member(CAROL, "ban", by=BOB)
        if allowed:
            room.check(ban)
        else:
            assert refusal(room, ban) == rule(version, of(version, BAN), 3)


@pytest.mark.parametrize("level", [100, 2**53 - 1])
def test_nobody_moves_a_creator_of_version_12_not_even_another(level):
    room = Room("12", additional_creators=[CAROL])
    for user in (BOB, CAROL):
        room.set_member(user, "join")
    room.set_levels(users={BOB: level})
    assert refusal(room, room.member(ALICE, "leave", by=BOB)) == "5.5.5"
    assert refusal(room, room.member(ALICE, "ban", by=BOB)) == "5.6.3"
    assert refusal(room, room.member(ALICE, "ban", by=CAROL)) == "5.6.3"
    room.check(room.member(BOB, "ban", by=CAROL))


class TestKnock:
    @pytest.mark.parametrize("version", versions(1, 6))
    def test_there_is_no_knocking_before_version_7(self, version):
        room = room_where_bob_is(version, None, join_rule="knock")
        assert refusal(room, room.member(BOB, "knock")) == rule(version, 6)

    @pytest.mark.parametrize("version", versions(7))
    @pytest.mark.parametrize(
        "join_rule", ["invite", "public", "restricted", "private", "knock", "knock_restricted"]
    )
    def test_rooms_take_knocks_where_their_join_rule_says_so(self, version, join_rule):
        room = room_where_bob_is(version, None, join_rule=join_rule)
        if join_rule == "knock" or (join_rule == "knock_restricted" and int(version) >= 10):
            room.check(room.member(BOB, "knock"))
        else:
            assert refusal(room, room.member(BOB, "knock")) == rule(version, of(version, 6), 1)

    @pytest.mark.parametrize("version", versions(7))
    def test_nobody_knocks_for_another(self, version):
        room = room_where_bob_is(version, None, join_rule="knock")
        assert refusal(room, room.member(BOB, "knock", by=ALICE)) == rule(version, of(version, 6), 2)

    @pytest.mark.parametrize("version", versions(7))
    @pytest.mark.parametrize("before", STATES)
    def test_those_outside_and_not_banned_knock(self, version, before):
        room = room_where_bob_is(version, before, join_rule="knock")
        if before in ("ban", "invite", "join"):
            assert refusal(room, room.member(BOB, "knock")) == rule(version, of(version, 6), 4)
        else:
            room.check(room.member(BOB, "knock"))
