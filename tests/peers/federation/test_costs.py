"""What federation costs, as the benches in `scripts/bench` measure it, and what it may.

In CI few of everything, in the full form (POSTROOM_FEDERATION=full) what the benches do by themselves. Both
kinds of server are measured in the same minutes: only how they compare says something on a busy machine.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import FIGURE
from tests.support.server_process import ROOT

IS_FULL = os.environ.get("POSTROOM_FEDERATION") == "full"
LONGEST_S = 1_500
MIB_WITH_IDLE_DESTINATIONS = 100
PATIENCE_OF_PEOPLE_S = 3.0
REACHED_WITHIN_S = 5.0
TIMES_SYNAPSE = 10
SHARE_OF_SYNAPSE = 0.25
"""Of the time it takes to join a large room; in a small one both spend it on other things than members."""

Figure = Callable[[str], None]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("costs")]


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """What the run tells at its end."""
    return lambda told: record_property(FIGURE, told)


def measured(bench: str, *options: object) -> dict[str, Any]:
    """What the bench prints."""
    script = ROOT / "scripts" / "bench" / f"federation_{bench}.py"
    done = subprocess.run(
        [sys.executable, str(script), *map(str, options)],
        capture_output=True, text=True, timeout=LONGEST_S, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("synapse_is_there")
def test_events_are_taken_in_for_a_tenth_of_what_synapse_spends(figure: Figure) -> None:
    events, rounds = (1_000, 3) if IS_FULL else (250, 1)
    found = measured("inbound", "--events", events, "--rounds", rounds)
    figure(
        f"inbound: {found['events_per_cpu_second']} a CPU second, {found['times_synapse']} times Synapse's"
    )
    assert found["times_synapse"] >= TIMES_SYNAPSE


def test_a_message_reaches_a_thousand_servers(figure: Figure) -> None:
    messages, idle = (3, 5_000) if IS_FULL else (2, 0)
    found = measured("fan_out", "--destinations", 1_000, "--messages", messages, "--idle", idle)
    times = [one["all_reached_s"] for one in found["messages"]]
    figure(f"to 1,000 servers in {times} s; {found['peak_rss_mib']} MiB at most; idle: {found['idle']}")
    assert max(times) < REACHED_WITHIN_S
    assert all(one["queues_left"] == 0 for one in found["messages"])
    assert found["peak_rss_mib"] < found["rss_before_mib"] + MIB_WITH_IDLE_DESTINATIONS
    if IS_FULL:
        assert found["idle"]["rss_after_s"]["65"] < MIB_WITH_IDLE_DESTINATIONS


@pytest.mark.usefixtures("synapse_is_there")
def test_a_room_is_joined_sooner_than_synapse_joins_it(figure: Figure) -> None:
    members, rounds = (5_000, 5) if IS_FULL else (500, 1)
    found = measured("joins", "--members", members, "--rounds", rounds)
    ours, share = found["postroom joins synapse"]["median"], found["complete_s, ours to theirs"]
    figure(f"{members} members: {ours}, {share} of the time that Synapse takes")
    assert ours["answered_s"] < PATIENCE_OF_PEOPLE_S
    assert share < (SHARE_OF_SYNAPSE if IS_FULL else 1)
