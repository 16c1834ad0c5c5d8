"""Which events authorise an event."""

import pytest

from homeserver.protocol.auth_rules import auth_keys, check_auth_events
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.events import Draft, build
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, CAROL, KEY, Room

POWER = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")


def member(user: str) -> tuple[str, str]:
    return ("m.room.member", user)


def selected(version: str, event_type: str, state_key: str | None = None, **content) -> list[tuple[str, str]]:
    """Without the create event, which is checked to be there exactly before version 12."""
    keys = auth_keys(
        ROOM_VERSIONS[version], type=event_type, sender=ALICE, state_key=state_key, content=content
    )
    assert len(keys) == len(set(keys))
    if event_type != "m.room.create":
        assert (("m.room.create", "") in keys) is (int(version) < 12)
    return [key for key in keys if key != ("m.room.create", "")]


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_messages_and_state_need_levels_and_the_sender(version):
    assert selected(version, "m.room.create", "") == []
    for event_type, state_key in (("m.room.message", None), ("m.room.topic", ""), ("m.room.member", None)):
        assert selected(version, event_type, state_key, membership="join") == [POWER, member(ALICE)]


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_memberships_need_the_target_and_for_some_the_join_rules(version):
    for membership in ("join", "invite", "knock"):
        found = selected(version, "m.room.member", BOB, membership=membership)
        assert found == [POWER, member(ALICE), member(BOB), RULES]
    for membership in ("leave", "ban", None, ["join"]):
        found = selected(version, "m.room.member", BOB, membership=membership)
        assert found == [POWER, member(ALICE), member(BOB)]
    assert selected(version, "m.room.member", ALICE, membership="join") == [POWER, member(ALICE), RULES]


def test_a_third_party_invite_needs_the_offer_it_takes_up():
    content = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    assert ("m.room.third_party_invite", "t") in selected("12", "m.room.member", BOB, **content)
    assert ("m.room.third_party_invite", "t") not in selected(
        "12", "m.room.member", BOB, **{**content, "membership": "join"}
    )
    for malformed in (None, "x", {}, {"signed": None}, {"signed": {}}, {"signed": {"token": 1}}):
        found = selected("12", "m.room.member", BOB, membership="invite", third_party_invite=malformed)
        assert found == [POWER, member(ALICE), member(BOB), RULES]


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_restricted_join_needs_who_authorised_it(version):
    found = selected(
        version, "m.room.member", ALICE, membership="join", join_authorised_via_users_server=CAROL
    )
    assert (member(CAROL) in found) is (int(version) >= 8)
    for other in (ALICE, 5, None):
        found = selected(
            version, "m.room.member", ALICE, membership="join", join_authorised_via_users_server=other
        )
        assert found == [POWER, member(ALICE), RULES]


class Chosen:
    """A room and one message in it, whose auth_events are judged."""

    def __init__(self, version: str) -> None:
        self.room = Room(version)
        self.room.set_levels()
        self.message = self.room.event("m.room.message", ALICE, {})
        self.right = [
            event for event in self.room.state.values() if event.event_id in self.message.auth_event_ids
        ]
        self.number = "3" if version == "12" else "2"

    def refusal(self, auth_events, **kwargs) -> str:
        with pytest.raises(AuthFailure) as failure:
            check_auth_events(self.message, auth_events, **kwargs)
        return failure.value.rule


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_selected_events_are_right_for_every_event_of_the_room(version):
    room = Room(version)
    for event in room.state.values():
        chosen = [other for other in room.state.values() if other.event_id in event.auth_event_ids]
        check_auth_events(event, chosen)
    chosen = Chosen(version)
    check_auth_events(chosen.message, chosen.right)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_wrong_auth_events_are_refused(version):
    chosen = Chosen(version)
    right, room = chosen.right, chosen.room
    second = room.event("m.room.power_levels", ALICE, {"ban": 1}, "")
    assert chosen.refusal([*right, right[-1]]) == f"{chosen.number}.1"
    assert chosen.refusal([*right, second]) == f"{chosen.number}.1"
    for event_type, state_key in (("m.room.topic", ""), ("m.room.member", BOB), ("m.room.power_levels", "x")):
        extra = room.event(event_type, ALICE, {"membership": "join"}, state_key)
        assert chosen.refusal([*right, extra]) == f"{chosen.number}.2"
    assert chosen.refusal([*right, room.event("m.room.power_levels", ALICE, {})]) == f"{chosen.number}.2"
    assert chosen.refusal(right, rejected={right[-1].event_id}) == f"{chosen.number}.3"


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_create_event_is_named_before_version_12_and_never_from_then_on(version):
    chosen = Chosen(version)
    if version == "12":
        assert chosen.refusal([*chosen.right, chosen.room.create]) == "3.2"
    else:
        assert chosen.refusal([event for event in chosen.right if event is not chosen.room.create]) == "2.4"


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_auth_events_of_another_room_are_refused(version):
    chosen = Chosen(version)
    other_id = "!other:a.example" if version != "12" else "!" + "B" * 43
    draft = Draft(
        type="m.room.power_levels",
        sender=ALICE,
        content={},
        state_key="",
        room_id=other_id,
        depth=1,
        origin_server_ts=1,
    )
    foreign = build(draft, chosen.room.version, "a.example", KEY)
    others = [event for event in chosen.right if event.type != "m.room.power_levels"]
    assert chosen.refusal([*others, foreign]) == f"{chosen.number}.5"
