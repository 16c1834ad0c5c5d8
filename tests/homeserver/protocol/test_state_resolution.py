import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.state_resolution import resolve
from homeserver.protocol.state_resolution.conflicts import conflicted_subgraph
from homeserver.protocol.state_resolution.known_events import KnownEvents
from tests.homeserver.protocol.forked_room import ALICE, BOB, CAROL, DAVE, USERS, ForkedRoom
from tests.homeserver.protocol.reference_state_resolution import reference_resolve

TOPIC, POWER, JOIN_RULES = ("m.room.topic", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")

V1, V2, V2_1 = "1", "11", "12"


def resolved(room, *branches, **options):
    states = [room.branches[branch] for branch in branches] or room.branches
    return resolve(room.version, states, room.fetch, **options)


def join(room, branch, *users):
    for user in users:
        assert room.send(branch, "m.room.member", user, {"membership": "join"}, user)


def set_power(room, branch, sender, users, **levels):
    return room.send(branch, *POWER[:1], sender, {"users": users, **levels}, "")


def topic(room, branch, sender, text, **options):
    return room.send(branch, "m.room.topic", sender, {"topic": text}, "", **options)


def power(room, **users):
    """Levels for the room: the creator's own entry where the version wants it."""
    names = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE}
    levels = {names[name]: level for name, level in users.items()}
    return levels if room.version.privileged_creators else {ALICE: 100, **levels}


@pytest.fixture(params=["2", "6", V2, V2_1])
def room(request):
    """Alice's public room with Bob (50) and Carol in it, all on one branch."""
    made = ForkedRoom(request.param)
    join(made, 0, BOB, CAROL)
    assert set_power(made, 0, ALICE, power(made, bob=50))
    return made


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_one_state_resolves_to_itself(version):
    room = ForkedRoom(version)
    assert resolved(room) == room.branches[0]
    assert resolved(room, 0, 0, 0) == room.branches[0]
    assert resolve(room.version, [], room.fetch) == {}


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_agreement_needs_no_events(version):
    room = ForkedRoom(version)
    assert resolve(room.version, [room.branches[0], dict(room.branches[0])], None) == room.branches[0]


def test_of_two_topics_the_later_stands(room):
    fork = room.fork()
    topic(room, 0, ALICE, "first", ts=1_000)
    later = topic(room, fork, BOB, "second", ts=1_001)
    assert resolved(room)[TOPIC] == resolved(room, 1, 0)[TOPIC] == later.event_id


def test_state_that_only_one_branch_has_is_kept_when_allowed(room):
    room.fork()
    only = topic(room, 0, BOB, "only")
    assert resolved(room)[TOPIC] == only.event_id


def test_a_ban_wins_over_what_the_banned_did_meanwhile(room):
    fork = room.fork()
    ban = room.send(0, "m.room.member", ALICE, {"membership": "ban"}, BOB, ts=5_000)
    topic(room, fork, BOB, "bob was here", ts=1_000)
    outcome = resolved(room)
    assert outcome[("m.room.member", BOB)] == ban.event_id
    assert TOPIC not in outcome


def test_losing_power_wins_over_what_that_power_allowed_meanwhile(room):
    fork = room.fork()
    set_power(room, 0, ALICE, power(room))
    topic(room, fork, BOB, "still a moderator")
    assert TOPIC not in resolved(room)


def test_moderators_cannot_undo_the_admin_by_forking(room):
    fork = room.fork()
    demotion = set_power(room, 0, ALICE, power(room), ban=100)
    assert set_power(room, fork, BOB, power(room, bob=50, carol=50))
    assert resolved(room)[POWER] == demotion.event_id


def test_the_more_powerful_goes_first_whatever_the_clock_says(room):
    fork = room.fork()
    assert room.send(0, "m.room.join_rules", ALICE, {"join_rule": "invite"}, "", ts=9_000)
    by_moderator = room.send(fork, "m.room.join_rules", BOB, {"join_rule": "knock"}, "", ts=10)
    # Both are allowed, so the one applied last, by the lesser sender, stands.
    assert resolved(room)[JOIN_RULES] == by_moderator.event_id


