"""Write the page of presets from the code: ``python docs/presets.py > docs/presets.md``."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from gradmidi.music.pitch import SCALES
from gradmidi.music.preset import DOUBLINGS, Preset, load, names
from gradmidi.music.styles import STYLES

HEAD = """\
# Presets: every key

A preset is one TOML file that says how norms become music. Ports and channels are not in it, but
in a [rig](rig.md). Every key except `title` is optional; the defaults are below. An unknown key, a
wrong type or a value out of range is an error that names the file, the key, the value and what is
allowed.

```toml
# mine.toml
title = "Slower, and in D"

[time]
tempo = 80

[pitch]
scale = "D minor pentatonic"
```

```sh
gradmidi render runs/mine -o mine.wav --preset mine.toml
gradmidi presets mine.toml
```

The second command prints every value of the preset and its effect: how much ten percent more, a
doubling and ten times the norm change the pitch, and the range of a voice. `gradmidi presets NAME`
prints the same for a preset that ships with gradmidi.
"""

FOOT = "This page is written by `python docs/presets.py > docs/presets.md`, from the code.\n"


def page() -> str:
    """Yield the lines of the page."""
    return "\n".join((HEAD, *_shipped(), "", *_keys(), FOOT))


def _shipped() -> Iterator[str]:
    yield "## Presets that ship with gradmidi"
    yield ""
    yield "| preset | what it is | keys that differ from the defaults |"
    yield "|---|---|---|"
    for name in names():
        preset = load(name)
        changed = [
            f"`{part.name}.{key.name}`"
            for part, values in _parts(preset)
            for key in dataclasses.fields(values)
            if getattr(values, key.name) != _default(key)
        ]
        yield f"| `{name}` | {preset.title}. {preset.use} | {', '.join(changed)} |"


def _keys() -> Iterator[str]:
    yield "## Keys"
    yield ""
    yield "| key | default | allowed | meaning |"
    yield "|---|---|---|---|"
    yield "| `title` | | text | what the preset is, in one line |"
    yield '| `use` | `""` | text | when to use it, in one line |'
    for part, values in _parts(Preset("", "")):
        yield f"| **`[{part.name}]`** | | | |"
        for key in dataclasses.fields(values):
            cells = (
                f"`{key.name}`",
                f"`{_toml(_default(key))}`",
                _allowed(key),
                key.metadata["doc"],
            )
            yield f"| {' | '.join(cells)} |"
    yield ""
    styles = "; ".join(f"`{name}`: {style.about}" for name, style in STYLES.items())
    yield f"`time.style` is one of: {styles}. Installed packages can add styles."
    yield ""
    scales = ", ".join(f"`{scale}`" for scale in SCALES)
    yield f"`pitch.scale` is a root, as `C`, `F#` or `Bb`, and one of: {scales}; or a root"
    yield "and semitones above it, as `D 0 2 7`. `pitch.tuning` begins at the same root."
    yield (
        "Notes have a letter and an octave: `C4` is MIDI note 60. The homes must leave room for "
        f"{DOUBLINGS} doublings"
    )
    yield "either way within `pitch.range`; otherwise a preset with the law `log` is an error."
    yield ""


def _parts(preset: Preset) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    for part in dataclasses.fields(preset):
        values = getattr(preset, part.name)
        if dataclasses.is_dataclass(values):
            yield part, values


def _default(key: dataclasses.Field[Any]) -> Any:
    made = key.default_factory
    return key.default if made is dataclasses.MISSING else made()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(key: dataclasses.Field[Any]) -> str:
    limits: Mapping[str, Any] = key.metadata
    kind = str(key.type)
    if "choices" in limits:
        allowed = ", ".join(f"`{choice}`" for choice in limits["choices"])
    elif "least" in limits or "most" in limits:
        least, most = limits.get("least", -math.inf), limits.get("most", math.inf)
        whole = "whole numbers, " if "int" in kind else ""
        allowed = f"{whole}{_toml(least)} to {_toml(most)}"
    elif "bool" in kind:
        allowed = "`true`, `false`"
    else:
        allowed = "text or a number" if "float" in kind else "text"
    if "Mapping" in kind:
        return "a table"
    if "tuple" in kind:
        count = f"{limits['length']} of them" if "length" in limits else "any number of them"
        return f"{allowed}; {count}"
    return allowed


if __name__ == "__main__":
    print(page(), end="")
