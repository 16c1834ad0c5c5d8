"""A room on another server that somebody of ours has just joined: its members are told when a test wants."""

from homeserver.protocol.ids import RoomId
from tests.homeserver.services.rooms.receiving.test_partial_joins import Withheld, crowded
from tests.support.federation import Federation
from tests.support.people import Person, path


class PartlyKnown:
    """Alice's crowded room on `one`, into which Bob of `two` is to come."""

    def __init__(self, federation: Federation, *, count: int = 40) -> None:
        self.federation = federation
        self.alice, self.bob, self.room = crowded(federation, count)
        self.two = federation.all["two"]

    def come(self, person: Person) -> None:
        person.ask("POST", path("join", self.room), {}, via="one")
        self.federation.settle(1)

    def come_in(self) -> None:
        """Bob does; of the members he sees hardly any."""
        self.withheld = Withheld(self.federation)
        self.come(self.bob)
        assert self.is_partial
        self.bob.sync()

    @property
    def is_partial(self) -> bool:
        return self.two.services.rooms.receiving.is_partial(RoomId(self.room))

    def complete(self) -> None:
        """The members become known; everybody has them now."""
        self.withheld.is_open = True
        self.federation.time.advance(1_300)
        self.federation.settle()
        assert not self.is_partial
        self.federation.check_memory(self.room, "two")
