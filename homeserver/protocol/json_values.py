"""The type of a JSON value.

Sequence and Mapping, not list and dict, so that a `list[str]` is a `Json` too; narrow with
`isinstance(value, dict)` or `isinstance(value, list)` when reading.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, "Json"]
