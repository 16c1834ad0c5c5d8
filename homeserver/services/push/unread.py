"""Unread counts: how many events notify a user beyond what they have read, by room and thread.

A count is a function of the read position and what events do (events.notify and push_actions), so it cannot
drift. It is computed once from SQL, then kept up to date in memory from a log of recent events.
https://spec.matrix.org/latest/client-server-api/#receiving-notifications
"""

from collections.abc import Iterable, Mapping, Sequence

from homeserver.protocol.ids import EventId, RoomId, UserId
from homeserver.runtime.database import Database, Transaction
from homeserver.services.push.evaluation import PushOutcome
from homeserver.services.push.unread_counts import Action, ReadPosition, Standing, UnreadCounts
from homeserver.services.recent_changes import RecentChanges
from homeserver.services.streams import Streams
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.push_actions import DefaultAction, PersonalAction, PushActionStore, Stay
from homeserver.storage.receipts import ReceiptStore

MOST_COUNTED = 2_000
"""Of a room's unread events so many are looked at, the newest; a count stops there."""
STANDINGS_IN_MEMORY = 50_000
ACTIONS_IN_MEMORY = 100_000

_Key = tuple[RoomId, UserId]


class Unread:
    """`counts` is memory only; where it answers None, await `load` or `counts_in`."""

    def __init__(
        self,
        database: Database,
        stores: tuple[PushActionStore, ReceiptStore, Identifiers],
        streams: Streams,
        *,
        most_standings: int = STANDINGS_IN_MEMORY,
        most_actions: int = ACTIONS_IN_MEMORY,
    ) -> None:
        self._database = database
        self._actions, self._receipts, self._identifiers = stores
        self._recent: RecentChanges[RoomId, Action] = RecentChanges(
            lambda: streams.position, entries=most_actions
        )
        self._streams = streams
        self._most_standings = most_standings
        self._standings: dict[_Key, Standing] = {}
        self._loading: dict[_Key, bool] = {}  # True: what is being read may be out of date

    def counts(self, room_id: RoomId, user_id: UserId) -> UnreadCounts | None:
        """The user's counts for the room; None when memory does not know them."""
        standing = self._standings.get((room_id, user_id))
        if standing is None:
            return None
        if standing.upto < self._recent.last_position(room_id) and not self._catch_up(
            room_id, user_id, standing
        ):
            del self._standings[room_id, user_id]
            return None
        return standing.counts

    async def counts_in(self, user_id: UserId, room_ids: Sequence[RoomId]) -> dict[RoomId, UnreadCounts]:
        """The counts of many rooms, with at most one read."""
        found: dict[RoomId, UnreadCounts] = {}
        asked = []
        for room_id in room_ids:
            counts = self.counts(room_id, user_id)
            if counts is None:
                asked.append(room_id)
            else:
                found[room_id] = counts
        if asked:
            found |= await self._load(user_id, asked)
        return found

    async def load(self, room_id: RoomId, user_id: UserId) -> UnreadCounts:
        """The counts of one room, read anew if memory does not know them."""
        return (await self.counts_in(user_id, [room_id]))[room_id]

    def note_event(
        self,
        room_id: RoomId,
        event_nid: int,
        sender: UserId,
        thread_root: EventId | None,
        outcome: PushOutcome | None,
    ) -> None:
        """An event was committed. Call it before its position is completed; outcome None needs no call."""
        if outcome is not None:
            personal = {user: (act.notify, act.highlight) for user, act in outcome.personal.items()}
            action = Action(event_nid, sender, thread_root, outcome.notify, personal or None)
            self._recent.add(room_id, event_nid, action)

    def note_receipt(self, room_id: RoomId, user_id: UserId, thread: str | None, event_nid: int) -> None:
        """The user has read up to the event: of the whole room (None), of "main" or of a thread."""
        key = (room_id, user_id)
        if key in self._loading:
            self._loading[key] = True
        standing = self._standings.get(key)
        if standing is None:
            return
        if self._catch_up(room_id, user_id, standing):
            if not standing.read.move(thread, event_nid):
                return
            later = self._recent.since(room_id, event_nid)
            if later is not None:
                standing.recount(user_id, thread, later)
                return
        del self._standings[key]

    def note_membership(self, room_id: RoomId, user_id: UserId) -> None:
        """The user joined or left: reading begins anew."""
        key = (room_id, user_id)
        if key in self._loading:
            self._loading[key] = True
        self._standings.pop(key, None)

    def _catch_up(self, room_id: RoomId, user_id: UserId, standing: Standing) -> bool:
        """Add what happened since the standing was last looked at; False: memory does not know it all."""
        actions = self._recent.since(room_id, standing.upto)
        if actions is None:
            return False
        if actions:
            standing.add(user_id, actions)
            standing.upto = actions[-1].nid
        return True

    async def _load(self, user_id: UserId, room_ids: Sequence[RoomId]) -> dict[RoomId, UnreadCounts]:
        complete = self._streams.position
        known_upto = {room_id: min(complete, self._recent.last_position(room_id)) for room_id in room_ids}
        keys = [(room_id, user_id) for room_id in room_ids]
        mine = [key for key in keys if key not in self._loading]
        self._loading.update(dict.fromkeys(mine, False))
        try:
            standings = await self._database.read(self._read, user_id, room_ids)
        finally:
            stale = {key for key in keys if self._loading.get(key, True)}
            for key in mine:
                self._loading.pop(key, None)
        found: dict[RoomId, UnreadCounts] = {}
        for room_id, standing in standings.items():
            standing.upto = max(standing.upto, known_upto[room_id])
            found[room_id] = standing.counts
            if (room_id, user_id) not in stale:
                self._keep((room_id, user_id), standing)
        return found

    def _keep(self, key: _Key, standing: Standing) -> None:
        if len(self._standings) >= self._most_standings:
            for oldest in list(self._standings)[: self._most_standings // 10 + 1]:
                del self._standings[oldest]
        self._standings[key] = standing

    def _read(self, txn: Transaction, user_id: UserId, room_ids: Sequence[RoomId]) -> dict[RoomId, Standing]:
        user_nid = self._identifiers.user_nid(txn, user_id)
        found = {room_id: Standing(0, ReadPosition(0, {})) for room_id in room_ids}
        stays = self._actions.stays(txn, user_nid, room_ids)
        read_up_to = self._receipts.read_up_to(txn, user_nid, [stay.room_nid for stay in stays])
        for stay in stays:
            read = read_up_to.get(stay.room_nid, {})
            found[stay.room_id] = self._read_one(txn, (user_id, user_nid), stay, read)
        return found

    def _read_one(
        self, txn: Transaction, user: tuple[UserId, int], stay: Stay, read_up_to: dict[str | None, int]
    ) -> Standing:
        user_id, user_nid = user
        whole = max(stay.since, read_up_to.pop(None, 0))
        threads = {thread: nid for thread, nid in read_up_to.items() if thread is not None}
        standing = Standing(stay.tip, ReadPosition(whole, threads))
        personal = self._actions.personal_after(txn, user_nid, stay.room_nid, whole, limit=MOST_COUNTED)
        if not personal and not threads:  # nearly always: the database can add up
            totals = self._actions.thread_totals(txn, user_nid, stay.room_nid, whole, limit=MOST_COUNTED)
            if not any(total.own for total in totals):
                standing.begin((root, int(number), int(loud)) for root, number, loud, _ in totals)
                return standing
        defaults = self._actions.defaults_after(txn, stay.room_nid, whole, limit=MOST_COUNTED)
        standing.add(user_id, _merged(user, defaults, personal))
        return standing


def _merged(
    user: tuple[UserId, int], defaults: Iterable[DefaultAction], personal: Iterable[PersonalAction]
) -> list[Action]:
    """What the events did to one user, in order."""
    user_id, user_nid = user
    actions = {
        one.event_nid: Action(
            one.event_nid, user_id if one.sender_nid == user_nid else None, one.thread_root, one.notify, None
        )
        for one in defaults
    }
    for exception in personal:
        mine: Mapping[UserId, tuple[bool, bool]] = {user_id: (exception.notify, exception.highlight)}
        actions[exception.event_nid] = Action(exception.event_nid, None, exception.thread_root, 0, mine)
    return [actions[nid] for nid in sorted(actions)]
