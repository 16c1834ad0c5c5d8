"""Events made by hand, as a server could that does not play by the rules."""

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.events import Draft, Event, build
from homeserver.protocol.ids import EventId, RoomId, ServerName, UserId
from homeserver.protocol.room_versions import room_version
from tests.support.federation import Federation
from tests.support.running import Running


def made(
    federation: Federation,
    name: str,
    room: str,
    type_: str,
    sender: str,
    content: Mapping[str, Any],
    *,
    state_key: str | None = None,
    prev: Sequence[str] | None = None,
    auth: Sequence[tuple[str, str]] | None = None,
    besides: Sequence[str] = (),
    depth: int | None = None,
    redacts: str | None = None,
) -> Event:
    """Signed by the server of that name, after its heads and by its state, unless the test says else.

    `besides`: events that it names as authorising it although they are not in the state.
    """
    server = federation.all[name]
    state = federation.state_of(room, name)
    version = room_version(
        federation.read(server, lambda t: t.value("SELECT version FROM rooms WHERE room_id = %s", (room,)))
    )
    named = auth if auth is not None else default_auth(version.room_id_is_create_hash, sender)
    heads = federation.heads_of(room, name) if prev is None else list(prev)
    top = federation.read(server, lambda t: t.value("SELECT depth FROM rooms WHERE room_id = %s", (room,)))
    draft = Draft(
        type=type_,
        sender=UserId(sender),
        content=content,
        state_key=state_key,
        room_id=RoomId(room),
        prev_event_ids=tuple(EventId(head) for head in heads),
        auth_event_ids=tuple(
            EventId(id_) for id_ in [*(state[key] for key in named if key in state), *besides]
        ),
        depth=top + 1 if depth is None else depth,
        origin_server_ts=federation.time.now_ms(),
        redacts=None if redacts is None else EventId(redacts),
    )
    return build(draft, version, ServerName(name), server.services.rooms.drafting._key)


def default_auth(is_v12: bool, sender: str) -> list[tuple[str, str]]:
    keys = [("m.room.power_levels", ""), ("m.room.member", sender)]
    return keys if is_v12 else [("m.room.create", ""), *keys]


def receive(
    federation: Federation, name: str, room: str, events: Sequence[Event | Mapping[str, Any]], *, origin: str
) -> dict[str, MatrixError | None]:
    """Hand events to a server: what became of each."""
    pdus = [dict(event.pdu) if isinstance(event, Event) else event for event in events]
    receiving = federation.all[name].services.rooms.receiving
    running = Running(receiving.receive(RoomId(room), pdus, origin=ServerName(origin)))
    for _ in range(50):
        if running.is_done:
            break
        federation.time.advance(0.1)
    outcome: dict[str, MatrixError | None] = running.result()
    return outcome
