#!/usr/bin/env python3
"""Write down which operations the Matrix specification has, for the tests to hold our routes against.

    spec_operations.py FOLDER > tests/spec/operations.txt

FOLDER is `data/api` of a checkout of https://github.com/matrix-org/matrix-spec at the version we follow.
One line per operation of the client-server and server-server APIs: method, whose authentication, whether the
specification foresees a rate limit (an answer with status 429), path.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

APIS = ("client-server", "server-server")
METHODS = ("get", "put", "post", "delete", "head", "options", "patch")
WHOSE = {
    "accessTokenBearer": "user",
    "appserviceAccessTokenBearer": "appservice",
    "signedRequest": "federation",
    "accessToken": "federation",  # a slip in server-server/events.yaml, which defines no such scheme
}


def operations(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Method, path, authentication and rate limit of every operation."""
    for api in APIS:
        for file in sorted((folder / api).glob("*.yaml")):
            document = yaml.safe_load(file.read_text())
            prefix = document["servers"][0]["variables"].get("basePath", {}).get("default", "")
            for path, methods in document["paths"].items():
                for method in METHODS:
                    if method in methods:
                        operation = methods[method]
                        limit = "limited" if "429" in operation["responses"] else "unlimited"
                        yield method.upper(), prefix + path, authentication(operation), limit


def authentication(operation: dict[str, Any]) -> str:
    """`none`, `optional`, or who must authenticate."""
    schemes = operation.get("security", [])
    names = [WHOSE[name] for scheme in schemes for name in scheme]
    if not names:
        return "none"
    return "optional" if {} in schemes else names[0]


def main(folder: str) -> None:
    """Print the table, in the order of paths."""
    rows = {(path.strip(), method): (whose, limit) for method, path, whose, limit in operations(Path(folder))}
    for (path, method), (whose, limit) in sorted(rows.items()):
        print(f"{method:7}{whose:11}{limit:10}{path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
