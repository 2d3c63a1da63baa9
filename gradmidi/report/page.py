"""The page of one or more runs: an HTML file with their picture, sound and text.

Users' texts (layers, marks, names) are escaped by the template, or are in JSON and shown as text
only. The content-security policy allows only the script and the style with the given digests, and
no network requests.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from gradmidi.base.files import WholeFile
from gradmidi.detection.history import Fault
from gradmidi.log import Layer
from gradmidi.music.pitch import note_name
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.report.curves import Curves, notable
from gradmidi.report.data import Places, Played, data_of, heat_of, loss_scale
from gradmidi.report.heatmap import INF, NONE, ZERO_CODE, HeatMap
from gradmidi.report.html import colours, part, plain_json, policy, template
from gradmidi.report.look import DASHES
from gradmidi.report.played import PlayedRun
from gradmidi.text.audibility import describe as audible
from gradmidi.text.describe import fault_line
from gradmidi.text.faults import broke, short, verdict
from gradmidi.text.summary import Summary
from gradmidi.text.words import count, number

__all__ = ["Page", "Point"]

SCRIPTS = ("run.js", "synth.js", "player.js", "picture.js", "lanes.js", "page.js", "pointer.js")
"""Parts of the script in their order; each uses the parts before it."""

LEAD_SECONDS = 2.0
"""Playing a fault starts this many seconds before it."""

SHOWN_FAULTS, MOST_FAULTS = 8, 500
"""Faults that are listed at once, and behind a button."""

SIZES = ((4, "few"), (24, "some"), (100, "many"))
"""The height of the map, by its number of layers; of more layers ``most``."""

COLUMNS = (
    ("Layer", "text"),
    ("Parameters", "number"),
    ("First", "number"),
    ("Median", "number"),
    ("Last", "number"),
    ("Largest", "number"),
    ("At step", "number"),
)
"""Columns of the table of numbers."""


@dataclass(frozen=True, slots=True)
class Point:
    """A line of text with a link into the piece; `at` is in seconds, or None without a link."""

    text: str
    at: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The contents of a page.

    `played` has one entry for each part of the piece and each side that plays a run; `summaries`
    has one for each run. The first line of `text` is below the title. `sound` is the whole piece as
    MP3, and `seconds` its length. `departures` are the places at which compared runs depart from
    the first. `clock` is the axis of the picture; if it is not the step, `places` has the place of
    every bin of every part. `values` are the logged values that have a voice.
    """

    title: str
    preset: Preset
    layers: Sequence[Layer]
    voices: Sequence[Voice]
    played: Played
    summaries: Sequence[Summary]
    text: Sequence[str]
    sound: bytes
    seconds: float
    heat: HeatMap | None = None
    departures: Sequence[Point] = field(default=())
    clock: str = "step"
    places: Places = field(default=())
    values: Sequence[str] = field(default=())

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with WholeFile(path) as new:
            new.file.write(self.html().encode("utf-8", "replace"))

    def html(self) -> str:
        """Return the page as HTML."""
        script = "".join(part(name) for name in SCRIPTS)
        style = colours() + part("page.css")
        faults, marks = self._faults(), self._marks()
        data = plain_json(self._script_data(faults, marks))
        several = len(self.runs) > 1
        return template().render(
            policy=policy(script, style),
            version=version("gradmidi"),
            css=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own files
            data=Markup(data),  # noqa: S704 - `_json` escapes it
            title=self.title,
            verdicts=self._verdicts(faults),
            summary=self.text[0] if self.text else "",
            text=self.text[1:],
            runs=self.runs,
            voices=[self._voice(voice, faults) for voice in self.voices],
            values=self.values,
            faults=faults,
            shown_faults=SHOWN_FAULTS,
            most_faults=MOST_FAULTS,
            fault_sounds=any(v < 0 for run, _ in self.played for v in set(run.notes["voice"])),
            faults_text=_count_line(faults),
            marks=marks,
            departures=sorted(
                (self._place(point) for point in self.departures), key=lambda p: p["at"] is None
            ),
            notable=self._notable(),
            strips=self._strip_labels(),
            losses=self._losses_label(),
            heat=self._heat_texts(),
            signs_label=f"{count(len(faults), 'fault')}, {count(len(marks), 'mark')}",
            columns=[("Run", "text"), *COLUMNS] if several else COLUMNS,
            numbers=[
                [*([_cell(run)] if several else []), *row]
                for run, summary in zip(self.runs, self.summaries, strict=True)
                for row in _numbers(summary)
            ],
            picture_text=self._picture_text(),
            duration_text=self._clock(self.seconds),
            listening=[f"{self.preset.title}. {self.preset.use}", *audible(self.preset)],
            preset=self.preset.name,
            sound="data:audio/mpeg;base64," + base64.b64encode(self.sound).decode(),
        )

    @property
    def runs(self) -> list[str]:
        """The names of the runs, each once."""
        return list(dict.fromkeys(run.name for run, _ in self.played))

    @property
    def _once(self) -> list[tuple[PlayedRun, Curves]]:
        """Each run once: the first of several is played against each of the others."""
        return list({run.run: (run, curves) for run, curves in self.played[::-1]}.values())[::-1]

    def _script_data(
        self, faults: Sequence[Mapping[str, Any]], marks: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        keys = ("at", "step", "run", "voices", "rows", "text", "short", "logged")
        return {
            "title": self.title,
            "duration": self.seconds,
            "runs": self.runs,
            "clock": self.clock,
            "dashes": DASHES,
            "faults": [{key: fault[key] for key in keys} for fault in faults],
            "marks": [{key: mark[key] for key in ("at", "text")} for mark in marks],
            "departures": [{"at": p.at} for p in self.departures if p.at is not None],
            "heat": None if self.heat is None else heat_of(self.heat),
            **data_of(
                self.preset,
                self.layers,
                self.voices,
                self.played,
                self.places,
                len(self.values),
            ),
        }

    # -- words ---------------------------------------------------------------------------------

    def _faults(self) -> list[dict[str, Any]]:
        """Return every fault once, in the order in which they are heard."""
        whose = {
            self.layers[layer].name: voice.index for voice in self.voices for layer in voice.layers
        }
        found = []
        for index, summary in enumerate(self.summaries):
            part = next(run for run, _ in self.played if run.run == index)
            first = broke(summary.faults)
            for fault in summary.faults:
                name = f"{part.name}, " if len(self.summaries) > 1 else ""
                at = _seconds_of(part, fault.steps[0])
                found.append(
                    {
                        **self._place(Point(name + fault_line(fault), at)),
                        "fault": fault,
                        "breaks": fault is first,
                        "kind": fault.kind,
                        "voices": sorted({whose[n] for n in fault.layers if n in whose}),
                        "rows": [] if self.heat is None else self.heat.rows(fault),
                        "short": short(fault),
                        "logged": fault.logged,
                        "run": index,
                        "step": fault.steps[0],
                    }
                )
        return sorted(found, key=lambda fault: fault["at"])

    def _verdicts(self, faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for name, summary in zip(self.runs, self.summaries, strict=True):
            first: Fault | None = broke(summary.faults)
            wrong = first or (summary.faults[0] if summary.faults else None)
            at = [place for place, each in enumerate(faults) if each["fault"] is wrong]
            found.append(
                {
                    "run": name,
                    "text": verdict(summary.faults),
                    "kind": "broke" if first else "other" if wrong else "fine",
                    "fault": at[0] if at else None,
                }
            )
        return found

    def _marks(self) -> list[dict[str, Any]]:
        points = {
            (run.seconds(mark.tick), mark.text) for run, _ in self.played for mark in run.marks
        }
        return [self._place(Point(text, at)) for at, text in sorted(points)]

    def _notable(self) -> list[dict[str, Any]]:
        found = []
        for run, curves in self._once:
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

    def _voice(self, voice: Voice, faults: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        home = ""
        if self.preset.pitch.law == "log":
            home = f"at home on {note_name(self.preset.home_notes(len(self.voices))[voice.index])}"
        lines = []
        for run, curves in self._once:
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
        wrong = [fault["voices"] for fault in faults if fault["breaks"]]
        wrong += [fault["voices"] for fault in faults]
        return {
            "name": voice.name,
            "layers": [self.layers[i].name for i in voice.layers],
            "place": home or f"voice {voice.index + 1}",
            "label": f"Norm of {voice.name}, and its notes below. " + "; ".join(lines),
            "open": self.heat is None or voice.index == next(filter(None, wrong), [0])[0],
        }

    def _strip_labels(self) -> list[str]:
        found = []
        for strip in () if self.heat is None else self.heat.strips:
            low, high = strip.ends
            text = f"{strip.name}: smallest {number(low, 3)}, largest {number(high, 3)}"
            losses = self.summaries[0].losses
            if strip.name == "loss" and losses:
                text += f", first {number(losses[0], 3)}, last {number(losses[-1], 3)}"
            found.append(text)
        return found

    def _losses_label(self) -> str:
        """Return what the curves of several runs' losses say; they stand in place of strips."""
        if self.heat is not None or loss_scale(self.played) is None:
            return ""
        told = [
            f"{name} first {number(summary.losses[0], 3)}, last {number(summary.losses[-1], 3)}"
            for name, summary in zip(self.runs, self.summaries, strict=True)
            if summary.losses
        ]
        return f"Loss of each run: {'; '.join(told)}"

    def _heat_texts(self) -> dict[str, Any] | None:
        heat = self.heat
        if heat is None or not heat.layers:
            return None
        factor = 2**heat.limit
        special = [
            (name, kind)
            for name, kind, found in (
                ("exactly zero", "zero", heat.codes == ZERO_CODE),
                ("nan or inf", "nan", heat.codes >= INF),
                ("no gradient", "none", heat.codes == NONE),
            )
            if found.any()
        ]
        rows = len(heat.layers)
        return {
            "size": next((size for most, size in SIZES if rows <= most), "most"),
            "label": f"Heat map of {count(rows, 'layer')} and {count(heat.last, 'step')}. "
            f"{verdict(heat.faults)}. The numbers are in the table below.",
            "factors": f"1/{factor} to {factor} × the layer's first norm",
            "special": special,
        }

    def _picture_text(self) -> str:
        if self.heat is None:
            return (
                "Each row is one voice: the norms of all runs on one axis, their notes below. "
                "Triangles at the top mark faults, and norms that are cut off because one run "
                "explodes."
            )
        if not self.layers:
            return "Each row is a logged value. Click to move there."
        text = (
            "Each row is a layer, each column a step; orange is above the layer's first norm, blue "
            "below. Triangles mark where faults begin. Click to move there; Ctrl and the wheel, or "
            "two fingers, zoom."
        )
        if self.heat.width > 1:
            text += f" A column has {self.heat.width} steps and shows the most extreme of them."
        return text

    def _clock(self, seconds: float) -> str:
        if self.seconds < 60.0:
            return f"{seconds:.1f} s"
        whole = math.floor(seconds + 0.05)
        return f"{whole // 60}:{whole % 60:02d}"


def _seconds_of(run: PlayedRun, step: int) -> float:
    """Return when a step is heard, in seconds of the piece."""
    slots = run.slots
    at = int(np.searchsorted([slot.step for slot in slots], step))
    return run.seconds(slots[min(at, len(slots) - 1)].tick)


def _numbers(summary: Summary) -> list[list[dict[str, Any]]]:
    """Return the rows of a run's table."""
    return [
        [
            _cell(layer.name or "model"),
            _cell(f"{layer.size:,}" if layer.size else "", layer.size or math.nan),
            *(
                _cell("" if math.isnan(value) else number(value), value)
                for value in (layer.first, layer.median, layer.last, layer.largest)
            ),
            _cell(f"{layer.largest_step:,}", layer.largest_step or math.nan),
        ]
        for layer in summary.layers
    ]


def _cell(text: str, value: float | None = None) -> dict[str, Any]:
    return {"text": text, "value": value}


def _count_line(faults: Sequence[Mapping[str, Any]]) -> str:
    kinds: dict[str, int] = {}
    for fault in faults:
        kinds[fault["kind"]] = kinds.get(fault["kind"], 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{count(len(faults), 'fault')} ({counts})"
