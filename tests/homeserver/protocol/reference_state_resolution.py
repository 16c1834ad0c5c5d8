"""State resolution written down from the specification's text, as plainly as it can be.

Slow on purpose: sets, recursion by repetition, no cache. It shares nothing with the implementation but the
authorisation rules. Two readings are fixed, as other servers have them: the auth chain of a state set
includes the set's own events, and a power event brings along those events of the full conflicted set to which
a path leads inside that set.
https://spec.matrix.org/latest/rooms/v12/#state-resolution
"""

from hashlib import sha1

from homeserver.protocol.auth_rules import auth_keys, check
from homeserver.protocol.auth_rules.power_levels import power_level
from homeserver.protocol.errors import AuthFailure

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")


def reference_resolve(version, state_sets, events, rejected=frozenset()):
    """The resolved state; `events` holds every event of the room by ID."""
    keys = {key for state in state_sets for key in state}
    if version.version == "1":
        return _resolve_v1(keys, state_sets, events)
    return _Resolution(version, state_sets, events, rejected).resolve(keys)


class _Resolution:
    def __init__(self, version, state_sets, events, rejected):
        self.version, self.state_sets, self.events, self.rejected = version, state_sets, events, rejected
        self.is_v2_1 = version.version == "12"

    def resolve(self, keys):
        unconflicted, conflicted = {}, set()
        for key in keys:
            values = {state.get(key) for state in self.state_sets}
            if len(values) == 1:
                unconflicted[key] = values.pop()
            else:
                conflicted |= values - {None}
        full = conflicted | self.auth_difference()
        if self.is_v2_1:
            full |= self.subgraph(conflicted)

        # 1. Power events and what they rest on, in reverse topological power ordering.
        chosen = {event_id for event_id in full if self.is_power_event(event_id)}
        for event_id in list(chosen):
            chosen |= self.chain_within(event_id, full)
        # 2. Iterative auth checks, from the unconflicted state map or, since v2.1, from an empty one.
        state = {} if self.is_v2_1 else dict(unconflicted)
        self.auth_checks(self.power_ordering(chosen), state)
        # 3. and 4. The others in mainline ordering.
        self.auth_checks(self.mainline_ordering(full - chosen, state.get(POWER_LEVELS)), state)
        # 5. The unconflicted state wins.
        state.update(unconflicted)
        return state

    def auth_chain(self, event_id):
        chain, size = set(self.events[event_id].auth_event_ids), -1
        while len(chain) != size:
            size = len(chain)
            chain |= {auth_id for known in chain for auth_id in self.events[known].auth_event_ids}
        return chain

    def chain_within(self, event_id, allowed):
        chain, size = {event_id}, -1
        while len(chain) != size:
            size = len(chain)
            chain |= {
                auth_id
                for known in chain
                for auth_id in self.events[known].auth_event_ids
                if auth_id in allowed
            }
        return chain

    def auth_difference(self):
        chains = []
        for state in self.state_sets:
            chain = set(state.values())
            for event_id in state.values():
                chain |= self.auth_chain(event_id)
            chains.append(chain)
        return set.union(*chains) - set.intersection(*chains)

    def subgraph(self, conflicted):
        found = set()
        for top in conflicted:
            below = self.auth_chain(top) | {top}
            for event_id in below:
                if conflicted & (self.auth_chain(event_id) | {event_id}):
                    found.add(event_id)
        return found

    def is_power_event(self, event_id):
        event = self.events[event_id]
        if event.key in (POWER_LEVELS, ("m.room.join_rules", "")):
            return True
        removed = event.content.get("membership") in ("leave", "ban")
        return event.type == "m.room.member" and removed and event.sender != event.state_key

    def create_event(self, event):
        if self.version.version == "12":
            return self.events["$" + event.room_id[1:]]
        found = [
            self.events[auth_id] for auth_id in event.auth_event_ids if self.events[auth_id].key == CREATE
        ]
        return found[0] if found else None

    def power_levels_of(self, event):
        """The m.room.power_levels event in the event's auth_events."""
        for auth_id in event.auth_event_ids:
            if self.events[auth_id].key == POWER_LEVELS:
                return self.events[auth_id]
        return None

    def power_ordering(self, event_ids):
        def rank(event_id):
            event = self.events[event_id]
            state = {CREATE: self.create_event(event), POWER_LEVELS: self.power_levels_of(event)}
            level = power_level({key: value for key, value in state.items() if value}, event.sender)
            return (-level, event.origin_server_ts, event_id)

        ordered, left = [], set(event_ids)
        while left:
            candidates = [one for one in left if not left & set(self.events[one].auth_event_ids)]
            smallest = min(candidates, key=rank)
            ordered.append(smallest)
            left.remove(smallest)
        return ordered

    def mainline_ordering(self, event_ids, top):
        mainline = [top] if top else []
        while mainline and self.power_levels_of(self.events[mainline[-1]]):
            mainline.append(self.power_levels_of(self.events[mainline[-1]]).event_id)

        def rank(event_id):
            event = self.events[event_id]
            position, current = float("inf"), self.power_levels_of(event)
            while current:
                if current.event_id in mainline:
                    position = mainline.index(current.event_id)
                    break
                current = self.power_levels_of(current)
            return (-position, event.origin_server_ts, event_id)

        return sorted(event_ids, key=rank)

    def auth_checks(self, event_ids, state):
        for event_id in event_ids:
            event = self.events[event_id]
            selected = {
                self.events[auth_id].key: self.events[auth_id]
                for auth_id in event.auth_event_ids
                if auth_id not in self.rejected
            }
            if self.version.version == "12":
                selected[CREATE] = self.create_event(event)
            needed = _needed(event)
            selected.update({key: self.events[state[key]] for key in needed if key in state})
            try:
                check(event, {key: value for key, value in selected.items() if key in (CREATE, *needed)})
            except AuthFailure:
                continue
            state[event.key] = event_id


def _needed(event):
    return auth_keys(
        event.version, type=event.type, sender=event.sender, state_key=event.state_key, content=event.content
    )


def _resolve_v1(keys, state_sets, events):
    resolved, conflicts = {}, {}
    for key in keys:
        values = {state[key] for state in state_sets if key in state}
        if len(values) == 1:
            resolved[key] = values.pop()
        else:
            conflicts[key] = [events[event_id] for event_id in values]

    def allowed(event, state):
        try:
            check(event, {key: events[state[key]] for key in _needed(event) if key in state})
        except AuthFailure:
            return False
        return True

    def hashed(event):
        return int(sha1(event.event_id.encode()).hexdigest(), 16)

    for event_type in ("m.room.power_levels", "m.room.join_rules", "m.room.member"):
        before = dict(resolved)
        for key in [key for key in conflicts if key[0] == event_type]:
            ordered = sorted(conflicts.pop(key), key=lambda event: (event.depth, -hashed(event)))
            state = {**before, key: ordered[0].event_id}
            for event in ordered[1:]:
                if not allowed(event, state):
                    break
                state[key] = event.event_id
            resolved[key] = state[key]
    before = dict(resolved)
    for key, candidates in conflicts.items():
        ordered = sorted(candidates, key=lambda event: (-event.depth, hashed(event)))
        passing = [event for event in ordered if allowed(event, before)]
        resolved[key] = (passing or ordered[-1:])[0].event_id
    return resolved
