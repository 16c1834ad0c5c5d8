"""Lists of dangers, each with the test that meets it: is that test there?"""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def is_there(file: str, name: str | None) -> bool:
    """Has the file, below tests/, a test of that name; or, without a name, any?"""
    tree = ast.parse((TESTS / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return name in names or (name is None and any(one.startswith("test_") for one in names))
