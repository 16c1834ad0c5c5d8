"""Users' push rules: read, edit, and at hand for every event.

Only differences from the predefined rules are stored. They stay in memory for all users who have any, as the
stored bytes; compiled sets are cached, and shared by users whose differences are the same.
https://spec.matrix.org/latest/client-server-api/#push-rules-api
"""

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import orjson

from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.push_rules import DEFAULT_RULE_SET, UNTOUCHED, Kind, RuleSet, UserRules, to_json
from homeserver.protocol.push_rules_editing import dump, load
from homeserver.runtime.database import Database, Transaction
from homeserver.services.account_data import PUSH_RULES, AccountData
from homeserver.services.streams import Change, Streams
from homeserver.storage.account_data import PushRuleStore

COMPILED_IN_MEMORY = 1_000

Edit = Callable[[UserRules], UserRules]


class PushRules:
    """`rules_of` and `edit` for clients; `compiled` and `who_differs` for the evaluation of events."""

    def __init__(
        self, database: Database, store: PushRuleStore, streams: Streams, account_data: AccountData
    ) -> None:
        self._database = database
        self._store = store
        self._streams = streams
        self._account_data = account_data
        self._stored: dict[UserId, bytes] = {}
        self._everywhere: set[UserId] = set()  # those whose differences may matter in any room
        self._in_room: dict[str, set[UserId]] = {}  # those with a rule about the room
        self._about_sender: dict[str, set[UserId]] = {}
        self._compiled: OrderedDict[bytes, RuleSet] = OrderedDict()
        account_data.render(PUSH_RULES, self._rendered)

    async def start(self) -> None:
        """Learn who has rules of their own."""
        for user_id, stored in await self._database.read(self._store.everyones):
            self._note(user_id, stored)

    def rules_of(self, user_id: UserId) -> UserRules:
        """How the user's rules differ from the predefined ones. Memory only."""
        return _load(self._stored.get(user_id))

    async def edit(self, user_id: UserId, edit: Edit) -> None:
        """Change the user's rules by a function of protocol.push_rules_editing; raises what that raises."""
        edit(self.rules_of(user_id))  # most refusals come here, before anything is written
        await self._streams.write(
            self._edit,
            lambda changed: Change("account_data", users=(user_id,)) if changed else None,
            user_id,
            edit,
        )

    async def depart(self, user_id: UserId, erase: bool) -> None:
        """The account was closed."""
        await self._database.write(self._remove, user_id)

    def stored(self, user_id: UserId) -> bytes | None:
        """The user's differences as bytes, equal for equal ones; None: no differences."""
        return self._stored.get(user_id)

    def compiled(self, stored: bytes | None) -> RuleSet:
        """The rule set with these differences."""
        if stored is None:
            return DEFAULT_RULE_SET
        compiled = self._compiled.get(stored)
        if compiled is None:
            compiled = self._compiled[stored] = RuleSet(_load(stored))
            if len(self._compiled) > COMPILED_IN_MEMORY:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(stored)
        return compiled

    def who_differs(self, room_id: RoomId, sender: UserId, among: AbstractSet[UserId]) -> set[UserId]:
        """Those `among` the users whose rules may say something else about this sender's events in this room.

        Costs as much as the smaller of the two sets is large.
        """
        found = self._everywhere & among
        if (in_room := self._in_room.get(room_id)) is not None:
            found |= in_room & among
        if (about_sender := self._about_sender.get(sender)) is not None:
            found |= about_sender & among
        return found

    def _edit(self, txn: Transaction, position: int, user_id: UserId, edit: Edit) -> bool:
        before = self._store.changes(txn, user_id)
        rules = edit(_load(before))
        after = None if rules.is_untouched else orjson.dumps(dump(rules), option=orjson.OPT_SORT_KEYS)
        if after == before:
            return False
        if after is None:
            self._store.remove(txn, user_id)
        else:
            self._store.put(txn, user_id, after)
        txn.after_commit(self._note, user_id, after)
        self._account_data.write(txn, position, user_id, entry=(None, PUSH_RULES, b""))
        return True

    def _remove(self, txn: Transaction, user_id: UserId) -> None:
        self._store.remove(txn, user_id)
        txn.after_commit(self._note, user_id, None)

    def _rendered(self, user_id: UserId) -> bytes:
        return orjson.dumps({"global": to_json(self.rules_of(user_id), user_id)})

    def _note(self, user_id: UserId, stored: bytes | None) -> None:
        before = self._stored.pop(user_id, None)
        if before is not None:
            for index, key in self._places(before):
                index[key].discard(user_id)
                if not index[key]:
                    del index[key]
            self._everywhere.discard(user_id)
        if stored is None:
            return
        self._stored[user_id] = stored
        places = self._places(stored)
        for index, key in places:
            index.setdefault(key, set()).add(user_id)
        if not places:
            self._everywhere.add(user_id)

    def _places(self, stored: bytes) -> list[tuple[dict[str, set[UserId]], str]]:
        """Where to look the user up; nowhere when the differences may matter everywhere."""
        changes = orjson.loads(stored)
        if changes["enabled"] or changes["actions"]:
            return []
        indexes = {Kind.ROOM.value: self._in_room, Kind.SENDER.value: self._about_sender}
        if any(rule["kind"] not in indexes for rule in changes["custom"]):
            return []
        return [(indexes[rule["kind"]], rule["rule_id"]) for rule in changes["custom"]]


def _load(stored: bytes | None) -> UserRules:
    return UNTOUCHED if stored is None else load(orjson.loads(stored))
