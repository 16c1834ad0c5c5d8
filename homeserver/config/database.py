"""Which database, and how many connections read from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Database:
    """`sqlite:///FILE` (a relative file starts from data_dir) or `postgresql://USER:PASSWORD@HOST:PORT/NAME`."""

    url: str = "sqlite:///postroom.db"
    readers: int = 4
