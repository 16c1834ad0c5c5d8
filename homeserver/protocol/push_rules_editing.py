"""Changing a user's push rules: from one immutable set to the next.

https://spec.matrix.org/latest/client-server-api/#push-rules-api
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from homeserver.protocol.errors import BadJson, InvalidParam, MissingParam, NotFound, Unknown
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.push_conditions import is_scalar
from homeserver.protocol.push_rules import DEFAULT_RULES, UNTOUCHED, Kind, Rule, UserRules, effective_rule

MAX_RULES = 5_000
"""Rules of one user; people mute thousands of rooms."""
MAX_CONDITIONS = 50
MAX_PATTERN = 1_000
MAX_RULE_ID = 255

# Actions of older versions of the specification: taken, and forgotten.
_HISTORICAL: Final = frozenset({"dont_notify", "coalesce"})
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "event_match": ("key", "pattern"),
    "event_property_is": ("key", "value"),
    "event_property_contains": ("key", "value"),
    "room_member_count": ("is",),
    "sender_notification_permission": ("key",),
}


class NoSuchNeighbour(Unknown):
    """`before` or `after` names no rule of the user's own."""

    status = 400


# Parsing


def parse_kind(text: str) -> Kind:
    """Raises InvalidParam."""
    try:
        return Kind(text)
    except ValueError:
        raise InvalidParam(f"{text[:100]!r} is not a kind of push rule") from None


def parse_rule(kind: Kind, rule_id: str, body: Json) -> Rule:
    """The rule that a client puts. Raises InvalidParam, MissingParam or BadJson."""
    _check_rule_id(rule_id)
    if not isinstance(body, dict):
        raise BadJson("A push rule must be an object")
    if "actions" not in body:
        raise MissingParam("A push rule needs actions")
    conditions: tuple[JsonObject, ...] = ()
    pattern = None
    if kind in (Kind.OVERRIDE, Kind.UNDERRIDE):
        conditions = _parse_conditions(body.get("conditions"))
    if kind is Kind.CONTENT:
        if "pattern" not in body:
            raise MissingParam("A content rule needs a pattern")
        pattern = _parse_pattern(body["pattern"])
    return Rule(kind, rule_id, parse_actions(body["actions"]), conditions, pattern)


def parse_actions(value: Json) -> tuple[Json, ...]:
    """A list of actions, without those that no longer mean anything. Raises BadJson or InvalidParam."""
    if not isinstance(value, list):
        raise BadJson("actions must be a list")
    kept: list[Json] = []
    for action in value:
        is_tweak = isinstance(action, dict) and isinstance(action.get("set_tweak"), str)
        if is_tweak or action == "notify":
            kept.append(action)
        elif not isinstance(action, str) or action not in _HISTORICAL:
            raise InvalidParam(f"{str(action)[:100]} is not an action of push rules")
    return tuple(kept)


def _check_rule_id(rule_id: str) -> None:
    if rule_id.startswith("."):
        raise InvalidParam("Rule IDs that start with a dot belong to predefined rules")
    if not rule_id or "/" in rule_id or "\\" in rule_id or "\0" in rule_id:
        raise InvalidParam("A rule ID is at least one character, without slashes, backslashes and NUL")
    if len(rule_id.encode("utf-8", "surrogatepass")) > MAX_RULE_ID:
        raise InvalidParam(f"A rule ID is at most {MAX_RULE_ID} bytes long")


def _parse_pattern(value: Json) -> str:
    if not isinstance(value, str):
        raise BadJson("pattern must be a string")
    if len(value) > MAX_PATTERN or "\0" in value:
        raise InvalidParam(f"A pattern is at most {MAX_PATTERN} characters long and has no NUL")
    return value


