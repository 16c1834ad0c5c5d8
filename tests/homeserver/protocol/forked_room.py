"""Rooms with forks, built event by event from plain choices."""

from homeserver.protocol.auth_rules import auth_keys, check
from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import room_version

USERS = [f"@{name}:example.org" for name in ("alice", "bob", "carol", "dave")]
ALICE, BOB, CAROL, DAVE = USERS


class ForkedRoom:
    """Branches are state maps; each event is made on one of them, which must allow it."""

    def __init__(self, version, *, creator=ALICE):
        self.version = room_version(version)
        self.events = {}
        self.branches = [{}]
        self.room_id = "!room:example.org"
        content = {"room_version": version}
        if self.version.creator_in_content:
            content["creator"] = creator
        create = self.send(0, "m.room.create", creator, content, "")
        self.room_id = create.room_id
        self.send(0, "m.room.member", creator, {"membership": "join"}, creator)
        users = {} if self.version.privileged_creators else {creator: 100}
        self.send(0, "m.room.power_levels", creator, {"users": users}, "")
        self.send(0, "m.room.join_rules", creator, {"join_rule": "public"}, "")

    def fetch(self, event_ids):
        return {event_id: self.events[event_id] for event_id in event_ids if event_id in self.events}

    def state(self, branch):
        return {key: self.events[event_id] for key, event_id in self.branches[branch].items()}

    def fork(self, branch=0):
        """A new branch that starts as this one is now; its number."""
        self.branches.append(dict(self.branches[branch]))
        return len(self.branches) - 1

    def send(self, branch, event_type, sender, content, state_key, *, ts=None):
        """The state event, added to the branch, or None when the branch does not allow it."""
        state = self.state(branch)
        keys = auth_keys(self.version, type=event_type, sender=sender, state_key=state_key, content=content)
        auth_events = [state[key] for key in keys if key in state]
        number = len(self.events)
        pdu = {
            "type": event_type,
            "state_key": state_key,
            "sender": sender,
            "content": content,
            "depth": 1 + max((event.depth for event in auth_events), default=0),
            "origin_server_ts": number if ts is None else ts,
            "prev_events": self._links([*self.events][:1]) if number == 1 else [],
            "auth_events": self._links(event.event_id for event in auth_events),
            "hashes": {"sha256": str(number)},
        }
        if event_type != "m.room.create" or not self.version.room_id_is_create_hash:
            pdu["room_id"] = self.room_id
        if self.version.version in ("1", "2"):
            pdu["event_id"] = f"${number}:example.org"
        event = Event.from_pdu(self.version, pdu)
        if event_type != "m.room.create" and not is_allowed(event, state):
            return None
        self.events[event.event_id] = event
        self.branches[branch][event.key] = event.event_id
        return event

    def _links(self, event_ids):
        return [[event_id, {}] if self.version.version in ("1", "2") else event_id for event_id in event_ids]


def is_allowed(event, state):
    try:
        check(event, state)
    except MatrixError:
        return False
    return True
