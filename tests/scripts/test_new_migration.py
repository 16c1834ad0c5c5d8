"""`scripts/new_migration.py` begins a migration with the next number."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "new_migration.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a folder of its own."""
    spec = importlib.util.spec_from_file_location("new_migration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return module


def test_numbers_go_on(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "0004_media.sql").touch()
    assert script.main(["add_tags"]) == 0
    assert (tmp_path / "0005_add_tags.sql").read_text().startswith("-- Add tags\n")


def test_the_first_one(script: ModuleType, tmp_path: Path) -> None:
    script.main(["begin"])
    assert (tmp_path / "0001_begin.sql").exists()


@pytest.mark.parametrize("arguments", [[], ["Two Words"], ["a", "b"], ["../x"]])
def test_a_name_that_is_none_writes_nothing(script: ModuleType, tmp_path: Path, arguments: list[str]) -> None:
    assert script.main(arguments) == 2
    assert list(tmp_path.iterdir()) == []
