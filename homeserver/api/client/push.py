"""Push rules, pushers, and what a user was notified about.

https://spec.matrix.org/latest/client-server-api/#push-notifications
"""

from typing import Any, Protocol

import msgspec
import orjson

from homeserver.http.reply import RawJson
from homeserver.http.request import Request
from homeserver.protocol.errors import NotFound
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.push_rules import Kind, effective_rule, to_json
from homeserver.protocol.push_rules_editing import (
    delete,
    enable,
    find,
    parse_actions,
    parse_kind,
    parse_rule,
    put,
    replace_actions,
)
from homeserver.services.push.notifications import Notifications
from homeserver.services.push.pushers import Pushers
from homeserver.services.push.rules import PushRules

DEFAULT_LIMIT = 20
MOST_PER_PAGE = 100


class HasPush(Protocol):
    @property
    def push_rules(self) -> PushRules: ...

    @property
    def pushers(self) -> Pushers: ...

    @property
    def notifications(self) -> Notifications: ...


class SetEnabled(msgspec.Struct):
    enabled: bool


class SetActions(msgspec.Struct):
    actions: list[Any]


# Push rules


async def all_rules(services: HasPush, request: Request) -> JsonObject:
    return {"global": await global_rules(services, request)}


async def global_rules(services: HasPush, request: Request) -> JsonObject:
    user_id = request.requester.user_id
    return to_json(services.push_rules.rules_of(user_id), user_id)


async def get_rule(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    user_id = request.requester.user_id
    rule = effective_rule(services.push_rules.rules_of(user_id), _kind(kind), rule_id, user_id=user_id)
    if rule is None:
        raise NotFound(f"There is no {kind} rule {rule_id[:255]!r}")
    return rule.to_json()


async def put_rule(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    rule = parse_rule(parse_kind(kind), rule_id, request.json_object())
    before, after = request.query_one("before"), request.query_one("after")
    await services.push_rules.edit(
        request.requester.user_id, lambda rules: put(rules, rule, before=before, after=after)
    )
    return {}


async def delete_rule(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    parsed = _kind(kind)
    await services.push_rules.edit(request.requester.user_id, lambda rules: delete(rules, parsed, rule_id))
    return {}


async def get_enabled(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    rules = services.push_rules.rules_of(request.requester.user_id)
    return {"enabled": find(rules, _kind(kind), rule_id).enabled}


async def put_enabled(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    parsed, enabled = _kind(kind), request.json(SetEnabled).enabled
    await services.push_rules.edit(
        request.requester.user_id, lambda rules: enable(rules, parsed, rule_id, enabled=enabled)
    )
    return {}


async def get_actions(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    rules = services.push_rules.rules_of(request.requester.user_id)
    return {"actions": list(find(rules, _kind(kind), rule_id).actions)}


async def put_actions(services: HasPush, request: Request, kind: str, rule_id: str) -> JsonObject:
    parsed, actions = _kind(kind), parse_actions(request.json(SetActions).actions)
    await services.push_rules.edit(
        request.requester.user_id, lambda rules: replace_actions(rules, parsed, rule_id, actions)
    )
    return {}


def _kind(text: str) -> Kind:
    """The kind in the path of a rule that should exist. Raises NotFound: other kinds have no rules."""
    try:
        return Kind(text)
    except ValueError:
        raise NotFound(f"{text[:100]!r} is not a kind of push rule") from None


# Pushers and notifications


async def get_pushers(services: HasPush, request: Request) -> JsonObject:
    return {"pushers": await services.pushers.of_user(request.requester.user_id)}


async def set_pusher(services: HasPush, request: Request) -> JsonObject:
    await services.pushers.put(request.requester, request.json_object())
    return {}


async def notifications(services: HasPush, request: Request) -> RawJson:
    page = await services.notifications.page(
        request.requester.user_id,
        request.query_one("from"),
        limit=request.query_int("limit", DEFAULT_LIMIT, minimum=1, maximum=MOST_PER_PAGE),
        only_highlights=request.query_one("only") == "highlight",
    )
    answer: dict[str, object] = {
        "notifications": [
            {
                "actions": entry.actions,
                "event": orjson.Fragment(entry.event.encoded),
                "read": entry.is_read,
                "room_id": entry.room_id,
                "ts": entry.event.ts,
            }
            for entry in page.entries
        ]
    }
    if page.next_token is not None:
        answer["next_token"] = page.next_token
    return RawJson(orjson.dumps(answer))
