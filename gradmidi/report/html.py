"""The parts of a page's HTML: template, style, script, content-security policy."""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files

import jinja2
import numpy as np

from gradmidi.report.look import DASHES, HATCH, NOT_FINITE, THEMES, ZERO, hexadecimal, palette

__all__ = ["colours", "part", "plain_json", "policy", "template"]


@cache
def colours() -> str:
    """Return the style's colours, from those of all pictures."""
    rules = []
    for name, theme in THEMES.items():
        keys = ("paper", "ink", "dim", "line", "fault")
        values = {key: getattr(theme, key) for key in keys} | {"hatch": HATCH}
        values |= {f"run{index}": colour for index, colour in enumerate(theme.runs)}
        rule = ":root{" + "".join(f"--{key}:{value};" for key, value in values.items()) + "}"
        rules.append(rule if name == "light" else f"@media (prefers-color-scheme:{name}){{{rule}}}")
    ramp = ",".join(hexadecimal(colour) for colour in palette(np.linspace(-1.0, 1.0, 17)))
    rules.append(f".ramp{{background:linear-gradient(90deg,{ramp})}}")
    rules.append(f".swatch.zero{{background:{ZERO}}}.swatch.nan{{background:{NOT_FINITE}}}")
    rules += [f".key.run{index}{{border-color:var(--run{index})}}" for index in range(len(DASHES))]
    return "".join(rules) + "\n"


@cache
def part(name: str) -> str:
    """Return a file of this room."""
    return (files("gradmidi.report") / name).read_text(encoding="utf-8")


@cache
def template() -> jinja2.Template:
    """Return the template of the page."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(part("page.html.jinja"))


def policy(script: str, style: str) -> str:
    """Return the policy that allows this script and this style only."""
    allowed = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "media-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{what} {which}" for what, which in allowed.items())


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def plain_json(value: object) -> str:
    """Return JSON that cannot end the element it is in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
