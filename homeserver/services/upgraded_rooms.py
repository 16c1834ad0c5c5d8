"""Who joins the room that replaces one of theirs finds it tagged, muted and counted as direct as that was.

https://spec.matrix.org/latest/client-server-api/#room-upgrades
"""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from homeserver.protocol import event_types
from homeserver.protocol.errors import NotFound
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import Json, JsonObject
from homeserver.protocol.push_rules import Kind, Rule, UserRules
from homeserver.protocol.push_rules_editing import put
from homeserver.runtime.tasks import Tasks
from homeserver.services.account_data import AccountData
from homeserver.services.push.rules import PushRules
from homeserver.services.rooms.room import CREATE, Room
from homeserver.services.rooms.user_rooms import UserRooms
from homeserver.services.rooms.writer import Built


class UpgradedRooms:
    """Follows the room writer."""

    def __init__(
        self, account_data: AccountData, push_rules: PushRules, user_rooms: UserRooms, tasks: Tasks
    ) -> None:
        self._account_data = account_data
        self._push_rules = push_rules
        self._user_rooms = user_rooms
        self._tasks = tasks

    def note(self, room: Room, batch: Sequence[Built]) -> None:
        """A join of a local user, in a room that has a predecessor?"""
        predecessor = room.content_of(*CREATE).get("predecessor")
        old = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        if not isinstance(old, str):
            return
        for built in batch:
            member = built.member
            is_new = member is not None and member.is_local and member.since == member.event_nid
            if member is not None and is_new and member.membership == "join":
                carrying = self.carry(member.user_id, RoomId(old), room.room_id)
                self._tasks.start(f"carry settings of {member.user_id} over to {room.room_id}", carrying)

    async def carry(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        """Copy what the user set for the old room, unless the new one has settings of its own."""
        if old not in await self._user_rooms.load(user_id):
            return
        if not await self._account_data.tags(user_id, new):
            for tag, info in (await self._account_data.tags(user_id, old)).items():
                known = info if isinstance(info, dict) else {}
                await self._account_data.add_tag(user_id, new, tag, info=known)
        if any(_is_about(rule, old) for rule in self._push_rules.rules_of(user_id).custom):
            await self._push_rules.edit(user_id, lambda rules: _with_rules_for(rules, old, new))
        await self._carry_direct(user_id, old, new)

    async def _carry_direct(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        try:
            direct: Json = orjson.loads(await self._account_data.get(user_id, event_types.DIRECT))
        except NotFound:
            return
        if not isinstance(direct, dict):
            return
        changed: JsonObject = {
            other: [*rooms, new] if isinstance(rooms, list) and old in rooms and new not in rooms else rooms
            for other, rooms in direct.items()
        }
        if changed != direct:
            await self._account_data.put(user_id, event_types.DIRECT, orjson.dumps(changed))


def _is_about(rule: Rule, room_id: RoomId) -> bool:
    """Rules of kind `room`, and the override by which clients mute a room altogether."""
    return rule.rule_id == room_id and rule.kind in (Kind.ROOM, Kind.OVERRIDE)


def _with_rules_for(rules: UserRules, old: RoomId, new: RoomId) -> UserRules:
    known = {(rule.kind, rule.rule_id) for rule in rules.custom}
    for rule in rules.custom:
        if _is_about(rule, old) and (rule.kind, new) not in known:
            conditions = tuple(
                {**each, "pattern": new} if each.get("pattern") == old else each for each in rule.conditions
            )
            rules = put(rules, replace(rule, rule_id=new, conditions=conditions))
    return rules
