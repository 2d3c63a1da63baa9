"""The documentation holds: generated pages are as the code is, links lead to files."""

import re
import runpy
from pathlib import Path

import pytest

import gradmidi
from gradmidi.music.alarms import END, PATTERNS, TICK
from gradmidi.music.preset import names

HOME = Path(__file__).parent.parent
PAGES = [HOME / "README.md", HOME / "CHANGELOG.md", *sorted((HOME / "docs").glob("*.md"))]


def read(name: str) -> str:
    return (HOME / "docs" / name).read_text(encoding="utf-8")


def anchor(title: str) -> str:
    """What a heading is linked by, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def test_the_page_of_presets_is_what_the_code_says():
    written = runpy.run_path(str(HOME / "docs" / "presets.py"))["page"]()
    assert read("presets.md") == written, "run: python docs/presets.py > docs/presets.md"


def test_the_page_of_commands_is_what_the_code_says():
    written = runpy.run_path(str(HOME / "docs" / "commands.py"))["page"]()
    assert read("commands.md") == written, "run: python docs/commands.py > docs/commands.md"


def test_the_page_of_names_has_every_public_name():
    text = read("api.md")
    shown = re.findall(r"^::: gradmidi\.(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(gradmidi.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, part = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if part:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in map(anchor, titles), f"{page.name} links to {link}"


def test_the_readme_links_every_page():
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in PAGES[2:] if f"(docs/{page.name})" not in readme]
    assert missing == []


def test_every_sound_and_preset_is_explained():
    text = read("hearing.md")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert [kind for kind in PATTERNS if kind not in rows and kind not in (END, TICK)] == []
    assert [name for name in names() if f"`{name}`" not in text] == []


def test_every_command_that_is_shown_is_one():
    """What stands in a shell block after `gradmidi` is a command with options it has."""
    from typer.main import get_command

    from gradmidi.cli.app import app

    commands = get_command(app).commands
    shown = 0
    for page in PAGES:
        for block in re.findall(
            r"```(?:sh|crontab)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        ):
            plain = re.sub(r'"[^"\n]*"|#.*', "", block)
            for line in re.findall(r"gradmidi ([a-z]+\b[^|\n]*)", plain):
                # What follows a script is the script's.
                name, *words = re.sub(r"(\.py) .*", r"\1", line).split()
                assert name in commands, f"{page.name}: gradmidi {line}"
                known = {o for p in commands[name].params for o in (*p.opts, *p.secondary_opts)}
                used = {w.split("=")[0] for w in words if re.fullmatch(r"-{1,2}[a-z-]+(=.*)?", w)}
                assert used <= known | {"--help"}, f"{page.name}: gradmidi {line}"
                shown += 1
    assert shown > 20
