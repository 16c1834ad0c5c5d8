"""Of a room's members, those that lazy loading shows in a sync: who speaks in the timeline, if not yet known.

What changed while the client was away comes in any case, so that a list of members which it keeps stays true.
https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members
"""

from collections.abc import Iterable, Mapping, Sequence

from homeserver.protocol import event_types
from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import UserId
from homeserver.services.rooms.room import Standing
from homeserver.services.rooms.timeline_event import TimelineEvent
from homeserver.services.rooms.told_members import ToldMembers
from homeserver.services.sync.query import SyncQuery


class LazyMembers:
    """Chooses, and remembers what was told."""

    def __init__(self, told: ToldMembers) -> None:
        self._told = told

    def chosen(
        self, query: SyncQuery, nids: Mapping[StateKey, int], timeline: Sequence[TimelineEvent],
        current: Mapping[StateKey, Standing], *, since: int,
    ) -> dict[StateKey, int]:  # fmt: skip
        """The state to send, out of `nids`: all that is not known, or the changes after `since`.

        `current`: the state at the end of the timeline.
        """
        wanted = dict.fromkeys(event.sender for event in timeline)
        if query.is_initial or query.full_state:
            wanted[query.user_id] = None
        before = {} if query.use_state_after else _before_changes(timeline)
        if query.use_state_after:
            wanted.update(dict.fromkeys(UserId(user_id) for user_id in _changed(timeline)))
        kept = dict(nids)
        if not since:
            kept = {key: nid for key, nid in nids.items() if key[0] != event_types.MEMBER or key[1] in wanted}
        for user_id in wanted:
            key = (event_types.MEMBER, user_id)
            nid = before[user_id] if user_id in before else _nid(current.get(key))
            if key not in kept and nid is not None and not self._is_known(query, nid):
                kept[key] = nid
        return kept

    def note(
        self, query: SyncQuery, state: Iterable[TimelineEvent], timeline: Iterable[TimelineEvent], upto: int
    ) -> None:
        """The answer with this token shows these events."""
        if query.told is None:
            return
        shown = state if query.use_state_after else [*state, *timeline]
        members = [event.nid for event in shown if event.type == event_types.MEMBER]
        self._told.note(query, query.told, members, upto)

    def _is_known(self, query: SyncQuery, nid: int) -> bool:
        if query.told is None or query.full_state or query.filter.room.state.include_redundant_members:
            return False
        return query.told.has(nid, query.since)


def _nid(standing: Standing | None) -> int | None:
    return None if standing is None else standing.nid


def _changed(timeline: Sequence[TimelineEvent]) -> list[str]:
    """Whose memberships change in the timeline."""
    return [event.state_key or "" for event in timeline if event.type == event_types.MEMBER]


def _before_changes(timeline: Sequence[TimelineEvent]) -> dict[str, int | None]:
    """By whose membership changes in the timeline: what it was before, if they spoke in it as that."""
    before: dict[str, int | None] = {}
    spoke: set[str] = set()
    for event in timeline:
        if event.type == event_types.MEMBER and event.state_key is not None:
            before.setdefault(event.state_key, event.replaces_nid if event.state_key in spoke else None)
        spoke.add(event.sender)
    return before
