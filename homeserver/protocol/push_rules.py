"""Whom does an event notify, and how? Push rules, compiled and evaluated.

In a large room nearly everybody has the predefined rules as they are, and those ask about the recipient in
two places only: mentions and invites. So evaluate once with `evaluate_default`, once more for each user that
`personal_targets` names, and with a set of their own for each user who changed something.
https://spec.matrix.org/latest/client-server-api/#push-rules
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from homeserver.protocol.event_types import MEMBER
from homeserver.protocol.ids import UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.push_conditions import (
    EventFacts,
    Recipient,
    Test,
    body_match,
    compile_condition,
    cost_of,
)
from homeserver.protocol.push_rules_default import MASTER, OVERRIDE, OWN_USER_ID, UNDERRIDE, Predefined

MAX_STEPS = 5_000_000
"""Characters that all patterns of one rule set together may look at in one text."""


class Kind(StrEnum):
    """The kinds of rule, in the order they are asked."""

    OVERRIDE = "override"
    CONTENT = "content"
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `conditions` belong to override and underride rules, `pattern` to content rules."""

    kind: Kind
    rule_id: str
    actions: tuple[Json, ...] = ()
    conditions: tuple[Mapping[str, Json], ...] = ()
    pattern: str | None = None
    enabled: bool = True
    default: bool = False

    def to_json(self) -> JsonObject:
        """The rule as clients see it."""
        shown: JsonObject = {
            "rule_id": self.rule_id,
            "default": self.default,
            "enabled": self.enabled,
            "actions": list(self.actions),
        }
        if self.kind in (Kind.OVERRIDE, Kind.UNDERRIDE):
            shown["conditions"] = list(self.conditions)
        if self.pattern is not None:
            shown["pattern"] = self.pattern
        return shown


