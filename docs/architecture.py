"""Measure the structure of the package and draw it: ``python docs/architecture.py``.

Prints the figures (modules, lines of code, rooms, floors, arrows) and a Mermaid diagram of the
rooms, both read from the imports. With ``--check`` it only lists what breaks the order; with
``--write`` it puts figures and diagram into ``docs/architecture.md``.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "gradmidi"
PAGE = Path(__file__).with_name("architecture.md")
BEGIN = "<!-- written by: python docs/architecture.py --write -->"
END = "<!-- end -->"

ORDER = (
    "errors",
    "base",
    "log",
    "capture",
    "detection",
    "midi",
    "music",
    "sound",
    "text",
    "live",
    "sources",
    "report",
    "sinks",
    "options",
    "listener",
    "_render",
    "run",
    "comparison",
    "integrations",
    "demo",
    "player",
    "cli",
    "__main__",
    "__init__",
)
"""Rooms and top-level modules, lowest first; each imports only rooms before it."""


@dataclass(frozen=True)
class Import:
    """One import of a module of the package by another.

    Parameters
    ----------
    importer, imported : str
        Qualified names without ``gradmidi.``; ``__init__`` is the package itself.
    """

    importer: str
    imported: str

    @property
    def rooms(self) -> tuple[str, str]:
        """The rooms of both modules."""
        return room_of(self.importer), room_of(self.imported)


def room_of(module: str) -> str:
    """Return a module's room: its folder, or its own name at the top level."""
    return module.split(".")[0]


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Find every module of the package by its name without ``gradmidi.``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def imports(package: Path = PACKAGE) -> list[Import]:
    """Read every import within the package, also those inside functions and for typing."""
    known = modules(package)
    return [
        Import(name, target)
        for name, path in known.items()
        for target in sorted(set(_targets(path, known)))
        if target != name
    ]


def _targets(path: Path, known: Iterable[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("gradmidi."):
                    yield alias.name.removeprefix("gradmidi.")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradmidi"):
            base = (node.module or "").removeprefix("gradmidi").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                yield inner if inner in known else base or "__init__"


def upward(arrows: Iterable[Import]) -> list[Import]:
    """Return the imports that break `ORDER`.

    The package's own ``__init__`` imports from anywhere, and nothing imports it.
    """
    height = {room: index for index, room in enumerate(ORDER)}
    return [
        arrow
        for arrow in arrows
        if arrow.rooms[0] != arrow.rooms[1] and height[arrow.rooms[1]] >= height[arrow.rooms[0]]
    ]


def circles(arrows: Iterable[Import]) -> list[str]:
    """Return the modules that import each other in a circle, sorted."""
    below: dict[str, set[str]] = {}
    for arrow in arrows:
        below.setdefault(arrow.importer, set()).add(arrow.imported)

    def reaches(start: str) -> bool:
        seen, open_ones = set(), list(below.get(start, ()))
        while open_ones:
            name = open_ones.pop()
            if name == start:
                return True
            if name not in seen:
                seen.add(name)
                open_ones.extend(below.get(name, ()))
        return False

    return sorted(name for name in below if reaches(name))


def floors(arrows: Iterable[Import]) -> int:
    """Return the number of floors: the length of the longest chain of imports between rooms."""
    below: dict[str, set[str]] = {}
    for arrow in arrows:
        importer, imported = arrow.rooms
        if importer != imported:
            below.setdefault(importer, set()).add(imported)
    height: dict[str, int] = {}
    for room in ORDER:
        height[room] = 1 + max((height.get(other, 0) for other in below.get(room, ())), default=0)
    return max(height.values())


def code_lines(path: Path) -> int:
    """Count a module's lines of code: without blank lines, comments and docstrings."""
    source = path.read_text(encoding="utf-8")
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", ())
        for child in body if isinstance(body, list) else ():
            if (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
                and isinstance(child.value.value, str)
            ):
                texts.update(range(child.lineno, (child.end_lineno or child.lineno) + 1))
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - texts)


def figures(package: Path = PACKAGE) -> dict[str, int]:
    """Return the figures of the structure, by name."""
    known = modules(package)
    arrows = imports(package)
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in known.items()}
    return {
        "modules": len(known),
        "modules at the top level": sum(path.parent == package for path in known.values()),
        "lines of code": sum(map(code_lines, known.values())),
        "longest module (all lines)": max(lines.values()),
        "rooms": len({room_of(name) for name, path in known.items() if path.parent != package}),
        "floors": floors(arrows),
        "arrows between rooms": len({a.rooms for a in arrows if a.rooms[0] != a.rooms[1]}),
        "imports against the order": len(upward(arrows)),
        "modules in a circle": len(circles(arrows)),
    }


def diagram(package: Path = PACKAGE) -> str:
    """Return the rooms and their imports as a Mermaid flowchart, without implied arrows."""
    below: dict[str, set[str]] = {}
    for arrow in imports(package):
        importer, imported = arrow.rooms
        if importer not in (imported, "__init__", "__main__") and imported != "errors":
            below.setdefault(importer, set()).add(imported)

    def through(room: str) -> set[str]:
        found: set[str] = set()
        for other in below.get(room, ()):
            found |= {other} | through(other)
        return found

    lines = ["flowchart TD"]
    for room in reversed(ORDER):
        direct = below.get(room, set())
        implied = set().union(*(through(other) for other in direct)) if direct else set()
        lines += [f"    {room} --> {other}" for other in sorted(direct - implied)]
    return "\n".join(lines)


def section(package: Path = PACKAGE) -> str:
    """Return the section of `PAGE` with figures and diagram, in Markdown."""
    rows = "\n".join(f"| {name} | {value:,} |" for name, value in figures(package).items())
    return (
        f"{BEGIN}\n\nThe arrows are imports; those that follow from others are left out.\n\n"
        f"```mermaid\n{diagram(package)}\n```\n\n"
        f"| figure | |\n|---|---|\n{rows}\n\n{END}"
    )


def written(page: str, package: Path = PACKAGE) -> str:
    """Return the page with an updated section."""
    before, _, rest = page.partition(BEGIN)
    return before + section(package) + rest.partition(END)[2]


def main() -> None:
    """Print the figures and the diagram, or do what the options say."""
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    wrong = upward(imports())
    for arrow in wrong:
        print(f"{arrow.importer} imports {arrow.imported}, which is above it")
    if "--check" in sys.argv:
        raise SystemExit(bool(wrong))
    for name, value in figures().items():
        print(f"{name}: {value:,}")
    print()
    print(diagram())


if __name__ == "__main__":
    main()
