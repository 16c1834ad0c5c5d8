"""Presence, decided from signs of life."""

import pytest

from homeserver.protocol.presence import (
    ACTIVE_MS,
    GONE_AFTER_MS,
    IDLE_AFTER_MS,
    PresenceState,
    Signs,
    decide,
    is_away,
    next_change,
)

ONLINE, UNAVAILABLE, OFFLINE = PresenceState.ONLINE, PresenceState.UNAVAILABLE, PresenceState.OFFLINE
NOW = 10**9


@pytest.mark.parametrize(
    ("signs", "state", "active"),
    [
        (Signs(), OFFLINE, False),
        (Signs(online_syncs=1, last_active=NOW), ONLINE, True),
        (Signs(online_syncs=1, last_active=NOW - ACTIVE_MS), ONLINE, False),
        (Signs(online_syncs=1, last_active=NOW - IDLE_AFTER_MS), UNAVAILABLE, False),
        (Signs(online_syncs=1), UNAVAILABLE, False),
        (Signs(unavailable_syncs=1), UNAVAILABLE, False),
        (Signs(unavailable_syncs=1, last_active=NOW), ONLINE, True),
        (Signs(unavailable_syncs=1, online_syncs=1, last_active=NOW), ONLINE, True),
        (Signs(online_sync_ended=NOW - GONE_AFTER_MS + 1, last_active=NOW - ACTIVE_MS), ONLINE, False),
        (Signs(online_sync_ended=NOW - GONE_AFTER_MS, last_active=NOW - ACTIVE_MS), OFFLINE, False),
        (Signs(unavailable_sync_ended=NOW - GONE_AFTER_MS + 1), UNAVAILABLE, False),
        (Signs(last_active=NOW), ONLINE, True),
        (Signs(last_active=NOW - GONE_AFTER_MS), OFFLINE, False),
        (Signs(online_syncs=1, last_active=NOW, said=UNAVAILABLE), UNAVAILABLE, False),
        (Signs(online_syncs=1, last_active=NOW, said=OFFLINE), OFFLINE, False),
    ],
)
def test_what_others_see(signs: Signs, state: PresenceState, active: bool) -> None:
    shown = decide(signs, NOW)
    assert (shown.state, shown.is_currently_active) == (state, active)


def test_the_next_change_is_never_missed() -> None:
    cases = [
        Signs(online_syncs=1, last_active=NOW),
        Signs(last_active=NOW),
        Signs(online_sync_ended=NOW, last_active=NOW - 20_000),
        Signs(unavailable_sync_ended=NOW),
    ]
    for signs in cases:
        now, looked = NOW, decide(signs, NOW)
        for later in range(NOW, NOW + IDLE_AFTER_MS + 10_000, 1_000):
            due = next_change(signs, now)
            if due is not None and due <= later:
                now, looked = later, decide(signs, later)
            assert decide(signs, later) == looked


def test_somebody_who_holds_a_sync_idly_is_never_due() -> None:
    assert next_change(Signs(online_syncs=1, last_active=NOW - IDLE_AFTER_MS), NOW) is None


def test_away_is_who_has_gone() -> None:
    assert is_away(Signs(), NOW)
    assert is_away(Signs(last_active=NOW - GONE_AFTER_MS), NOW)
    assert not is_away(Signs(online_syncs=1), NOW)
    assert not is_away(Signs(online_sync_ended=NOW - 1), NOW)
