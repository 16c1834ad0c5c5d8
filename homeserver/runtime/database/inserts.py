"""INSERT statements that take many rows at once."""

import re
from typing import NamedTuple

_INSERT = re.compile(r"^(\s*INSERT\s.*?\sVALUES\s*)(\([^()]*\))(.*)$", re.DOTALL | re.IGNORECASE)
_DO_UPDATE = re.compile(r"\bDO\s+UPDATE\b", re.IGNORECASE)
_RETURNING = re.compile(r"\bRETURNING\b", re.IGNORECASE)


class Insert(NamedTuple):
    """An INSERT of one row, apart: what stands before the row, the row with its marks, what follows."""

    head: str
    row: str
    tail: str

    @property
    def may_update(self) -> bool:
        """PostgreSQL refuses to touch a row twice in one statement."""
        return _DO_UPDATE.search(self.tail) is not None

    def of_rows(self, count: int) -> str:
        """The statement for so many rows."""
        return self.head + ",".join((self.row,) * count) + self.tail


def insert_of_one(sql: str) -> Insert | None:
    """The parts of the statement; None if it is another, or answers with something for each row."""
    match = _INSERT.match(sql)
    if match is None or _RETURNING.search(match[3]):
        return None
    return Insert(match[1], match[2], match[3])
