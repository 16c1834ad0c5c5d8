"""Events in a form that few clients ask for: some fields only, or as servers exchange them.

The ordinary answer is taken apart again and its room events put into the wanted form, so that the ordinary
way knows nothing of it.
https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3useruseridfilter
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import orjson

from homeserver.protocol.filters import Filter
from homeserver.protocol.ids import EventId
from homeserver.protocol.json_values import JsonObject
from homeserver.services.rooms.events import Events

Form = Callable[[JsonObject], "JsonObject | orjson.Fragment"]


def is_special(filter_: Filter) -> bool:
    """Does the filter ask for another form than the ordinary one?"""
    return bool(filter_.event_fields) or filter_.federation_format


async def in_form_of(filter_: Filter, pieces: Sequence[bytes], events: Events) -> list[bytes]:
    """The answer to a sync, made of `pieces`, with the events of timelines and states in the wanted form."""
    answer = orjson.loads(b"".join(pieces))
    lists = list(_lists(answer))
    form: Form = filter_.project
    if filter_.federation_format:
        ids = [cast(EventId, event["event_id"]) for part in lists for event in part["events"]]
        form = await _as_servers_have_them(ids, events)
    for part in lists:
        part["events"] = [form(event) for event in part["events"]]
    return [orjson.dumps(answer)]


def _lists(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rooms = answer.get("rooms", {})
    for room in (*rooms.get("join", {}).values(), *rooms.get("leave", {}).values()):
        for name in ("timeline", "state", "state_after"):
            if name in room:
                yield room[name]


async def _as_servers_have_them(ids: Sequence[EventId], events: Events) -> Form:
    signed = await events.signed(list(dict.fromkeys(ids)))

    def form(event: JsonObject) -> JsonObject | orjson.Fragment:
        found = signed.get(cast(EventId, event["event_id"]))
        if found is None:
            return event
        unsigned = orjson.dumps(event.get("unsigned", {}))
        return orjson.Fragment(found.raw[:-1] + b',"unsigned":' + unsigned + b"}")

    return form
