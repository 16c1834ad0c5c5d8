"""Threads, edits, reactions, references: what relates to what.

Events from other servers may say anything in `m.relates_to`: what does not have the form counts as absent.
https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from homeserver.protocol.errors import MatrixError
from homeserver.protocol.ids import EventId
from homeserver.protocol.json_values import Json

ANNOTATION: Final = "m.annotation"
REFERENCE: Final = "m.reference"
REPLACE: Final = "m.replace"
THREAD: Final = "m.thread"
AGGREGATED: Final = frozenset({REPLACE, THREAD, REFERENCE})

MAX_HOPS = 3
"""From an event to its thread: a reaction to an edit of a message in a thread is three."""

MAX_REL_TYPE = 255


class BadRelation(MatrixError):
    """A client's event relates to another in a way it may not."""

    status, errcode, default = 400, "M_UNKNOWN", "The event cannot relate to that event"


@dataclass(frozen=True, slots=True)
class Relation:
    """What `m.relates_to` says: the child's event points at its parent, `event_id`."""

    rel_type: str
    event_id: EventId
    key: str | None = None
    """Of annotations: the reaction."""
    is_falling_back: bool = False
    """Of threads: the reply is there only for clients that know no threads."""


def relation_of(content: Mapping[str, Json]) -> Relation | None:
    """The relation in an event's content. A mere reply is none: see `replied_to`."""
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, parent = relates_to.get("rel_type"), relates_to.get("event_id")
    if not isinstance(rel_type, str) or not rel_type or len(rel_type) > MAX_REL_TYPE or not _is_id(parent):
        return None
    key = relates_to.get("key")
    return Relation(
        rel_type,
        EventId(str(parent)),
        key if isinstance(key, str) else None,
        relates_to.get("is_falling_back") is True,
    )


def aggregated_with(content: Mapping[str, Json]) -> EventId | None:
    """The event with which readers are told of this one: as its edit, in its thread, as a reference to it."""
    relation = relation_of(content) if "m.relates_to" in content else None
    return relation.event_id if relation is not None and relation.rel_type in AGGREGATED else None


def replied_to(content: Mapping[str, Json]) -> EventId | None:
    """The event that this one answers, by `m.in_reply_to`; in a thread it may be a fallback only."""
    relates_to = content.get("m.relates_to")
    in_reply_to = relates_to.get("m.in_reply_to") if isinstance(relates_to, dict) else None
    parent = in_reply_to.get("event_id") if isinstance(in_reply_to, dict) else None
    return EventId(str(parent)) if _is_id(parent) else None


def _is_id(value: Json) -> bool:
    return isinstance(value, str) and value[:1] == "$" and len(value) <= 255


def thread_root(
    relation: Relation | None, parent: Callable[[EventId], Relation | None], *, hops: int = MAX_HOPS
) -> EventId | None:
    """The root of the thread that an event with this relation belongs to, None for the main timeline.

    `parent` answers the relation of another event, None when it has none or is unknown.
    """
    for _ in range(hops):
        if relation is None:
            return None
        if relation.rel_type == THREAD:
            return relation.event_id
        relation = parent(relation.event_id)
    return None


# What may relate to what


def check_may_begin_thread(root_content: Mapping[str, Json]) -> None:
    """Threads begin at events that belong to no other. Raises BadRelation.

    https://spec.matrix.org/latest/client-server-api/#validation-of-mthread-relationships
    """
    if relation_of(root_content) is not None:
        raise BadRelation("A thread cannot start at an event that relates to another one")
