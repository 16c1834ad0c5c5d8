"""What the lies have in common: how they begin, and what must be true after them.

Each test here is one lie of a hostile server. The victim is a whole server in memory, so that a lie costs
milliseconds to tell.
"""

from typing import Any
from urllib.parse import unquote

import orjson

from homeserver.protocol.room_versions import room_version
from tests.support.adversary import V1, V2, VERSIONS, Adversary, Pdu, View, event_path
from tests.support.people import Person, path


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


def invite(
    mallory: Adversary,
    whom: str,
    *,
    version: str = "11",
    state: Any = None,
    room: str = "!lair:evil.example",
    **fields: Any,
) -> Any:
    """Send an invite to a room that only Mallory's server knows."""
    view = View(room, room_version(version))
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


def host(server: Adversary, version: str = "11", **more: Any) -> View:
    """A room of this server that lets everybody in, truthfully; `more` goes into its create event."""
    view = View(f"!lair:{server.name}", room_version(version))
    content = {"room_version": version, "creator": server.user, **more}
    create = server.event(
        view, content, type_="m.room.create", state_key="", prev_events=[], auth_events=[], depth=1
    )
    if view.version.room_id_is_create_hash:
        create.pop("room_id")
        create = server.finish(view, create)
        view.room_id = "!" + view.name(create)[1:]
    view.take(create)
    users = {} if view.version.privileged_creators else {server.user: 100}
    for type_, key, content in (
        ("m.room.member", server.user, {"membership": "join"}),
        ("m.room.power_levels", "", {"users": users}),
        ("m.room.join_rules", "", {"join_rule": "public"}),
    ):
        view.take(server.event(view, content, type_=type_, state_key=key))
    server.on(f"{V1}/make_join", lambda request: (200, _template(server, view, request.path)))
    server.on(f"{V2}/send_join", lambda request: (200, _room_before(server, view, request.body)))
    return view


def join_hosted(alice: Person, server: Adversary, view: View) -> Any:
    """Alice joins the room that the server hosts; the answer."""
    pending = alice.start_request("POST", path("join", view.room_id), {}, server_name=server.name)
    server.settle(5)
    return pending.answer


def _template(server: Adversary, view: View, target: str) -> Any:
    user = unquote(target.partition("?")[0].rpartition("/")[2])
    template = server.event(view, {"membership": "join"}, type_="m.room.member", state_key=user, sender=user)
    return {"room_version": view.version.version, "event": template}


def _room_before(server: Adversary, view: View, join: bytes | None) -> Any:
    state = list(view.state.values())
    view.take(orjson.loads(join or b""))
    return {
        "state": state, "auth_chain": state, "origin": server.name, "members_omitted": False,
        "servers_in_room": [server.name],
    }  # fmt: skip
