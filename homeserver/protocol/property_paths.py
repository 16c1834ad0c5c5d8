r"""Dot-separated property paths: `content.m\.relates_to.rel_type`.

Filters and push rules name the properties of an event so.
https://spec.matrix.org/latest/appendices/#dot-separated-property-paths
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal, TypeAlias

from homeserver.protocol.json_values import Json

PropertyPath: TypeAlias = tuple[str, ...]


class Missing(Enum):
    """Stands for a property the event does not have: null is a value."""

    MISSING = "missing"


MISSING: Final[Literal[Missing.MISSING]] = Missing.MISSING

# A name runs to the next dot that no backslash escapes.
_NAME = re.compile(r"(?:[^.\\]|\\.|\\\Z)*", re.DOTALL)
_ESCAPED = re.compile(r"\\([.\\])")


def parse_path(text: str) -> PropertyPath:
    r"""The names along the path. `\.` and `\\` are escapes; any other backslash stands for itself."""
    names = []
    position = 0
    while True:
        match = _NAME.match(text, position)
        assert match is not None
        names.append(_ESCAPED.sub(r"\1", match[0]))
        if match.end() == len(text):
            return tuple(names)
        position = match.end() + 1


def value_at(event: Mapping[str, Json], path: PropertyPath) -> Json | Literal[Missing.MISSING]:
    """What stands at the path, or MISSING when an object on the way lacks the name or is no object."""
    value: Json = event
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value
