"""Events that others hand to us for us to pass on."""

from homeserver.protocol.ids import RoomId, ServerName
from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import receive
from tests.homeserver.services.rooms.receiving.test_gaps import pdus, without_missing_events
from tests.support.running import result


def test_one_that_was_known_as_state_elsewhere_is_passed_on_even_if_the_server_stops(shared: Shared) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob
    one, three = federation.all["one"], federation.servers("three")[0]
    carol = three.register("carol")
    federation.join(carol, room, via="one")
    shared.alice.set_state(room, "m.room.power_levels", {"users": {bob.user_id: 60}})
    federation.settle()
    federation.part("three")
    result(federation.all["two"].services.traffic.destinations.block(ServerName("one"), is_blocked=True))
    topic = bob.set_state(room, "m.room.topic", {"topic": "Bob's"})
    bob.send(room, "between")
    last = bob.send(room, "last")
    without_missing_events(shared)
    receive(federation, "one", room, pdus(shared, [last]), origin="two")
    assert federation.events_of(room, "one")[topic].status == 3

    receiving = one.services.rooms.receiving
    (pdu,) = pdus(shared, [topic])
    result(receiving.accept_signed(RoomId(room), pdu, origin=ServerName("two")))
    one.restart()
    federation.network.heal()
    federation.part("two")
    federation.time.advance(3_600)

    assert topic in federation.accepted(room, "three")
