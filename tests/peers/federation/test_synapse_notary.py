"""Postroom and Synapse as notaries for each other: they vouch for the keys of a server that is gone."""

import pytest

from tests.peers.federation.conftest import Start
from tests.peers.federation.people import Outside
from tests.peers.federation.sides import same_history, same_state

pytestmark = [pytest.mark.xdist_group("synapse people"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("notary", "newcomer"), [("synapse", "postroom"), ("postroom", "synapse"), ("postroom", "postroom")]
)
def test_who_comes_late_knows_the_people_of_a_server_that_is_gone(
    start: Start, synapse: Outside, postroom: Outside, notary: str, newcomer: str
) -> None:
    host = {"synapse": synapse, "postroom": postroom}[notary]
    gone = start("postroom")
    anna, greta = host.register(f"anna.{newcomer}"), gone.register("greta")
    room = anna.create_room(preset="public_chat", room_version="11")
    greta.join_from(room, host.name)
    anna.reads(room, greta.send(room, "farewell"))
    gone.process.stop()
    late = start(newcomer, notaries=[host.name])
    lena = late.register("lena")
    lena.join_from(room, host.name)
    anna.sees_member_soon(room, lena, "join")
    lena.sees_member_soon(room, greta, "join")
    same_state(room, anna, lena)
    same_history(room, anna, lena)
    assert any(event["content"].get("body") == "farewell" for event in lena.history(room))


def test_without_a_notary_they_cannot_be_known(start: Start, synapse: Outside) -> None:
    """Else the test above would show nothing."""
    gone = start("postroom")
    anna, greta = synapse.register("anna.alone"), gone.register("greta")
    room = anna.create_room(preset="public_chat", room_version="11")
    greta.join_from(room, synapse.name)
    anna.reads(room, greta.send(room, "farewell"))
    gone.process.stop()
    lena = start("postroom").register("lena")
    lena.join_from(room, synapse.name)
    anna.sees_member_soon(room, lena, "join")
    lena.sees_member_soon(room, anna, "join")
    assert not any(event["content"].get("body") == "farewell" for event in lena.history(room))
