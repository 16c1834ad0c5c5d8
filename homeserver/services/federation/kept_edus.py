"""How long an EDU that must not get lost waits for a server that does not come, and how many do.

What each server lacks is in a log (`FederationSender.append_edu`). A server may never come back, so each kind
has its end:

    m.direct_to_device      One for each message. They hold the keys that devices need to read, so they wait
                            for a month. Whose server comes later asks for keys anew.
    m.device_list_update    One for each user, the newest: `key` is the user. Others are no loss: the server
    m.signing_key_update    sees from `prev_id` that it missed something, or gets the user's keys anyway.
                            So they wait for a year, and the user's next change makes up for dropped ones.
"""

from typing import NamedTuple

DAY_MS = 86_400_000


class Kept(NamedTuple):
    """Of one kind, for one server: for how long, and the newest how many."""

    for_ms: int
    most: int


KEPT = {
    "m.direct_to_device": Kept(30 * DAY_MS, 5_000),
    "m.device_list_update": Kept(365 * DAY_MS, 10_000),
    "m.signing_key_update": Kept(365 * DAY_MS, 10_000),
}
"""Only these go into the log: whoever adds a kind says when it ends."""
