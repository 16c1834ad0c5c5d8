"""How long a server that does not answer is left alone."""

import pytest

from homeserver.services.federation.backoff import BackOff

DAY = 86_400.0


@pytest.mark.parametrize(
    ("failures", "whole"), [(1, 2.0), (2, 3.0), (3, 4.5), (10, 2 * 1.5**9), (28, DAY), (10_000, DAY)]
)
def test_chance_has_half_of_a_pause_that_grows_to_a_day(failures: int, whole: float) -> None:
    pauses = [BackOff().pause_s(failures, lambda chance=chance: chance) for chance in (0.0, 0.5, 1.0)]
    assert pauses == pytest.approx([whole / 2, whole * 3 / 4, whole])
