import pytest

from homeserver.protocol.history_visibility import (
    Standing,
    Visibility,
    may_see,
    may_see_event,
    standing_after,
    visibility_of,
)

ALICE, BOB = "@alice:example.org", "@bob:example.org"
WORLD, SHARED, INVITED, JOINED = Visibility
MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban", None)


def expected(visibility, membership, *, joined_later):
    """The five rules of the specification, in its order."""
    if visibility == "world_readable":
        return True
    if membership == "join":
        return True
    if visibility == "shared" and joined_later:
        return True
    return membership == "invite" and visibility == "invited"


@pytest.mark.parametrize("visibility", Visibility)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize("joined_later", [True, False])
def test_the_rules_decide(visibility, membership, joined_later):
    standing = Standing(visibility, membership)
    assert may_see(standing, joined_later=joined_later) is expected(
        visibility, membership, joined_later=joined_later
    )


@pytest.mark.parametrize(
    ("content", "visibility"),
    [
        (None, SHARED),
        ({}, SHARED),
        ({"history_visibility": "joined"}, JOINED),
        ({"history_visibility": "world_readable"}, WORLD),
        ({"history_visibility": "friends"}, SHARED),
        ({"history_visibility": "JOINED"}, SHARED),
        ({"history_visibility": ["joined"]}, SHARED),
        ({"history_visibility": None}, SHARED),
    ],
)
def test_without_a_setting_we_understand_history_is_shared(content, visibility):
    assert visibility_of(content) is visibility


def sees(event_type, state_key, content, visibility, membership, *, joined_later=False):
    return may_see_event(
        event_type,
        state_key,
        content,
        user_id=BOB,
        before=Standing(visibility, membership),
        joined_later=joined_later,
    )


def test_ordinary_events_follow_the_standing():
    assert sees("m.room.message", None, {}, JOINED, "join")
    assert not sees("m.room.message", None, {}, JOINED, "invite")
    assert not sees("m.room.message", None, {}, SHARED, "leave")
    assert sees("m.room.message", None, {}, SHARED, None, joined_later=True)


@pytest.mark.parametrize(("before", "after"), [(WORLD, JOINED), (JOINED, WORLD)])
def test_strangers_see_a_room_open_and_close(before, after):
    assert sees("m.room.history_visibility", "", {"history_visibility": after.value}, before, None)


def test_strangers_do_not_see_a_closed_room_change_its_ways():
    assert not sees("m.room.history_visibility", "", {"history_visibility": "invited"}, JOINED, None)


def test_only_the_room_s_own_setting_opens_it():
    opened = {"history_visibility": "world_readable"}
    assert not sees("m.room.history_visibility", "other", opened, JOINED, None)
    assert not sees("m.room.history_visibility", None, opened, JOINED, None)


@pytest.mark.parametrize("visibility", Visibility)
def test_people_see_themselves_come_and_go(visibility):
    assert sees("m.room.member", BOB, {"membership": "join"}, visibility, "invite")
    for membership in ("leave", "ban"):
        assert sees("m.room.member", BOB, {"membership": membership}, visibility, "join")


def test_the_invited_see_their_invite_where_invites_open_history():
    assert sees("m.room.member", BOB, {"membership": "invite"}, INVITED, None)
    assert not sees("m.room.member", BOB, {"membership": "invite"}, JOINED, None)


def test_others_coming_and_going_is_an_event_like_any_other():
    assert not sees("m.room.member", ALICE, {"membership": "join"}, JOINED, "invite")


def test_standing_changes_with_the_event():
    before = Standing(SHARED, "invite")
    assert (
        standing_after(before, "m.room.member", BOB, {"membership": "join"}, user_id=BOB).membership == "join"
    )
    assert standing_after(before, "m.room.member", BOB, {"membership": 1}, user_id=BOB).membership is None
    assert standing_after(before, "m.room.topic", "", {}, user_id=BOB) is before
