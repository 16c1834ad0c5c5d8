"""As deep as a number may be: the room goes on, at that depth."""

from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive

DEEPEST = 2**53 - 1


def test_people_come_in_and_speak_after_the_deepest_event(shared: Shared) -> None:
    federation, room = shared.federation, shared.room
    content = {"msgtype": "m.text", "body": "as deep as it gets"}
    deep = made(federation, "two", room, "m.room.message", shared.bob.user_id, content, depth=DEEPEST)
    assert receive(federation, "one", room, [deep], origin="two") == {deep.event_id: None}
    (three,) = federation.servers("three")
    carol = three.register("carol")

    federation.join(carol, room, via="one")
    said = shared.alice.send(room, "welcome")
    federation.settle()

    assert federation.pdu(said, "one")["depth"] == DEEPEST
    assert said in carol.sync().ids(room)
