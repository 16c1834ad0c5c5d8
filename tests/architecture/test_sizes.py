"""Files, functions and folders stay small enough to read in one go.

The budget (a warning) is a signal; the wall (a failure) is what no file may pass.
"""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("homeserver", "bridges")
FILE_BUDGET, FILE_WALL = 400, 600
FUNCTION_BUDGET, FUNCTION_WALL = 40, 60
DEEPEST_FOLDER = 3
FORBIDDEN_NAMES = ("handler", "manager", "helper", "util", "utils", "base", "misc", "common")


def source_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length_in_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: the docstring and the signature's decorators are not held against a function."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(params=source_files(), ids=name_of)
def source(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_no_file_is_too_long(source: Path) -> None:
    lines = len(source.read_text().splitlines())
    if lines > FILE_BUDGET:
        warnings.warn(f"{name_of(source)} has {lines} lines; the budget is {FILE_BUDGET}", stacklevel=1)
    assert lines <= FILE_WALL


def test_no_function_is_too_long(source: Path) -> None:
    tree = ast.parse(source.read_text())
    lengths = {
        f"{name_of(source)}:{node.lineno} {node.name}": length_in_lines(node) for node in functions(tree)
    }
    for name, length in lengths.items():
        if length > FUNCTION_BUDGET:
            warnings.warn(f"{name} has {length} lines; the budget is {FUNCTION_BUDGET}", stacklevel=1)
    assert {name: length for name, length in lengths.items() if length > FUNCTION_WALL} == {}


def test_no_import_hides_behind_type_checking(source: Path) -> None:
    assert "TYPE_CHECKING" not in source.read_text()


def test_names_say_what_they_hold(source: Path) -> None:
    words = source.stem.split("_")
    assert not [word for word in words if word in FORBIDDEN_NAMES]


def test_folders_are_at_most_three_deep_inside_a_package(source: Path) -> None:
    assert len(source.relative_to(ROOT).parts) - 2 <= DEEPEST_FOLDER
