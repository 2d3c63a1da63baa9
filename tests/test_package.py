"""The package as it is installed: what a wheel holds, and what the README promises."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from logs import write_log

import gradmidi
from gradmidi.music import preset

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("gradmidi-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_module_preset_and_digit(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "gradmidi").rglob("*.py")}
    presets = {f"gradmidi/presets/{path.name}" for path in (ROOT / "presets").glob("*.toml")}
    assert modules <= held
    assert len(presets) >= 2
    assert presets <= held
    for name in ("py.typed", "demo/digits.npz", "demo/NOTICE.md"):
        assert wheel.read(f"gradmidi/{name}") == (ROOT / "gradmidi" / name).read_bytes()
    assert not [name for name in held if not name.startswith(("gradmidi/", "gradmidi-"))]


def test_the_wheel_alone_finds_its_presets_and_digits(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path / "site")
    said = python(
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import gradmidi\n"
        "from gradmidi.music import preset\n"
        "from gradmidi.demo.experiments import digits\n"
        "print(gradmidi.__file__, *preset.names(), len(digits()[0]))",
        cwd=tmp_path,
    )
    assert said.split() == [
        str(tmp_path / "site" / "gradmidi" / "__init__.py"),
        *preset.names(),
        "10000",
    ]


def test_metadata_names_both_licences(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()
    assert "License-Expression: MIT AND CC-BY-SA-3.0\n" in metadata
    assert "torch" not in [
        re.split(r"[^\w-]", line.removeprefix("Requires-Dist: "))[0]
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]


def test_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d\S*)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
    try:
        installed = version("gradmidi")
    except PackageNotFoundError:
        pytest.skip("gradmidi is not installed here, so it has no version: pip install .")
    assert installed == PROJECT["version"]


ERRORS = ["CaptureError", "GradmidiError", "PortError", "PresetError", "RunLogError"]
EVENTS = ["Alarm", "Bend", "Control", "End", "Mark", "Off", "On", "Step"]
TYPES = ["Fault", "Layer", "Listener", "Preset", "Run", "Voice"]
FUNCTIONS = [
    "compare",
    "compose",
    "decode",
    "describe",
    "faults",
    "import_log",
    "listen",
    "read",
    "record",
    "render",
]


def test_the_public_names_are_those_of_the_api_and_no_more() -> None:
    assert sorted(gradmidi.__all__) == sorted([*ERRORS, *EVENTS, *TYPES, *FUNCTIONS])
    assert all(callable(getattr(gradmidi, name)) for name in gradmidi.__all__)
    assert set(gradmidi.__all__) <= set(dir(gradmidi))
    with pytest.raises(AttributeError, match="module 'gradmidi' has no attribute 'lisen'"):
        _ = gradmidi.lisen


@pytest.mark.parametrize("name", [*TYPES, *FUNCTIONS])
def test_a_public_name_is_documented_with_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(gradmidi, name)) or ""
    assert "Parameters\n----------" in text or "Attributes\n----------" in text
    assert "Examples\n--------\n>>> " in text
    if name in FUNCTIONS:
        assert "Returns\n-------" in text or "Yields\n------" in text
        assert "Raises\n------" in text


def test_no_module_has_a_public_name() -> None:
    modules = {path.stem for path in (ROOT / "gradmidi").iterdir()}
    assert "run" in modules
    assert not modules & set(gradmidi.__all__)


def bound(body: list[ast.stmt]) -> set[str]:
    """The names that a module has once it is run: not those for type checkers alone."""
    names: set[str] = set()
    for node in body:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.If() | ast.Try():
                names |= bound([*node.body, *node.orelse])
            case ast.Import() | ast.ImportFrom():
                names |= {(each.asname or each.name).split(".")[0] for each in node.names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign() | ast.AnnAssign():
                names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names


def test_every_name_in_a_module_s_list_of_public_ones_exists() -> None:
    """Read and not imported: some modules need a framework that is not here."""
    missing = {}
    for path in (ROOT / "gradmidi").rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        lists = [
            ast.literal_eval(node.value)
            for node in body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__all__"
        ]
        there = bound(body)
        assert len(lists) == (bool(there) and path.name != "__main__.py"), path
        # Some make a name when it is asked for; their own tests do that.
        if lists and "__getattr__" not in there:
            missing[path] = [name for name in lists[0] if name not in there]
    assert len(missing) > 100
    assert not {path: names for path, names in missing.items() if names}


def test_importing_gradmidi_imports_neither_torch_nor_what_opens_anything() -> None:
    said = python(
        "import sys, gradmidi\n"
        "heavy = {'torch', 'rtmidi', 'matplotlib', 'soundfile', 'sounddevice', 'pythonosc',"
        " 'typer', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert said == "[]\n"


def test_the_command_line_starts_without_what_only_its_commands_need() -> None:
    said = python(
        "import sys, gradmidi.cli.app\n"
        "heavy = {'numpy', 'rich', 'mido', 'orjson', 'gradmidi.log', 'gradmidi.live.feed'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert said == "[]\n"


def test_without_rtmidi_only_live_midi_is_missing(tmp_path: Path) -> None:
    # As above Python 3.12, where it has no wheels.
    words = [
        "render",
        str(write_log(tmp_path / "a", [[1.0] * 4] * 3)),
        "-o",
        "a.mid",
        "-o",
        "a.wav",
    ]
    code = (
        "import sys; sys.modules['rtmidi'] = sys.modules['rtmidi2'] = None\n"
        "from gradmidi.cli.app import main\n"
        "sys.argv[1:] = {words}\n"
        "main()"
    )
    python(code.format(words=words), cwd=tmp_path)
    assert (tmp_path / "a.wav").stat().st_size > 1000
    done = subprocess.run(
        [sys.executable, "-c", code.format(words=["ports"])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'gradmidi[midi]'" in done.stderr


def test_the_readme_holds_the_two_commands() -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert "pip install '.[demo]' && gradmidi demo" in commands
    assert "pip install '.[test]' && pytest" in commands


def test_every_file_the_readme_points_at_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_every_extra_the_readme_names_is_there() -> None:
    named = set(re.findall(r"\.\[(\w+)\]", README))
    assert named <= set(PROJECT["optional-dependencies"])


def test_every_command_the_readme_names_is_there() -> None:
    named = set(re.findall(r"\bgradmidi ([a-z]+)\b(?! is)", "\n".join(blocks("sh"))))
    assert {"demo", "render", "describe", "presets"} <= named
    for command in named:
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)


def test_a_program_that_checks_its_types_runs_without_torch(tmp_path: Path) -> None:
    program = ROOT / "tests" / "scripts" / "typed.py"
    done = subprocess.run(
        [sys.executable, program, tmp_path], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "fc1",
        "fc2",
        "dead 22",
        "1 fault",
    ]
