"""Which rooms a local user is in, was in, or is asked into; in memory for those who are about."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import RoomId, UserId
from homeserver.runtime.database import Database
from homeserver.services.rooms.room import Room
from homeserver.services.rooms.writer import Built
from homeserver.storage.rooms import Member, RoomStore

MOST_ENTRIES = 500_000


class Place(NamedTuple):
    """A user's relation to one room. `since`: the event that began it; `nid`: the latest membership event."""

    membership: str
    since: int
    nid: int
    forgotten: bool


class UserRooms:
    """Loaded per user on demand, kept true by the writer."""

    def __init__(self, database: Database, store: RoomStore) -> None:
        self._database = database
        self._store = store
        self._entries = 0
        self._loaded: OrderedDict[UserId, dict[RoomId, Place]] = OrderedDict()
        self._meanwhile: dict[UserId, list[tuple[RoomId, Place]]] = {}

    def find(self, user_id: UserId) -> Mapping[RoomId, Place] | None:
        """The user's rooms if they are in memory."""
        return self._loaded.get(user_id)

    async def load(self, user_id: UserId) -> Mapping[RoomId, Place]:
        """Every room the user has or had a membership in."""
        found = self._loaded.get(user_id)
        if found is not None:
            self._loaded.move_to_end(user_id)
            return found
        late = self._meanwhile.setdefault(user_id, [])
        try:
            rows = await self._database.read(self._store.of_user, user_id)
        finally:
            self._meanwhile.pop(user_id, None)
        if (found := self._loaded.get(user_id)) is not None:  # somebody else was quicker
            return found
        places = {
            row.room_id: Place(row.membership, row.since, row.event_nid, bool(row.forgotten)) for row in rows
        }
        for room_id, place in late:
            if room_id not in places or places[room_id].nid < place.nid:
                places[room_id] = place
        return self._add(user_id, places)

    async def joined(self, user_id: UserId) -> list[RoomId]:
        """The rooms the user is joined to."""
        return [
            room_id for room_id, place in (await self.load(user_id)).items() if place.membership == "join"
        ]

    async def joined_by_stranger(self, user_id: UserId) -> list[RoomId]:
        """The same of a user of another server, whose rooms are not kept in memory."""
        rows = await self._database.read(self._store.of_user, user_id)
        return [row.room_id for row in rows if row.membership == "join"]

    async def shared_with(self, user_id: UserId, other: UserId) -> list[RoomId]:
        """The rooms that both are joined to, in the order of their ids."""
        own = set(await self.joined(user_id))
        return sorted(own.intersection(await self.joined_by_stranger(other))) if own else []

    def joined_now(self, user_id: UserId) -> list[RoomId]:
        """The same from memory; nothing for a user who is not about."""
        places = self._loaded.get(user_id, {})
        return [room_id for room_id, place in places.items() if place.membership == "join"]

    def note(self, room: Room, batch: Sequence[Built]) -> None:
        """Follows the writer."""
        for built in batch:
            for member in built.members if built.member is not None or built.moved else ():
                if member.is_local:
                    self.put(room.room_id, member)

    def put(self, room_id: RoomId, member: Member) -> None:
        """A local user's membership is different now."""
        place = Place(member.membership, member.since, member.event_nid, False)
        self._put(member.user_id, room_id, place)

    def forget(self, user_id: UserId, room_id: RoomId) -> None:
        """The user does not want to see the room again."""
        places = self._loaded.get(user_id)
        if places is not None and room_id in places:
            places[room_id] = places[room_id]._replace(forgotten=True)

    def _put(self, user_id: UserId, room_id: RoomId, place: Place) -> None:
        places = self._loaded.get(user_id)
        if places is not None:
            places[room_id] = place
        elif user_id in self._meanwhile:
            self._meanwhile[user_id].append((room_id, place))

    def _add(self, user_id: UserId, places: dict[RoomId, Place]) -> dict[RoomId, Place]:
        self._loaded[user_id] = places
        self._entries += len(places) + 5
        while self._entries > MOST_ENTRIES and len(self._loaded) > 1:
            _, oldest = self._loaded.popitem(last=False)
            self._entries -= len(oldest) + 5
        return places
