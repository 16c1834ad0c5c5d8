"""What is logged, where and how."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Logging:
    """Without a file, lines go to standard error. A file is reopened after logrotate moved it."""

    level: Level = "info"
    levels: dict[str, Level] = field(default_factory=dict)
    format: Literal["text", "json"] = "text"
    file: Path | None = None
