"""How long to leave a server alone that does not answer."""

from collections.abc import Callable
from typing import NamedTuple

DOUBLINGS = 40


class BackOff(NamedTuple):
    """Twice as long after each failure, up to `longest_s`, and anything from half of that to all of it.

    So a thousand servers that were lost at the same moment do not come back at the same moment.
    """

    first_s: float = 10.0
    longest_s: float = 86_400.0

    def pause_s(self, failures: int, chance: Callable[[], float]) -> float:
        """Seconds after the `failures`th failure in a row; `chance` is from 0 to below 1."""
        whole: float = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, DOUBLINGS))
        return whole * (0.5 + 0.5 * chance())
