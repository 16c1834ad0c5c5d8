#!/usr/bin/env python3
"""Begin a database migration: the next number, a file with a header.

scripts/new_migration.py NAME     for example: scripts/new_migration.py add_room_tags
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "homeserver" / "storage" / "migrations"
TEMPLATE = """\
-- {title}
--
-- Runs once, in one transaction, on SQLite and PostgreSQL alike. Tokens: {{ID}}, {{AUTO_ID}}, {{BYTES}}.
-- A released migration never changes: write another one.

"""


def next_number(folder: Path) -> int:
    return 1 + max((int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.sql")), default=0)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not re.fullmatch(r"[a-z][a-z0-9_]*", arguments[0]):
        print(__doc__, file=sys.stderr)
        return 2
    path = FOLDER / f"{next_number(FOLDER):04}_{arguments[0]}.sql"
    path.write_text(TEMPLATE.format(title=arguments[0].replace("_", " ").capitalize()))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
