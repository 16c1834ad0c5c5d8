"""Who is online, and telling those who share a room with them.

Everything is in memory. There are no timers for users: one sweep every few seconds looks only at those for
whom something is due, and `news` tells the rooms concerned.
https://spec.matrix.org/latest/client-server-api/#presence
"""

import logging
from collections.abc import Collection, Sequence

from homeserver.protocol.errors import Forbidden, MatrixError
from homeserver.protocol.ids import RoomId, UserId
from homeserver.protocol.json_values import JsonObject
from homeserver.protocol.presence import (
    LONG_AGO,
    OFFLINE,
    PresenceState,
    Signs,
    Visible,
    decide,
    is_away,
    next_change,
)
from homeserver.runtime.clock import Clock, DelayedCall
from homeserver.runtime.database import Database
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.timing_wheel import TimingWheel
from homeserver.services.presence.elsewhere import PresenceElsewhere
from homeserver.services.presence.news import PresenceNews, SharedRooms
from homeserver.services.streams import Streams
from homeserver.storage.presence import LastPresence, PresenceStore

logger = logging.getLogger(__name__)

SWEEP_S = 5
SAVE_EVERY_S = 60
MOST_IN_SAVE = 1_000


class _Person:
    __slots__ = ("is_known", "shown", "signs")

    def __init__(self) -> None:
        self.signs = Signs()
        self.shown: Visible = OFFLINE
        self.is_known = False  # what the database says has been taken in


