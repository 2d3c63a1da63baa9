"""Check that the site's search finds every option: ``python docs/search.py SITE``.

It reads the index of a built site, splits text and questions as the search does, and looks for a
section that has all words of an option, and all words of what the option means.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from typer.main import get_command

from gradmidi.cli.app import app
from gradmidi.options import Options

PARAMETERS = ("size", "dpi", "theme", "length", "of", "stems", "soundfont", "step")
"""Parameters of functions that are no fields of `Options`."""


def questions() -> Iterator[tuple[str, str]]:
    """Yield every option of the command line with its meaning, and every parameter."""
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        for parameter in command.params:
            for name in (each for each in parameter.opts if each.startswith("--")):
                yield name, getattr(parameter, "help", None) or ""
    for name in (*(each.name for each in fields(Options)), *PARAMETERS, "ears.mark", "ears.pause"):
        yield name, ""


def main(site: Path) -> int:
    """Print the options that are not found; return how many there are."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    separator = re.compile(index["config"]["separator"])

    def words(text: str) -> set[str]:
        plain = re.sub(r"<[^>]+>", " ", text).replace("&#39;", "'").replace("&quot;", '"')
        return set(separator.split(plain.lower()))

    sections = [words(f"{each['title']} {each['text']}") for each in index["docs"]]
    asked = set(questions())
    missing = [
        name
        for name, meaning in sorted(asked)
        if not any((words(name) | words(meaning)) - {""} <= each for each in sections)
    ]
    told = ", ".join(missing) or "none"
    print(f"{len(asked)} options, {len(sections)} sections; not found: {told}")
    return len(missing)


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))))
