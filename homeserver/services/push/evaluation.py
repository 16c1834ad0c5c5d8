"""Whom a new event notifies: one outcome for everybody, and exceptions by name.

Nearly everybody has the predefined rules, so an event is evaluated once for all of them, and again only for
local members who are mentioned, invited, ignore the sender or have rules of their own.
https://spec.matrix.org/latest/client-server-api/#push-rules
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

from homeserver.protocol.auth_rules.power_levels import PowerLevels
from homeserver.protocol.event_types import DUMMY, MEMBER
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import RoomId, ServerName, UserId
from homeserver.protocol.push_conditions import EventFacts, Recipient
from homeserver.protocol.push_rules import NOTHING, Actions, RuleSet, evaluate_default, personal_targets
from homeserver.services.account_data import AccountData
from homeserver.services.push.rules import PushRules


class RoomBefore(Protocol):
    """The room as it is before the event."""

    @property
    def room_id(self) -> RoomId: ...

    @property
    def joined(self) -> AbstractSet[UserId]: ...

    @property
    def joined_local(self) -> AbstractSet[UserId]:
        """The joined members who have an account here."""

    @property
    def events(self) -> Mapping[StateKey, Event]:
        """The current state, memberships aside."""

    def event(self, key: StateKey) -> Event | None:
        """A current state event if it is in memory; memberships may not be."""


class PushOutcome(NamedTuple):
    """What an event does to local users. `personal`: for whom it is not the default; never the sender."""

    default: Actions
    personal: Mapping[UserId, Actions]

    @property
    def notify(self) -> int:
        """The default in one number, as the events table keeps it: 0 nothing, 1 notify, 2 highlight too."""
        default = self.default
        return 2 if default.highlight else 1 if default.notify else 0


class PushEvaluation:
    """`evaluate` is called for every event before it is stored."""

    def __init__(self, rules: PushRules, account_data: AccountData, server_name: ServerName) -> None:
        self._rules = rules
        self._account_data = account_data
        self._here = ":" + server_name

    def evaluate(self, room: RoomBefore, event: Event) -> PushOutcome | None:
        """The outcome; None when the event does nothing to anybody."""
        if event.type == DUMMY:
            return None
        facts = _facts(room, event)
        default = evaluate_default(facts)
        personal = self._personal(room, event, facts, default)
        return PushOutcome(default, personal) if personal or default.notify else None

    def _personal(
        self, room: RoomBefore, event: Event, facts: EventFacts, default: Actions
    ) -> dict[UserId, Actions]:
        members = room.joined_local
        targets = self._targets(members, event)
        special = self._rules.who_differs(room.room_id, facts.sender, members) | targets
        ignorers = self._account_data.ignored_by(facts.sender)
        if not special and not ignorers:
            return {}
        special.discard(facts.sender)
        personal: dict[UserId, Actions] = {}
        same: dict[bytes | None, Actions] = {}  # for those whom the event does not name
        for user_id in special:
            stored = self._rules.stored(user_id)
            if user_id in targets:
                actions = _evaluate(self._rules.compiled(stored), room, facts, user_id)
            elif (known := same.get(stored)) is not None:
                actions = known
            else:
                rule_set = self._rules.compiled(stored)
                actions = _evaluate(rule_set, room, facts, user_id)
                if not rule_set.needs_display_name:
                    same[stored] = actions
            if (actions.notify, actions.highlight) != (
                default.notify,
                default.highlight,
            ) or user_id not in members:
                personal[user_id] = actions
        for user_id in ignorers & (members | targets) if ignorers else ():
            personal[user_id] = NOTHING
        return personal

    def _targets(self, members: AbstractSet[UserId], event: Event) -> set[UserId]:
        """Local users whom the event mentions, if they are in the room, or invites."""
        content = event.content
        if event.type != MEMBER and "m.mentions" not in content:
            return set()
        targets = personal_targets(event.type, event.state_key, content)
        found = set(targets & members)
        invited = event.state_key
        is_invite = event.type == MEMBER and content.get("membership") == "invite"
        if is_invite and invited is not None and invited.endswith(self._here):
            found.add(UserId(invited))
        return found


def _facts(room: RoomBefore, event: Event) -> EventFacts:
    return EventFacts(
        event.pdu,
        room_id=room.room_id,
        sender=event.sender,
        member_count=len(room.joined),
        levels=PowerLevels(room.events),
    )


def _evaluate(rule_set: RuleSet, room: RoomBefore, facts: EventFacts, user_id: UserId) -> Actions:
    name = None
    if rule_set.needs_display_name:
        member = room.event((MEMBER, user_id))
        name = member.content.get("displayname") if member is not None else None
    return rule_set.evaluate(facts, Recipient(user_id, name if isinstance(name, str) else None))
