"""Fields that must not show when a record is printed or logged."""

from collections.abc import Callable
from dataclasses import field
from typing import Any


def secret(default: Any, *, check: Callable[[Any], object] | None = None) -> Any:
    """As runtime.settings.setting, but left out of the record's repr."""
    return field(default=default, repr=False, metadata={"check": check})