@dataclass(frozen=True, slots=True)
class UserRules:
    """All that one user changed: rules of their own, and what they did to predefined ones.

    `custom` has the most important rule of each kind first.
    """

    custom: tuple[Rule, ...] = ()
    default_enabled: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    default_actions: Mapping[str, tuple[Json, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_untouched(self) -> bool:
        """Then `evaluate_default` speaks for this user."""
        return not (self.custom or self.default_enabled or self.default_actions)


UNTOUCHED = UserRules()


def _as_rule(kind: Kind, row: Predefined) -> Rule:
    return Rule(kind, row.rule_id, row.actions, row.conditions, enabled=row.enabled, default=True)


DEFAULT_RULES: Mapping[str, Rule] = MappingProxyType(
    {row.rule_id: _as_rule(Kind.OVERRIDE, row) for row in OVERRIDE}
    | {row.rule_id: _as_rule(Kind.UNDERRIDE, row) for row in UNDERRIDE}
)
"""The predefined rules by rule ID. Conditions hold OWN_USER_ID where the user's ID belongs."""


def effective_rules(rules: UserRules, kind: Kind, *, user_id: UserId | None = None) -> list[Rule]:
    """The rules of a kind in the order they are asked: the user's own before predefined ones, master aside.

    With `user_id`, predefined conditions name that user, as clients expect.
    """
    defaults = [_changed(rule, rules, user_id) for rule in DEFAULT_RULES.values() if rule.kind is kind]
    first = [rule for rule in defaults if rule.rule_id == MASTER]
    own = [rule for rule in rules.custom if rule.kind is kind]
    return first + own + defaults[len(first) :]


def effective_rule(
    rules: UserRules, kind: Kind, rule_id: str, *, user_id: UserId | None = None
) -> Rule | None:
    """One rule as it stands, or None when there is no such rule of this kind."""
    default = DEFAULT_RULES.get(rule_id)
    if default is not None and default.kind is kind:
        return _changed(default, rules, user_id)
    return next((rule for rule in rules.custom if rule.kind is kind and rule.rule_id == rule_id), None)


def to_json(rules: UserRules, user_id: UserId) -> JsonObject:
    """The whole set by kind: what /pushrules/global/ answers and `global` in m.push_rules holds."""
    return {
        kind.value: [rule.to_json() for rule in effective_rules(rules, kind, user_id=user_id)]
        for kind in Kind
    }


def _changed(rule: Rule, rules: UserRules, user_id: UserId | None) -> Rule:
    return replace(
        rule,
        enabled=rules.default_enabled.get(rule.rule_id, rule.enabled),
        actions=rules.default_actions.get(rule.rule_id, rule.actions),
        conditions=rule.conditions if user_id is None else tuple(_named(c, user_id) for c in rule.conditions),
    )


def _named(condition: Mapping[str, Json], user_id: UserId) -> Mapping[str, Json]:
    return {key: user_id if value == OWN_USER_ID else value for key, value in condition.items()}


# Actions


@dataclass(frozen=True, slots=True)
class Actions:
    """What one event does for one recipient."""

    notify: bool = False
    highlight: bool = False
    """Only ever with `notify`."""
    tweaks: Mapping[str, Json] = field(default_factory=lambda: MappingProxyType({}))
    """For the push gateway; of a notification only."""
    listed: tuple[Json, ...] = ()
    """The rule's actions as written, for /notifications."""

    @property
    def sound(self) -> Json:
        return self.tweaks.get("sound")


NOTHING = Actions()


def read_actions(actions: Iterable[Json]) -> Actions:
    """The meaning of a rule's action list; what it does not know it leaves out."""
    listed = tuple(actions)
    if "notify" not in listed:
        return replace(NOTHING, listed=listed)
    tweaks: dict[str, Json] = {}
    for action in listed:
        if isinstance(action, dict) and isinstance(name := action.get("set_tweak"), str):
            tweaks[name] = action.get("value", True if name == "highlight" else None)
    return Actions(True, tweaks.get("highlight") is True, MappingProxyType(tweaks), listed)


# Evaluation

_Line: TypeAlias = tuple[tuple[Test, ...], Actions]


class RuleSet:
    """Rules compiled for many events. Depends on the rules alone, so users with equal rules may share one."""

    __slots__ = ("_before", "_by_room", "_by_sender", "_underride", "needs_display_name")

    def __init__(self, rules: UserRules) -> None:
        enabled = {kind: [rule for rule in effective_rules(rules, kind) if rule.enabled] for kind in Kind}
        longest = _longest(enabled)
        content = [(body_match(rule.pattern or "", longest=longest), rule) for rule in enabled[Kind.CONTENT]]
        self._before = _lines(enabled[Kind.OVERRIDE], longest)
        self._before += [((test,), read_actions(rule.actions)) for test, rule in content]
        self._by_room = {rule.rule_id: read_actions(rule.actions) for rule in enabled[Kind.ROOM]}
        self._by_sender = {rule.rule_id: read_actions(rule.actions) for rule in enabled[Kind.SENDER]}
        self._underride = _lines(enabled[Kind.UNDERRIDE], longest)
        self.needs_display_name = any(
            condition.get("kind") == "contains_display_name"
            for rule in enabled[Kind.OVERRIDE] + enabled[Kind.UNDERRIDE]
            for condition in rule.conditions
        )
        """Must recipients come with their display name in the room?"""

    def evaluate(self, facts: EventFacts, recipient: Recipient) -> Actions:
        """The actions of the first rule that matches; NOTHING for one's own events."""
        if facts.sender == recipient.user_id:
            return NOTHING
        found = _first(self._before, facts, recipient)
        if found is None:
            found = self._by_room.get(facts.room_id) or self._by_sender.get(facts.sender)
        return found or _first(self._underride, facts, recipient) or NOTHING


def _longest(enabled: Mapping[Kind, list[Rule]]) -> int:
    """How much of a text the rules together can afford to look at."""
    cost = sum(cost_of({"kind": "event_match", "pattern": rule.pattern}) for rule in enabled[Kind.CONTENT])
    for rule in enabled[Kind.OVERRIDE] + enabled[Kind.UNDERRIDE]:
        cost += sum(cost_of(condition) for condition in rule.conditions)
    return MAX_STEPS // max(cost, 1)


def _lines(rules: Iterable[Rule], longest: int) -> list[_Line]:
    lines = []
    for rule in rules:
        tests = [compile_condition(condition, longest=longest) for condition in rule.conditions]
        held = tuple(test for test in tests if test is not None)
        if len(held) == len(tests):  # otherwise the rule can never match
            lines.append((held, read_actions(rule.actions)))
    return lines


def _first(lines: Iterable[_Line], facts: EventFacts, recipient: Recipient) -> Actions | None:
    for tests, actions in lines:
        for test in tests:
            if not test(facts, recipient):
                break
        else:
            return actions
    return None


DEFAULT_RULE_SET = RuleSet(UNTOUCHED)
_ANYBODY = Recipient(None)


def evaluate(rule_set: RuleSet, facts: EventFacts, recipient: Recipient) -> Actions:
    """What the event does for a recipient with these rules."""
    return rule_set.evaluate(facts, recipient)


def evaluate_default(facts: EventFacts) -> Actions:
    """What it does for everybody with untouched rules, the sender and `personal_targets` excepted."""
    return DEFAULT_RULE_SET.evaluate(facts, _ANYBODY)


def personal_targets(
    event_type: str, state_key: str | None, content: Mapping[str, Json]
) -> frozenset[UserId]:
    """The users that predefined rules may treat otherwise than everybody: those mentioned or invited.

    They may include the sender, strangers, and text that is no user ID at all.
    """
    targets: set[UserId] = set()
    if event_type == MEMBER and state_key is not None and content.get("membership") == "invite":
        targets.add(UserId(state_key))
    mentions = content.get("m.mentions")
    if isinstance(mentions, dict):
        user_ids = mentions.get("user_ids")
        if isinstance(user_ids, list):
            targets.update(UserId(user_id) for user_id in user_ids if isinstance(user_id, str))
    return frozenset(targets)
