"""What is remembered of resolved states, and what is stored of them."""

from homeserver.protocol.ids import RoomId
from homeserver.services.rooms.receiving import state_sets
from homeserver.services.rooms.receiving.state_sets import BYTES_OF_ONE, Branch
from tests.homeserver.services.rooms.receiving.conftest import Shared
from tests.homeserver.services.rooms.receiving.events_elsewhere import made, receive
from tests.homeserver.services.rooms.receiving.test_forks import fork
from tests.support.running import result

DUMMY = "org.matrix.dummy_event"


def stored_sets(shared: Shared) -> int:
    federation = shared.federation
    return int(
        federation.read(federation.all["one"], lambda txn: txn.value("SELECT COUNT(*) FROM state_sets"))
    )


def test_what_is_received_beside_forks_that_nobody_may_close_leaves_no_sets_behind(shared: Shared) -> None:
    federation, room, bob = shared.federation, shared.room, shared.bob.user_id
    carol = federation.all["one"].register("carol")
    carol.join(room)
    levels = {"users": {bob: 60}, "events": {DUMMY: 90}}
    shared.alice.set_state(room, "m.room.power_levels", levels)
    shared.alice.leave(room)
    federation.settle()
    heads = federation.heads_of(room, "two")
    federation.part("one", "two")
    branches = [
        made(federation, "two", room, "org.example.thing", bob, {}, state_key=str(n), prev=heads)
        for n in range(25)
    ]
    receive(federation, "one", room, branches, origin="two")
    before = stored_sets(shared)

    for branch in branches[:5]:
        prev = [branch.event_id]
        said = made(federation, "two", room, "m.room.message", bob, {"body": "and on"}, prev=prev)
        assert receive(federation, "one", room, [said], origin="two") == {said.event_id: None}

    assert stored_sets(shared) == before


def test_what_is_remembered_is_bounded_by_its_branches_too(shared: Shared) -> None:
    """Rooms with little state and many heads: what went in is larger than what came out."""
    fork(shared, 3)
    services = shared.federation.all["one"].services
    sets = services.rooms.receiving._sets
    room = result(services.rooms.rooms.load(RoomId(shared.room)))
    whole = room.state_nid
    older = shared.federation.read(
        shared.federation.all["one"], lambda txn: txn.column("SELECT nid FROM state_sets ORDER BY nid")
    )
    for number in range(1, len(older)):
        nids = {whole, *older[:number]}
        result(sets.resolved(room, [Branch(nid) for nid in nids]))
        kept = sets._resolved
        assert kept.bytes >= BYTES_OF_ONE * len(nids)
        assert kept.max_bytes == state_sets.MOST_BYTES