def test_closing_a_room_keeps_out_who_joined_meanwhile(room):
    fork = room.fork()
    room.send(0, "m.room.join_rules", ALICE, {"join_rule": "invite"}, "")
    join(room, fork, DAVE)
    assert ("m.room.member", DAVE) not in resolved(room)


def test_a_rejected_auth_event_does_not_speak_for_an_event(room):
    joined = room.send(0, "m.room.member", DAVE, {"membership": "join"}, DAVE)
    set_power(room, 0, ALICE, power(room, bob=50, dave=50))
    fork = room.fork()
    topic(room, 0, DAVE, "hello")
    later = topic(room, fork, DAVE, "hello again")
    for state in room.branches:
        del state[joined.key]
    assert resolved(room)[TOPIC] == later.event_id
    assert TOPIC not in resolved(room, rejected={joined.event_id})


@pytest.mark.parametrize(("version", "is_kept"), [(V2, False), (V2_1, True)])
def test_v2_1_starts_from_no_state_so_events_are_judged_by_what_they_rest_on(version, is_kept):
    room = ForkedRoom(version)
    join(room, 0, BOB)
    set_power(room, 0, ALICE, power(room, bob=50))
    fork = room.fork()
    topic(room, 0, BOB, "one")
    later = topic(room, fork, BOB, "two")
    ban = room.send(0, "m.room.member", ALICE, {"membership": "ban"}, BOB)
    room.branches[fork][ban.key] = ban.event_id
    outcome = resolved(room)
    assert outcome[ban.key] == ban.event_id
    assert outcome.get(TOPIC) == (later.event_id if is_kept else None)


def test_v2_1_replays_what_lies_between_conflicted_events():
    """The forks differ about which of his joins Bob is in the room by; the ban in between comes along."""
    room = ForkedRoom(V2_1)
    join(room, 0, BOB)
    before = room.fork()
    ban = room.send(0, "m.room.member", ALICE, {"membership": "ban"}, BOB)
    unban = room.send(0, "m.room.member", ALICE, {"membership": "leave"}, BOB)
    again = room.send(0, "m.room.member", BOB, {"membership": "join"}, BOB)
    subgraph = conflicted_subgraph({room.branches[before][ban.key], again.event_id}, KnownEvents(room.fetch))
    assert subgraph == {room.branches[before][ban.key], ban.event_id, unban.event_id, again.event_id}
    assert resolved(room)[ban.key] == again.event_id


def test_missing_events_are_as_if_nobody_had_named_them(room):
    fork = room.fork()
    lost = topic(room, 0, ALICE, "lost")
    kept = topic(room, fork, BOB, "kept")
    del room.events[lost.event_id]
    assert resolved(room)[TOPIC] == kept.event_id


def test_events_are_fetched_once(room):
    fork = room.fork()
    set_power(room, 0, ALICE, power(room, bob=50, carol=50))
    topic(room, 0, CAROL, "x")
    topic(room, fork, BOB, "y")
    asked = []

    def fetch(event_ids):
        asked.extend(event_ids)
        return room.fetch(event_ids)

    resolve(room.version, room.branches, fetch)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("version", ["2", V2, V2_1])
def test_events_that_authorise_each_other_in_a_circle_end(version):
    room = ForkedRoom(version)
    join(room, 0, BOB)
    room.fork()
    one = set_power(room, 0, ALICE, power(room, bob=50))
    two = set_power(room, 1, ALICE, power(room, bob=20))
    one.auth_event_ids = (*one.auth_event_ids, two.event_id)
    two.auth_event_ids = (*two.auth_event_ids[:1], one.event_id)
    topic(room, 0, ALICE, "x")
    assert set(resolved(room)) >= {("m.room.create", ""), ("m.room.member", ALICE), TOPIC}


# Room version 1


def test_v1_takes_the_deepest_topic_that_is_allowed():
    room = ForkedRoom(V1)
    join(room, 0, BOB)
    fork = room.fork()
    topic(room, 0, ALICE, "shallow")
    set_power(room, fork, ALICE, power(room, bob=50))
    deep = topic(room, fork, BOB, "deep")
    assert resolved(room)[TOPIC] == deep.event_id


def test_v1_keeps_what_only_one_branch_has():
    room = ForkedRoom(V1)
    room.fork()
    join(room, 0, BOB)
    assert resolved(room)[("m.room.member", BOB)] == room.branches[0][("m.room.member", BOB)]


