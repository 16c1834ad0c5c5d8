"""On what do the state sets agree, and which events bear on the rest?

The text's "full auth chain" of a state set is read as other servers read it, with the state's own events: an
event that every state set holds is never in the auth difference. All must agree, or the room splits.
https://spec.matrix.org/latest/rooms/v12/#definitions
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.state_resolution.known_events import KnownEvents

StateMap: TypeAlias = Mapping[StateKey, EventId]

AuthChainDifference: TypeAlias = Callable[[Sequence[Set[EventId]], Set[EventId]], Set[EventId]]
"""Given what each state set holds beyond the common events, and the common events: the events that are in the
auth chains of some of the sets but not of all. A set's chain includes the set itself.

A storage that keeps the auth graph answers this faster than it can hand out the events.
"""


@dataclass(frozen=True, slots=True)
class Split:
    """State sets, taken apart."""

    unconflicted: dict[StateKey, EventId]
    conflicted: dict[StateKey, set[EventId]]
    """For each key on which the sets differ, or that some lack, all its events."""
    held: tuple[frozenset[EventId], ...]
    """The conflicted events that each state set holds; equal state sets count once."""

    @property
    def conflicted_ids(self) -> set[EventId]:
        return set().union(*self.conflicted.values())


def split(state_sets: Sequence[StateMap]) -> Split:
    """The unconflicted state map and the conflicted state set of at least one state set."""
    first, *others = state_sets
    conflicted: dict[StateKey, set[EventId]] = {}
    for other in others:
        if other is first:
            continue
        differing = [key for key, event_id in other.items() if first.get(key) != event_id]
        differing += first.keys() - other.keys()
        for key in differing:
            events = conflicted.setdefault(key, set())
            events.update(state[key] for state in (first, other) if key in state)
    unconflicted = {key: event_id for key, event_id in first.items() if key not in conflicted}
    held = (frozenset(state[key] for key in conflicted if key in state) for state in state_sets)
    return Split(unconflicted, conflicted, tuple(dict.fromkeys(held)))


def auth_chain_difference(
    held: Sequence[Set[EventId]], common: Set[EventId], events: KnownEvents
) -> set[EventId]:
    """What is in the auth chain of some state set but not of all; see AuthChainDifference.

    Whatever a common event rests on is in every chain, so nothing below one is visited unless something
    remains that could be there. Of the events in `held`, some may be answered although all chains have them.
    """
    conflicted = set().union(*held)
    chain = events.auth_chain(conflicted, stop_at=common)
    everyone = (1 << len(held)) - 1
    difference = {event_id for event_id, sets in _reachability(chain, held).items() if sets != everyone}
    if difference - conflicted:
        _drop_chain_of(common, difference, events)
    return difference


def _reachability(
    chain: Mapping[EventId, Sequence[EventId]], held: Sequence[Iterable[EventId]]
) -> dict[EventId, int]:
    """For each event of the chain, a bit for each state set whose events rest on it."""
    sets: dict[EventId, int] = dict.fromkeys(chain, 0)
    for number, event_ids in enumerate(held):
        for event_id in event_ids:
            if event_id in sets:
                sets[event_id] |= 1 << number
    order = _descending(chain)
    changed = True
    while changed:  # once more than the chain needs, unless old room versions made a circle
        changed = False
        for event_id in order:
            mine = sets[event_id]
            for auth_id in chain[event_id]:
                theirs = sets.get(auth_id)
                if theirs is not None and theirs | mine != theirs:
                    sets[auth_id] = theirs | mine
                    changed = True
    return sets


def _descending(chain: Mapping[EventId, Sequence[EventId]]) -> list[EventId]:
    """The events of the chain, each before those that authorise it."""
    finished: list[EventId] = []
    entered: set[EventId] = set()
    for start in chain:
        if start in entered:
            continue
        entered.add(start)
        path = [(start, iter(chain[start]))]
        while path:
            event_id, links = path[-1]
            following = next((link for link in links if link in chain and link not in entered), None)
            if following is None:
                finished.append(event_id)
                path.pop()
            else:
                entered.add(following)
                path.append((following, iter(chain[following])))
    finished.reverse()
    return finished


def _drop_chain_of(common: Iterable[EventId], difference: set[EventId], events: KnownEvents) -> None:
    """Take out of `difference` what events of `common` rest on."""
    frontier = set(common)
    seen = set(frontier)
    while frontier and difference:
        events.load(frontier)
        below: set[EventId] = set()
        for event_id in frontier:
            below.update(events.auth_event_ids(event_id))
        frontier = below - seen
        seen |= frontier
        difference -= frontier


def conflicted_subgraph(conflicted: Set[EventId], events: KnownEvents) -> set[EventId]:
    """The events on paths of `auth_events` from one conflicted event to another, ends included."""
    chain = events.auth_chain(conflicted)
    citing: dict[EventId, list[EventId]] = {}
    for event_id, auth_ids in chain.items():
        for auth_id in auth_ids:
            citing.setdefault(auth_id, []).append(event_id)
    subgraph = set(conflicted)
    frontier = list(conflicted)
    while frontier:
        for event_id in citing.get(frontier.pop(), ()):
            if event_id not in subgraph:
                subgraph.add(event_id)
                frontier.append(event_id)
    return subgraph
