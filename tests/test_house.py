"""The structure of the package: rooms in order, no circles, every module importable alone."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["architecture"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_import_runs_up(house: ModuleType) -> None:
    arrows = house.imports()
    assert len(arrows) > 200
    assert house.upward(arrows) == []
    assert house.circles(arrows) == []


def test_an_import_that_runs_up_is_found(house: ModuleType, tmp_path: Path) -> None:
    for name, code in {
        "log/reader.py": "from gradmidi.music import preset\n",
        "music/preset.py": "def load():\n    import gradmidi.log.reader\n",
        "errors.py": "",
    }.items():
        path = tmp_path / "gradmidi" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    arrows = house.imports(tmp_path / "gradmidi")
    assert [(a.importer, a.imported) for a in house.upward(arrows)] == [
        ("log.reader", "music.preset")
    ]
    assert house.circles(arrows) == ["log.reader", "music.preset"]


def test_the_page_shows_the_rooms_as_they_are(house: ModuleType) -> None:
    page = house.PAGE.read_text(encoding="utf-8")
    assert house.diagram() in page, "run: python docs/architecture.py --write"
    named = [room for room in house.ORDER if not room.startswith("_")]
    assert [room for room in named if f"`{room}`" not in page] == []


def test_few_modules_stand_at_the_top_level() -> None:
    assert len(list((ROOT / "gradmidi").glob("*.py"))) <= 6


def test_no_module_is_longer_than_400_lines(house: ModuleType) -> None:
    lines = {n: p.read_text(encoding="utf-8").count("\n") for n, p in house.modules().items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports tests by the name of their file."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.slow
def test_every_module_can_be_imported_first() -> None:
    """Each module is imported into an interpreter that has imported none of the others."""
    script = (
        "import importlib, pkgutil, sys\n"
        "import gradmidi\n"
        "names = [m.name for m in pkgutil.walk_packages(gradmidi.__path__, 'gradmidi.')]\n"
        "for name in names:\n"
        "    if name.split('.')[1] == 'integrations' or name.endswith('__main__'):\n"
        "        continue\n"
        "    for loaded in [m for m in sys.modules if m.split('.')[0] == 'gradmidi']:\n"
        "        del sys.modules[loaded]\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        if (error.name or '').startswith('gradmidi'):\n"
        "            raise\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