# Against the reference

numbers = st.integers(0, 7)
steps = st.tuples(st.integers(0, 15), numbers, numbers, numbers, st.integers(0, 3))


def take_step(room, rejected, step):
    """One thing happens on one branch: `step` says what, where, who, to whom, and when."""
    what, where, who, whom, when = step
    branch, sender, target = where % len(room.branches), USERS[who % 4], USERS[whom % 4]
    ts = 100 * when
    if what < 3 and len(room.branches) < 5:
        room.fork(branch)
    elif what == 3 and len(room.branches) > 1:
        other = whom % len(room.branches)
        states = [room.branches[branch], room.branches[other]]
        room.branches[branch] = reference_resolve(room.version, states, room.events, rejected)
    elif what < 8:
        membership = ["join", "leave", "ban", "invite", "join", "join", "leave", "knock"][whom]
        subject = sender if membership in ("join", "knock") else USERS[(who + what) % 4]
        room.send(branch, "m.room.member", sender, {"membership": membership}, subject, ts=ts)
    elif what < 11:
        users = dict(room.state(branch)[POWER].content["users"]) if POWER in room.branches[branch] else {}
        if not (room.version.privileged_creators and target == ALICE):
            users[target] = [0, 50, 100, 49][when]
        content = {"users": users, "state_default": [50, 50, 0, 100][when]}
        room.send(branch, "m.room.power_levels", sender, content, "", ts=ts)
    elif what < 13:
        rule = ["public", "invite", "public", "knock"][whom % 4]
        room.send(branch, "m.room.join_rules", sender, {"join_rule": rule}, "", ts=ts)
    elif what == 13 and whom == 0:
        room.branches[branch].pop(("m.room.member", sender), None)
    else:
        made = room.send(branch, "m.room.topic", sender, {"topic": str(what)}, "", ts=ts)
        if made and what == 15 and whom == 7:
            rejected.update(made.auth_event_ids[-1:])


@pytest.mark.parametrize("version", [V1, "2", "6", V2, V2_1])
@settings(max_examples=400)
@given(history=st.lists(steps, min_size=5, max_size=45))
def test_the_outcome_is_that_of_the_reference(version, history):
    room, rejected = ForkedRoom(version), set()
    join(room, 0, BOB, CAROL)
    room.fork()
    for step in history:
        take_step(room, rejected, step)
    expected = reference_resolve(room.version, room.branches, room.events, rejected)
    assert resolved(room, rejected=rejected) == expected
    backwards = resolve(room.version, room.branches[::-1], room.fetch, rejected=rejected)
    assert backwards == expected


# Cost


def crowded_room(version, members):
    room = ForkedRoom(version)
    state, rules = room.branches[0], [room.branches[0][key] for key in (POWER, JOIN_RULES)]
    create = [] if room.version.room_id_is_create_hash else [state["m.room.create", ""]]
    template = next(event for event in room.events.values() if event.type == "m.room.member")
    for number in range(members):
        user = f"@user{number}:example.org"
        pdu = {
            **template.pdu,
            "sender": user,
            "state_key": user,
            "auth_events": create + rules,
            "unique": user,
        }
        pdu |= {"origin_server_ts": number, "content": {"membership": "join"}}
        event = type(template).from_pdu(room.version, pdu)
        room.events[event.event_id] = event
        state[event.key] = event.event_id
    return room


@pytest.mark.slow
@pytest.mark.parametrize("version", [V2, V2_1])
def test_fifty_forks_of_a_room_of_ten_thousand_resolve_within_a_second(version):
    room = crowded_room(version, 10_000)
    for number in range(50):
        fork = room.fork()
        user = f"@user{number}:example.org"
        set_power(room, fork, ALICE, power(room, bob=number))
        room.send(fork, "m.room.member", ALICE, {"membership": "ban"}, user)
        topic(room, fork, ALICE, f"fork {number}")
    started = time.process_time()
    outcome = resolved(room)
    assert time.process_time() - started < 1
    assert len(outcome) > 10_000
    banned = [room.events[outcome["m.room.member", f"@user{n}:example.org"]].membership for n in range(50)]
    assert banned == ["ban"] * 50
