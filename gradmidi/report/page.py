"""The page of one or more runs: an HTML file with their picture, sound and text.

Users' texts (layers, marks, names) are escaped by the template, or are in JSON and shown as text
only. The content-security policy allows only the script and the style with the given digests, and
no network requests.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from gradmidi.base.files import WholeFile
from gradmidi.log import Layer
from gradmidi.music.events import Alarm
from gradmidi.music.pitch import note_name
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.report.curves import NO_LOSS, notable
from gradmidi.report.data import Played, data_of
from gradmidi.text.audibility import describe as audible
from gradmidi.text.words import alarm, count, where

__all__ = ["Page", "Point"]

SCRIPTS = ("run.js", "synth.js", "player.js", "picture.js", "page.js")
"""Parts of the script in their order; each uses the parts before it."""

LEAD_SECONDS = 2.0
"""Playing a fault starts this many seconds before it."""

MOST_ROWS = 500
"""Most faults in the table."""


@dataclass(frozen=True, slots=True)
class Point:
    """A line of text with a link into the piece; `at` is in seconds, or None without a link."""

    text: str
    at: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The contents of a page.

    `played` has one entry for each part of the piece and each side that plays a run. The first line
    of `text` is below the title. `sound` is the whole piece as MP3, and `seconds` its length.
    `departures` are the places at which compared runs depart from the first.
    """

    title: str
    preset: Preset
    layers: Sequence[Layer]
    voices: Sequence[Voice]
    played: Played
    text: Sequence[str]
    sound: bytes
    seconds: float
    departures: Sequence[Point] = field(default=())

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with WholeFile(path) as new:
            new.file.write(self.html().encode("utf-8", "replace"))

    def html(self) -> str:
        """Return the page as HTML."""
        script = "".join(_part(name) for name in SCRIPTS)
        style = _part("page.css")
        runs = list(dict.fromkeys(run.name for run, _ in self.played))
        faults = self._faults()
        marks = self._marks()
        data = _json(self._script_data(runs, faults, marks))
        return _template().render(
            policy=_policy(script, style),
            version=version("gradmidi"),
            css=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own files
            data=Markup(data),  # noqa: S704 - `_json` escapes it
            title=self.title,
            summary=self.text[0] if self.text else "",
            text=self.text[1:],
            runs=runs,
            voices=[self._voice(voice) for voice in self.voices],
            faults=faults,
            fault_sounds=any(v < 0 for run, _ in self.played for v in set(run.notes["voice"])),
            faults_text=_count_line(faults),
            marks=marks,
            marks_label=f", {count(len(marks), 'mark')}" if marks else "",
            departures=[self._place(point) for point in self.departures],
            notable=self._notable(),
            loss_label=self._loss_label(),
            picture_text=self._picture_text(len(runs)),
            duration_text=self._clock(self.seconds),
            listening=[f"{self.preset.title}. {self.preset.use}", *audible(self.preset)],
            preset=self.preset.name,
            sound="data:audio/mpeg;base64," + base64.b64encode(self.sound).decode(),
            most_rows=MOST_ROWS,
        )

    def _script_data(
        self,
        runs: Sequence[str],
        faults: Sequence[Mapping[str, Any]],
        marks: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        return {
            "duration": self.seconds,
            "runs": runs,
            "faults": [{key: fault[key] for key in ("at", "voice", "text")} for fault in faults],
            "marks": [{key: mark[key] for key in ("at", "text")} for mark in marks],
            "departures": [{"at": p.at} for p in self.departures if p.at is not None],
            **data_of(self.preset, self.layers, self.voices, self.played),
        }

    # -- words ---------------------------------------------------------------------------------

    def _faults(self) -> list[dict[str, Any]]:
        whose = {
            self.layers[layer].name: voice.index for voice in self.voices for layer in voice.layers
        }
        several = len({run.name for run, _ in self.played}) > 1
        found = []
        for run, _ in self.played:
            for fault in run.faults:
                place = self._place(
                    Point(_fault_text(fault, run.name if several else ""), run.seconds(fault.tick))
                )
                place |= {
                    "kind": fault.kind,
                    "layer": fault.layer,
                    "where": where(fault),
                    "voice": whose.get(fault.layer),
                    "run": run.name,
                    "step": fault.step,
                    "value": f"{fault.value:.4g}",
                }
                found.append(place)
        return sorted(found, key=lambda fault: fault["at"])

    def _marks(self) -> list[dict[str, Any]]:
        points = {
            (run.seconds(mark.tick), mark.text) for run, _ in self.played for mark in run.marks
        }
        return [self._place(Point(text, at)) for at, text in sorted(points)]

    def _notable(self) -> list[dict[str, Any]]:
        found = []
        seen = set()
        for run, curves in self.played:
            if run.run in seen:
                continue  # The first of several runs is played against each of the others.
            seen.add(run.run)
            name = f"{run.name}: " if len(self.played) > 1 else ""
            for place, text in notable(curves, self.voices):
                slot = int(np.searchsorted(curves.first, place, side="right")) - 1
                at = run.seconds(run.slots[slot].tick)
                found.append(self._place(Point(name + text, at)))
        return found

    def _place(self, point: Point) -> dict[str, Any]:
        if point.at is None:
            return {"text": point.text, "at": None}
        start = max(0.0, point.at - LEAD_SECONDS)
        return {
            "text": point.text,
            "at": round(point.at, 4),
            "at_text": self._clock(point.at),
            "start": round(start, 2),
            "start_text": self._clock(start),
        }

    def _voice(self, voice: Voice) -> dict[str, Any]:
        home = ""
        if self.preset.pitch.law == "log":
            home = f"at home on {note_name(self.preset.home_notes(len(self.voices))[voice.index])}"
        lines = []
        for run, curves in self.played:
            norms = curves.high[:, voice.index]
            finite = norms[np.isfinite(norms) & (norms >= 0.0)]
            name = f"{run.name}: " if len(self.played) > 1 else ""
            if finite.size:
                first, last = finite[0], finite[-1]
                lines.append(
                    f"{name}first {first:.3g}, largest {finite.max():.3g}, last {last:.3g}"
                )
            else:
                lines.append(f"{name}no finite norm")
        return {
            "name": voice.name,
            "layers": [self.layers[i].name for i in voice.layers],
            "place": home or f"voice {voice.index + 1}",
            "label": f"Norm of {voice.name}, and its notes below. " + "; ".join(lines),
        }

    def _loss_label(self) -> str:
        lines = []
        for run, curves in self.played:
            logged = curves.loss[curves.loss != NO_LOSS]
            if logged.size:
                name = f"{run.name}: " if len(self.played) > 1 else ""
                lines.append(f"{name}first {logged[0]:.3g}, last {logged[-1]:.3g}")
        return "Loss. " + "; ".join(lines) if lines else ""

    def _picture_text(self, runs: int) -> str:
        run, curves = self.played[0]
        frames = len(curves.step) / max(1, len(run.slots))
        lines = [
            "Each row is one voice: its norm as a line on a log axis, its notes below. Red "
            "triangles are faults. Short marks at the top of a row are nan or inf; at the bottom, "
            "exactly zero. Click in the picture or press the arrow keys to move."
        ]
        if runs > 1:
            lines.append(
                "The first run is on the left and solid; the other is on the right and dashed."
            )
        if frames > 1.5:
            lines.append(
                "Several steps share a slot: their largest norm is heard, the line shows all."
            )
        return " ".join(lines)

    def _clock(self, seconds: float) -> str:
        if self.seconds < 60.0:
            return f"{seconds:.1f} s"
        whole = math.floor(seconds + 0.05)
        return f"{whole // 60}:{whole % 60:02d}"


def _fault_text(fault: Alarm, run: str) -> str:
    return f"{run}, {alarm(fault)}" if run else alarm(fault)


def _count_line(faults: Sequence[Mapping[str, Any]]) -> str:
    if not faults:
        return ""
    kinds: dict[str, int] = {}
    for fault in faults:
        kinds[fault["kind"]] = kinds.get(fault["kind"], 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    first = faults[0]
    return f"{count(len(faults), 'fault')} ({counts}). First, at {first['text']}."


@cache
def _part(name: str) -> str:
    return (files("gradmidi.report") / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_part("page.html.jinja"))


def _policy(script: str, style: str) -> str:
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


def _json(value: object) -> str:
    """Return JSON that cannot end the element it is in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