def _parse_conditions(value: Json) -> tuple[JsonObject, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadJson("conditions must be a list")
    if len(value) > MAX_CONDITIONS:
        raise InvalidParam(f"A push rule has at most {MAX_CONDITIONS} conditions")
    return tuple(_parse_condition(condition) for condition in value)


def _parse_condition(value: Json) -> JsonObject:
    """Unknown kinds are kept, although they never match: another version of this server may know them."""
    if not isinstance(value, dict):
        raise BadJson("A condition must be an object")
    kind = value.get("kind")
    if not isinstance(kind, str):
        raise MissingParam("A condition needs a kind")
    for name in _REQUIRED.get(kind, ()):
        if name not in value:
            raise MissingParam(f"The condition {kind} needs {name}")
        if name == "pattern":
            _parse_pattern(value[name])
        elif name == "value":
            if not is_scalar(value[name]):
                raise BadJson("value must be a string, an integer, true, false or null")
        elif not isinstance(value[name], str):
            raise BadJson(f"{name} must be a string")
    return value


# Editing


def put(rules: UserRules, rule: Rule, *, before: str | None = None, after: str | None = None) -> UserRules:
    """Adds the rule, or changes the one with its kind and ID, which then stays enabled or disabled as it was.

    `before` and `after` name a rule of the same kind that the new one shall precede or follow; `before` wins.
    Otherwise a new rule comes first of its kind and a changed one stays where it is. Raises NoSuchNeighbour,
    or InvalidParam when there are too many rules.
    """
    present = _position(rules.custom, rule.kind, rule.rule_id)
    others = list(rules.custom)
    if present is not None:
        rule = replace(rule, enabled=others.pop(present).enabled)
    elif len(others) >= MAX_RULES:
        raise InvalidParam(f"A user has at most {MAX_RULES} push rules")
    if before is not None:
        place = _neighbour(others, rule.kind, before, "before")
    elif after is not None:
        place = _neighbour(others, rule.kind, after, "after") + 1
    else:
        place = present or 0
    others.insert(place, rule)
    return replace(rules, custom=tuple(others))


def delete(rules: UserRules, kind: Kind, rule_id: str) -> UserRules:
    """Raises NotFound, or InvalidParam for a predefined rule."""
    if _is_default(kind, rule_id):
        raise InvalidParam(f"{rule_id} is predefined: it can be disabled, not deleted")
    place = _existing(rules, kind, rule_id)
    return replace(rules, custom=rules.custom[:place] + rules.custom[place + 1 :])


def enable(rules: UserRules, kind: Kind, rule_id: str, *, enabled: bool) -> UserRules:
    """Enables or disables a rule, predefined ones too. Raises NotFound."""
    if not _is_default(kind, rule_id):
        return _changed(rules, _existing(rules, kind, rule_id), enabled=enabled)
    kept = {key: value for key, value in rules.default_enabled.items() if key != rule_id}
    if enabled is not DEFAULT_RULES[rule_id].enabled:
        kept[rule_id] = enabled
    return replace(rules, default_enabled=MappingProxyType(kept))


def replace_actions(rules: UserRules, kind: Kind, rule_id: str, actions: Sequence[Json]) -> UserRules:
    """Gives a rule other actions, as `parse_actions` made them; predefined ones too. Raises NotFound."""
    new = tuple(actions)
    if not _is_default(kind, rule_id):
        return _changed(rules, _existing(rules, kind, rule_id), actions=new)
    kept = {key: value for key, value in rules.default_actions.items() if key != rule_id}
    if new != DEFAULT_RULES[rule_id].actions:
        kept[rule_id] = new
    return replace(rules, default_actions=MappingProxyType(kept))


def find(rules: UserRules, kind: Kind, rule_id: str) -> Rule:
    """The rule as it stands, conditions unnamed (see `effective_rule`). Raises NotFound."""
    rule = effective_rule(rules, kind, rule_id)
    if rule is None:
        raise _not_found(kind, rule_id)
    return rule


def _changed(
    rules: UserRules, place: int, *, enabled: bool | None = None, actions: tuple[Json, ...] | None = None
) -> UserRules:
    rule = rules.custom[place]
    new = replace(
        rule,
        enabled=rule.enabled if enabled is None else enabled,
        actions=rule.actions if actions is None else actions,
    )
    return replace(rules, custom=(*rules.custom[:place], new, *rules.custom[place + 1 :]))


def _is_default(kind: Kind, rule_id: str) -> bool:
    default = DEFAULT_RULES.get(rule_id)
    return default is not None and default.kind is kind


def _position(custom: Sequence[Rule], kind: Kind, rule_id: str) -> int | None:
    for place, rule in enumerate(custom):
        if rule.rule_id == rule_id and rule.kind is kind:
            return place
    return None


def _existing(rules: UserRules, kind: Kind, rule_id: str) -> int:
    place = _position(rules.custom, kind, rule_id)
    if place is None:
        raise _not_found(kind, rule_id)
    return place


def _neighbour(custom: Sequence[Rule], kind: Kind, rule_id: str, parameter: str) -> int:
    place = _position(custom, kind, rule_id)
    if place is None:
        raise NoSuchNeighbour(f"{parameter}: you have no other {kind} rule {rule_id[:MAX_RULE_ID]!r}")
    return place


def _not_found(kind: Kind, rule_id: str) -> NotFound:
    return NotFound(f"There is no {kind} rule {rule_id[:MAX_RULE_ID]!r}")


# Storage


def dump(rules: UserRules) -> JsonObject:
    """The set as JSON that `load` reads."""
    return {
        "custom": [{"kind": rule.kind.value, **rule.to_json()} for rule in rules.custom],
        "enabled": dict(rules.default_enabled),
        "actions": {rule_id: list(actions) for rule_id, actions in rules.default_actions.items()},
    }


def load(stored: Mapping[str, Json]) -> UserRules:
    """Reads what `dump` wrote, less what concerns predefined rules that are no more. Raises BadJson."""
    match stored:
        case {"custom": list(custom), "enabled": dict(enabled), "actions": dict(actions)}:
            rules = replace(UNTOUCHED, custom=tuple(_load_rule(rule) for rule in custom))
        case _:
            raise BadJson("These are not stored push rules")
    for rule_id, flag in enabled.items():
        if rule_id in DEFAULT_RULES:
            rules = enable(rules, DEFAULT_RULES[rule_id].kind, rule_id, enabled=flag is True)
    for rule_id, listed in actions.items():
        if rule_id in DEFAULT_RULES:
            rules = replace_actions(rules, DEFAULT_RULES[rule_id].kind, rule_id, parse_actions(listed))
    return rules


def _load_rule(value: Json) -> Rule:
    if not isinstance(value, dict):
        raise BadJson("This is not a stored push rule")
    kind, rule_id = value.get("kind"), value.get("rule_id")
    rule = parse_rule(parse_kind(str(kind)), str(rule_id), value)
    return replace(rule, enabled=value.get("enabled") is not False)
