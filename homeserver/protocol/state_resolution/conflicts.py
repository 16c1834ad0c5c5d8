"""On what do the state sets agree, and which events bear on the rest?

The text's "full auth chain" of a state set is read as other servers read it, with the state's own events: an
event that every state set holds is never in the auth difference. All must agree, or the room splits.
https://spec.matrix.org/latest/rooms/v12/#definitions
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from homeserver.protocol.events import StateKey
from homeserver.protocol.ids import EventId
from homeserver.protocol.state_resolution.known_events import KnownEvents

StateMap: TypeAlias = Mapping[StateKey, EventId]

Holder: TypeAlias = Callable[[StateKey], EventId | None]
"""The event that holds a key."""


class Agreed(Protocol):
    """What all state sets hold: most of a room. A storage may answer this without reading all of it."""

    def holder(self, key: StateKey) -> EventId | None:
        """The event that all hold; None: none does, or they differ."""

    def holds(self, event_id: EventId) -> bool:
        """Is it one of these? Asked only of events that were fetched."""

    def resting_on(self, event_ids: Set[EventId]) -> Iterable[EventId]:
        """At least those of these that have any of the others, which were fetched, in their auth chains."""


@dataclass(frozen=True, slots=True)
class AgreedMap:
    """The same of state maps."""

    state: StateMap
    ids: frozenset[EventId]

    def holder(self, key: StateKey) -> EventId | None:
        return self.state.get(key)

    def holds(self, event_id: EventId) -> bool:
        return event_id in self.ids

    def resting_on(self, event_ids: Set[EventId]) -> Iterable[EventId]:
        return self.ids


@dataclass(frozen=True, slots=True)
class Split:
    """State sets, taken apart."""

    agreed: Agreed
    conflicted: dict[StateKey, set[EventId]]
    """For each key on which the sets differ, or that some lack, all its events."""
    held: tuple[frozenset[EventId], ...]
    """The conflicted events that each state set holds; equal state sets count once."""

    @property
    def conflicted_ids(self) -> set[EventId]:
        return set().union(*self.conflicted.values())


def split(state_sets: Sequence[StateMap]) -> tuple[Split, dict[StateKey, EventId]]:
    """At least one state set, taken apart, and its unconflicted state map."""
    first, *others = state_sets
    differing: set[StateKey] = set()
    for other in others:
        if other is not first:
            differing.update(key for key, event_id in other.items() if first.get(key) != event_id)
            differing |= first.keys() - other.keys()
    unconflicted = {key: event_id for key, event_id in first.items() if key not in differing}
    agreed = AgreedMap(unconflicted, frozenset(unconflicted.values()))
    held = [{key: state[key] for key in differing if key in state} for state in state_sets]
    return conflict(agreed, held), unconflicted


def conflict(agreed: Agreed, held: Sequence[StateMap]) -> Split:
    """Of each state set, in `held`, the keys on which not all agree."""
    conflicted: dict[StateKey, set[EventId]] = {}
    for state in held:
        for key, event_id in state.items():
            conflicted.setdefault(key, set()).add(event_id)
    return Split(agreed, conflicted, tuple(dict.fromkeys(frozenset(state.values()) for state in held)))


def auth_chain_difference(held: Sequence[Set[EventId]], agreed: Agreed, events: KnownEvents) -> set[EventId]:
    """What is in the auth chain of some state set but not of all, beyond what the sets hold themselves.

    `held`: what each set holds beyond the agreed events. Whatever an agreed event rests on is in every chain,
    so nothing below one is visited unless something remains that could be there.
    """
    conflicted = set().union(*held)
    chain = events.auth_chain(conflicted, stop_at=agreed.holds)
    everyone = (1 << len(held)) - 1
    reached = _reachability(chain, held)
    difference = {event_id for event_id, sets in reached.items() if sets != everyone} - conflicted
    if difference:
        _drop_chain_of(agreed.resting_on(difference), difference, events)
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
