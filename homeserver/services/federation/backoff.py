"""How long to leave a server alone that does not answer."""

from collections.abc import Callable
from typing import NamedTuple

GROWTH = 1.5
MOST_GROWTHS = 60


class BackOff(NamedTuple):
    """Half as long again after each failure, up to `longest_s`, and anything from half of that to all of it.

    So pauses are about half of the outage so far, and a short one is soon noticed to be over. And a thousand
    servers that were lost at the same moment do not come back at the same moment.
    """

    first_s: float = 2.0
    longest_s: float = 86_400.0

    def pause_s(self, failures: int, chance: Callable[[], float]) -> float:
        """Seconds after the `failures`th failure in a row; `chance` is from 0 to below 1."""
        whole: float = min(self.longest_s, self.first_s * GROWTH ** min(failures - 1, MOST_GROWTHS))
        return whole * (0.5 + 0.5 * chance())
