"""The events a resolution has seen so far, fetched in batches and once."""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import TypeAlias

from homeserver.protocol.auth_rules.power_levels import CREATE_KEY, POWER_LEVELS_KEY
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import EventId

Fetch: TypeAlias = Callable[[Iterable[EventId]], Mapping[EventId, Event]]
"""Answers the events it has; the others it leaves out."""


class KnownEvents:
    """A cache in front of `fetch`. What `fetch` does not have is treated as if nobody had named it."""

    def __init__(self, fetch: Fetch, rejected: Container[EventId] = frozenset()) -> None:
        self._fetch = fetch
        self._rejected = rejected
        self._events: dict[EventId, Event | None] = {}

    def load(self, event_ids: Iterable[EventId]) -> None:
        """Fetch, in one call, those not asked for before."""
        missing = {event_id for event_id in event_ids if event_id not in self._events}
        if missing:
            fetched = self._fetch(missing)
            for event_id in missing:
                self._events[event_id] = fetched.get(event_id)

    def get(self, event_id: EventId) -> Event | None:
        """The event, fetched alone if nobody loaded it."""
        try:
            return self._events[event_id]
        except KeyError:
            self.load((event_id,))
            return self._events[event_id]

    def of(self, event_ids: Iterable[EventId]) -> list[Event]:
        """Those of the events that exist."""
        wanted = list(event_ids)
        self.load(wanted)
        return [event for event in map(self._events.get, wanted) if event is not None]

    def auth_event_ids(self, event_id: EventId) -> tuple[EventId, ...]:
        """The event's `auth_events`; none when the event is missing."""
        event = self.get(event_id)
        return () if event is None else event.auth_event_ids

    def auth_chain(
        self, event_ids: Iterable[EventId], *, stop_at: Callable[[EventId], bool] | None = None
    ) -> dict[EventId, tuple[EventId, ...]]:
        """These events and all they rest on, each with its `auth_events`; neither `stop_at` nor below."""
        chain: dict[EventId, tuple[EventId, ...]] = {}
        stopped: set[EventId] = set()
        frontier = set(event_ids)
        while frontier:
            self.load(frontier)
            below: set[EventId] = set()
            for event_id in frontier:
                if stop_at is not None and stop_at(event_id):
                    stopped.add(event_id)
                else:
                    chain[event_id] = self.auth_event_ids(event_id)
                    below.update(chain[event_id])
            frontier = below - chain.keys() - stopped
        return chain

    def accepted_auth_events(self, event: Event) -> dict[StateKey, Event]:
        """The event's own `auth_events` by state key, the rejected ones left out."""
        accepted = [event_id for event_id in event.auth_event_ids if event_id not in self._rejected]
        return {auth_event.key: auth_event for auth_event in self.of(accepted) if auth_event.is_state}

    def power_levels_of(self, event: Event) -> Event | None:
        """The m.room.power_levels event among its `auth_events`."""
        for auth_event in self.of(event.auth_event_ids):
            if auth_event.is_state and auth_event.key == POWER_LEVELS_KEY:
                return auth_event
        return None

    def create_of(self, event: Event) -> Event | None:
        """The create event that the event names: in its `auth_events`, or since version 12 in its room ID."""
        if event.version.room_id_is_create_hash:
            return self.get(EventId("$" + event.room_id[1:]))
        for auth_event in self.of(event.auth_event_ids):
            if auth_event.is_state and auth_event.key == CREATE_KEY:
                return auth_event
        return None