class Presence:
    """Sync calls `begin_sync` and `end_sync`; whatever a user does themselves calls `note_activity`.

    When not `enabled` everybody is offline and nothing is noted.
    """

    def __init__(
        self,
        database: Database,
        store: PresenceStore,
        *,
        streams: Streams,
        clock: Clock,
        tasks: Tasks,
        rooms: SharedRooms,
        enabled: bool = True,
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._rooms = rooms
        self.enabled = enabled
        self._people: dict[UserId, _Person] = {}
        self._news = PresenceNews(streams, clock, tasks, rooms, self._recall)
        self.elsewhere = PresenceElsewhere(clock, rooms, self._news.tell)
        self.follow = self._news.follow
        self._wheel: TimingWheel[UserId] = TimingWheel(clock, self._look_again, step_s=SWEEP_S)
        self._unsaved: dict[UserId, None] = {}
        self._save_timer: DelayedCall | None = None

    async def start(self) -> None:
        """Who was online when the server went down has a moment to come back before they are offline."""
        if not self.enabled:
            return
        now = self._now()
        for last in await self._database.read(self._store.who_was_online):
            if last.user_id not in self._people:
                person = self._people[last.user_id] = _Person()
                self._take_in(person, last)
                person.signs.online_sync_ended = now
                person.shown = decide(person.signs, now)
                self._schedule(last.user_id, person, now)

    async def stop(self) -> None:
        """Save what is not saved yet."""
        self._wheel.stop()
        self.elsewhere.stop()
        try:
            while self._unsaved:
                await self._save()
        except MatrixError as error:
            logger.warning("Presence could not be saved: %s", error.message)
        finally:
            self._stop_saving()

    # What users do

    def begin_sync(self, user_id: UserId, state: PresenceState | None = None) -> None:
        """A sync began. `state`: its set_presence, None when it has none, which means online."""
        if state is PresenceState.OFFLINE or not self.enabled:
            return
        person = self._person(user_id)
        signs = person.signs
        if state is PresenceState.UNAVAILABLE:
            signs.unavailable_syncs += 1
            if person.shown.state is PresenceState.OFFLINE:
                self._look(user_id, person)
            return
        signs.online_syncs += 1
        if state is PresenceState.ONLINE and signs.said is PresenceState.OFFLINE:
            signs.said = None
        if person.shown.state is PresenceState.OFFLINE and signs.said is None:
            signs.last_active = self._now()
            self._look(user_id, person)

    def end_sync(self, user_id: UserId, state: PresenceState | None = None) -> None:
        """The sync that began with the same arguments was answered, or its client is gone."""
        person = self._people.get(user_id)
        if state is PresenceState.OFFLINE or person is None:
            return
        now = self._now()
        signs = person.signs
        if state is PresenceState.UNAVAILABLE:
            signs.unavailable_syncs = max(0, signs.unavailable_syncs - 1)
            signs.unavailable_sync_ended = now
        else:
            signs.online_syncs = max(0, signs.online_syncs - 1)
            signs.online_sync_ended = now
        self._schedule(user_id, person, now)

    def note_activity(self, user_id: UserId) -> None:
        """The user did something themselves: sent, read, typed."""
        if not self.enabled:
            return
        person = self._person(user_id)
        person.signs.last_active = self._now()
        person.signs.said = None
        if not person.shown.is_currently_active:
            self._look(user_id, person)

    async def update(self, user_id: UserId, state: PresenceState, status_msg: str | None) -> None:
        """The user says what they are. Lasts until they do something, or say otherwise."""
        if not self.enabled:
            return
        person = self._person(user_id)
        person.is_known = True
        person.signs.last_active = self._now()
        person.signs.said = None if state is PresenceState.ONLINE else state
        person.signs.status_msg = status_msg
        self._look(user_id, person)
        await self._database.write(self._store.put, [self._last_presence(user_id, person)])

    def note_join(self, user_id: UserId, room_id: RoomId) -> None:
        """The user joined the room: its members may see their presence now."""
        person = self._people.get(user_id)
        if person is not None and person.shown.state is not PresenceState.OFFLINE:
            self._news.tell(user_id, room_id)

    async def depart(self, user_id: UserId, erase: bool) -> None:
        """The account was closed: its user is offline for ever."""
        person = self._people.get(user_id)
        if person is not None:
            person.signs = Signs()
            self._look(user_id, person)
            self._unsaved.pop(user_id, None)
        await self._database.write(self._store.remove, user_id)

    # What others see

    async def get(self, viewer: UserId, user_id: UserId) -> JsonObject:
        """A user's presence. Raises Forbidden unless the viewer shares a room with them."""
        if viewer != user_id:
            theirs = self.elsewhere.rooms_of(user_id) or await self._rooms.joined(user_id)
            if set(theirs).isdisjoint(await self._rooms.joined(viewer)):
                raise Forbidden(f"You share no room with {user_id}")
        heard = self.elsewhere.content(user_id)
        if heard is not None:
            return heard
        person = self._people.get(user_id)
        if person is None or not person.is_known:
            person = person or _Person()
            for last in await self._database.look_up(self._store.of_users, [user_id]):
                self._take_in(person, last)
        return self._content(person)

    def last_position(self, room_id: RoomId) -> int:
        """Nobody in the room changed after this position. Memory only."""
        return self._news.last_position(room_id)

    def changed_in_room(self, room_id: RoomId, since: int) -> list[UserId]:
        """Who changed after `since`, the newest last; everyone visible when memory does not reach back."""
        changed = self._news.since(room_id, since)
        return self.visible_in(room_id) if changed is None else changed

    def visible_in(self, room_id: RoomId) -> list[UserId]:
        """The members of the room who are not offline."""
        people, members = self._people, self._rooms.local_members(room_id)
        elsewhere = self.elsewhere.visible_in(room_id)
        if len(people) < len(members):
            here = [user for user, person in people.items() if _is_visible(person) and user in members]
        else:
            here = [user for user in members if user in people and _is_visible(people[user])]
        return [*here, *elsewhere] if elsewhere else here

    def visible_now(self, user_id: UserId) -> list[UserId]:
        """Everybody who shares a room with the user and is not offline; the user too, wherever they are."""
        found: dict[UserId, None] = {}
        own = self._people.get(user_id)
        if own is not None and _is_visible(own):
            found[user_id] = None
        for room_id in self._rooms.joined_now(user_id):
            found.update(dict.fromkeys(self.visible_in(room_id)))
        return list(found)

    def rooms_of(self, user_id: UserId) -> Collection[RoomId]:
        """The rooms of a local user, from memory; nothing if they are not in memory."""
        return self._rooms.joined_now(user_id)

    def event(self, user_id: UserId) -> JsonObject:
        """The user's m.presence event, as it is now."""
        person = self._people.get(user_id)
        content = self.elsewhere.content(user_id) if person is None else self._content(person)
        content = {"presence": "offline"} if content is None else content
        return {"type": "m.presence", "sender": user_id, "content": content}

    def _content(self, person: _Person) -> JsonObject:
        shown, last_active = person.shown, person.signs.last_active
        content: JsonObject = {"presence": shown.state.value}
        if last_active != LONG_AGO:
            content["last_active_ago"] = max(0, self._now() - last_active)
        if shown.state is PresenceState.ONLINE:
            content["currently_active"] = shown.is_currently_active
        if person.signs.status_msg is not None:
            content["status_msg"] = person.signs.status_msg
        return content

    # The clockwork

    def _now(self) -> int:
        return int(self._clock.monotonic() * 1000)

    def _person(self, user_id: UserId) -> _Person:
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = _Person()
        return person

    def _look(self, user_id: UserId, person: _Person) -> None:
        """Decide anew; tell the change if there is one."""
        now = self._now()
        shown = decide(person.signs, now)
        if shown != person.shown:
            person.shown = shown
            self._save_soon(user_id)
            self._news.tell(user_id)
        self._schedule(user_id, person, now)

    def _look_again(self, user_id: UserId) -> None:
        person = self._people.get(user_id)
        if person is not None:
            self._look(user_id, person)

    def _schedule(self, user_id: UserId, person: _Person, now: int) -> None:
        """Look again after the next thing that is due."""
        due_ms = next_change(person.signs, now)
        if due_ms is not None:
            self._wheel.put(user_id, due_ms / 1000)

    async def _recall(self, users: Sequence[UserId]) -> None:
        """Take in what the database knows of people seen for the first time."""
        unknown = [user for user in users if user in self._people and not self._people[user].is_known]
        if not unknown:
            return
        for last in await self._database.read(self._store.of_users, unknown):
            self._take_in(self._people[last.user_id], last)
        for user_id in unknown:
            self._people[user_id].is_known = True

    def _take_in(self, person: _Person, last: LastPresence) -> None:
        if person.is_known:
            return
        person.is_known = True
        signs = person.signs
        signs.status_msg = last.status_msg
        person.shown = person.shown._replace(status_msg=last.status_msg)
        if signs.last_active == LONG_AGO:
            signs.last_active = self._now() - max(0, self._clock.now_ms() - last.last_active_ts)

    def _save_soon(self, user_id: UserId) -> None:
        self._unsaved[user_id] = None
        if self._save_timer is None:
            self._save_timer = self._clock.call_later(SAVE_EVERY_S, self._start_save)

    def _stop_saving(self) -> None:
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None

    def _start_save(self) -> None:
        self._save_timer = None
        self._tasks.start("save presence", self._save())

    async def _save(self) -> None:
        """Save some of those who changed, and forget those who have gone."""
        users = list(self._unsaved)[:MOST_IN_SAVE]
        await self._recall(users)
        saved = [self._last_presence(user_id, self._people[user_id]) for user_id in users]
        for user_id in users:
            del self._unsaved[user_id]
        try:
            await self._database.write(self._store.put, saved)
        except BaseException:
            for user_id in users:
                self._save_soon(user_id)
            raise
        now = self._now()
        for user_id in users:
            person = self._people.get(user_id)
            if person is not None and is_away(person.signs, now) and user_id not in self._unsaved:
                del self._people[user_id]
        for user_id in list(self._unsaved)[:1]:
            self._save_soon(user_id)

    def _last_presence(self, user_id: UserId, person: _Person) -> LastPresence:
        signs = person.signs
        ago = self._now() - signs.last_active if signs.last_active != LONG_AGO else self._clock.now_ms()
        return LastPresence(
            user_id, _is_visible(person), max(0, self._clock.now_ms() - ago), signs.status_msg
        )


def _is_visible(person: _Person) -> bool:
    return person.shown.state is not PresenceState.OFFLINE
