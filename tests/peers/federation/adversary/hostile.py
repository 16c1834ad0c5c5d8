"""What the lies have in common: how they begin, and what must be true after them.

Each test here is one lie of a hostile server. The victim is a whole server in memory, so that a lie costs
milliseconds to tell.
"""

from typing import Any

from homeserver.protocol.room_versions import room_version
from tests.support.adversary import V1, V2, VERSIONS, Adversary, Pdu, View, event_path
from tests.support.people import Person


def is_hidden(alice: Person, room: str, view: View, *pdus: Pdu) -> bool:
    """None of these events can be seen in any way."""
    ids = {view.name(pdu) for pdu in pdus}
    shown = {event["event_id"] for event in alice.messages(room, limit=1000).events}
    state = {event["event_id"] for event in alice.state(room).values()}
    return not ids & (shown | state) and not any(alice.sees(room, event_id) for event_id in ids)


def still_works(alice: Person, room: str, view: View, mallory: Adversary) -> bool:
    """After the attack, honest events go both ways."""
    event_id = mallory.say(view, "honest")
    mine = alice.send(room, "me too")
    mallory.settle()
    return alice.sees(room, event_id) and any(view.name(pdu) == mine for pdu in mallory.received)


def half_joined(mallory: Adversary, room: str) -> tuple[View, Pdu]:
    """A room that Mallory is not in, and a template for joining it."""
    template = mallory.request("GET", f"{V1}/make_join{event_path(room, mallory.user)}?{VERSIONS}").json
    view = View(room, room_version(template["room_version"]))
    return view, template["event"]


def invite(mallory: Adversary, whom: str, *, version: str = "11", state: Any = None, **fields: Any) -> Any:
    """Send an invite to a room that only Mallory's server knows."""
    view = View("!lair:evil.example", room_version(version))
    create = mallory.event(
        view, {"room_version": version}, type_="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    view.take(create)
    view.take(mallory.event(view, {"membership": "join"}, type_="m.room.member", state_key=mallory.user))
    content = fields.pop("content", {"membership": "invite"})
    pdu = mallory.event(view, content, type_="m.room.member", **{"state_key": whom, **fields})
    stripped = [{"type": "m.room.name", "state_key": "", "sender": mallory.user, "content": {"name": "Lair"}}]
    body = {
        "event": pdu,
        "room_version": version,
        "invite_room_state": [create, *stripped] if state is None else state,
    }
    target = f"{V2}/invite{event_path(view.room_id, view.name(pdu))}"
    return mallory.request("PUT", target, body)
