"""The page itself: one HTML file that holds its picture, its sound and its text.

What a user wrote (layers, marks, names) reaches the page through a template that escapes it,
or as JSON that is only ever shown as text. The content-security policy lets run the one
script and the one style whose digests it names, and nothing be fetched.
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
from numpy.typing import NDArray

from gradmidi.base.files import WholeFile
from gradmidi.log import ABSENT, Layer
from gradmidi.music.events import Fault
from gradmidi.music.preset import Preset
from gradmidi.music.scale import note_name
from gradmidi.music.voices import Voice
from gradmidi.report import data as pack
from gradmidi.report.curves import Curves, heard
from gradmidi.report.landmarks import landmarks
from gradmidi.report.take import Take
from gradmidi.text.audibility import describe as audible

__all__ = ["Page", "Point"]

SCRIPTS = ("run.js", "synth.js", "player.js", "picture.js", "page.js")
"""In the order they are read: each stands on those before it."""

LEAD_SECONDS = 2.0
"""What went wrong is played from this much before it."""

MOST_ROWS = 500
LOG_LOSS = 20.0
"""Loss is drawn on a log axis where its largest is this many times its least."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the piece that a reader goes to.

    Parameters
    ----------
    text : str
        What is there.
    at : float or None
        Seconds of the piece; None where there is no such place.
    """

    text: str
    at: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What a page shows.

    Parameters
    ----------
    title : str
        The run's name, or the runs'.
    preset : Preset
        How norms became music.
    layers : sequence of Layer
        What the voices are of.
    voices : sequence of Voice
        A lane each.
    takes : sequence of (Take, Curves)
        One for each stretch of the piece and side that a run is played on.
    text : sequence of str
        The text twin, line by line; the first line stands below the title.
    sound : bytes
        The whole piece, as MP3.
    seconds : float
        How long it is.
    departures : sequence of Point, optional
        Where compared runs depart from the first.
    """

    title: str
    preset: Preset
    layers: Sequence[Layer]
    voices: Sequence[Voice]
    takes: Sequence[tuple[Take, Curves]]
    text: Sequence[str]
    sound: bytes
    seconds: float
    departures: Sequence[Point] = field(default=())

    def write(self, path: Path) -> None:
        """Write the file: whole, or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with WholeFile(path) as new:
            new.file.write(self.html().encode("utf-8", "replace"))

    def html(self) -> str:
        """Fill the template."""
        script = "".join(_part(name) for name in SCRIPTS)
        style = _part("page.css")
        runs = list(dict.fromkeys(take.name for take, _ in self.takes))
        scales = self._scales()
        faults = self._faults()
        marks = self._marks()
        loss = self._loss_scale()
        data = _json(self._data(runs, scales, faults, marks, loss))
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
            fault_sounds=any(v < 0 for take, _ in self.takes for v in set(take.notes["voice"])),
            faults_text=_told(faults),
            marks=marks,
            marks_label=f", {_count(len(marks), 'mark')}" if marks else "",
            departures=[self._place(point) for point in self.departures],
            landmarks=self._landmarks(),
            loss_label=self._loss_label() if loss else "",
            picture_text=self._picture_text(len(runs)),
            duration_text=self._clock(self.seconds),
            listening=[f"{self.preset.title}. {self.preset.use}", *audible(self.preset)],
            preset=self.preset.name,
            sound="data:audio/mpeg;base64," + base64.b64encode(self.sound).decode(),
            most_rows=MOST_ROWS,
        )

    # -- numbers for the script ----------------------------------------------------------------

    def _data(
        self,
        runs: Sequence[str],
        scales: Sequence[pack.Scale],
        faults: Sequence[Mapping[str, Any]],
        marks: Sequence[Mapping[str, Any]],
        loss: tuple[float, float, bool] | None,
    ) -> dict[str, Any]:
        synth, spectra = pack.synth_tables(
            self.preset, len(self.voices), [take for take, _ in self.takes]
        )
        return {
            "duration": self.seconds,
            "runs": runs,
            "voices": [
                {
                    "name": voice.name,
                    "layers": [self.layers[i].name for i in voice.layers],
                    "scale": scale,
                }
                for voice, scale in zip(self.voices, scales, strict=True)
            ],
            "takes": [
                self._take(take, curves, scales, loss, index)
                for (take, curves), index in zip(self.takes, spectra, strict=True)
            ],
            "faults": [{k: fault[k] for k in ("at", "voice", "text")} for fault in faults],
            "marks": [{k: mark[k] for k in ("at", "text")} for mark in marks],
            "departures": [{"at": p.at} for p in self.departures if p.at is not None],
            "lossScale": loss,
            "synth": synth,
        }

    def _take(
        self,
        take: Take,
        curves: Curves,
        scales: Sequence[pack.Scale],
        loss: tuple[float, float, bool] | None,
        spectra: NDArray[np.int32],
    ) -> dict[str, Any]:
        slot_ticks = self.preset.time.slot_ticks(len(self.voices))
        binned = not np.array_equal(np.where(curves.high > 0.0, curves.high, ABSENT), curves.low)

        last = float(curves.seconds.max(initial=0.0))

        def coded(norms: np.ndarray) -> str:
            columns = [pack.codes(c, s) for c, s in zip(norms.T, scales, strict=True)]
            return pack.text(np.concatenate(columns))

        return {
            "name": take.name,
            "run": take.run,
            "side": take.side,
            "start": take.start,
            "end": take.end,
            "tickSeconds": self.preset.time.tick_seconds,
            "slotSeconds": slot_ticks * self.preset.time.tick_seconds,
            "slots": pack.text(np.array([s.tick // slot_ticks for s in take.slots], np.int32)),
            "heard": coded(heard(take.slots, curves)),
            "first": pack.text(curves.first),
            "bins": len(curves.step),
            "step": _steps(curves.step),
            "last": last,
            "seconds": pack.text(pack.levels(curves.seconds, 0.0, last)),
            "loss": _losses(curves.loss, loss),
            "high": coded(curves.high),
            "low": coded(curves.low) if binned else None,
            "notes": {
                **{name: pack.text(column) for name, column in take.notes.items()},
                "pitch": pack.text(np.asarray(take.notes["pitch"], np.float32)),
                "spectrum": pack.text(spectra),
            },
            "turns": {name: pack.text(column) for name, column in take.turns.items()},
        }

    def _scales(self) -> list[pack.Scale]:
        return [
            pack.reach(
                *(part[:, voice.index] for _, c in self.takes for part in (c.high, c.low)),
                *(np.array([s.norms[voice.index] for s in take.slots]) for take, _ in self.takes),
            )
            for voice in self.voices
        ]

    def _loss_scale(self) -> tuple[float, float, bool] | None:
        values = np.concatenate([c.loss for _, c in self.takes])
        values = values[np.isfinite(values)]
        if not values.size:
            return None
        low, high = float(values.min()), float(values.max())
        if low > 0.0 and high > LOG_LOSS * low:
            return math.log(low), math.log(high), True
        return low, high, False

    # -- words ---------------------------------------------------------------------------------

    def _faults(self) -> list[dict[str, Any]]:
        whose = {
            self.layers[layer].name: voice.index for voice in self.voices for layer in voice.layers
        }
        several = len({take.name for take, _ in self.takes}) > 1
        found = []
        for take, _ in self.takes:
            for fault in take.faults:
                place = self._place(
                    Point(
                        _fault_text(fault, take.name if several else ""), take.seconds(fault.tick)
                    )
                )
                place |= {
                    "kind": fault.kind,
                    "layer": fault.layer,
                    "voice": whose.get(fault.layer),
                    "run": take.name,
                    "step": fault.step,
                    "value": f"{fault.value:.4g}",
                }
                found.append(place)
        return sorted(found, key=lambda fault: fault["at"])

    def _marks(self) -> list[dict[str, Any]]:
        points = {
            (take.seconds(mark.tick), mark.text) for take, _ in self.takes for mark in take.marks
        }
        return [self._place(Point(text, at)) for at, text in sorted(points)]

    def _landmarks(self) -> list[dict[str, Any]]:
        found = []
        told = set()
        for take, curves in self.takes:
            if take.run in told:
                continue  # The first of several runs is played against each of the others.
            told.add(take.run)
            name = f"{take.name}: " if len(self.takes) > 1 else ""
            for place, text in landmarks(curves, self.voices):
                slot = int(np.searchsorted(curves.first, place, side="right")) - 1
                at = take.seconds(take.slots[slot].tick)
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
        for take, curves in self.takes:
            norms = curves.high[:, voice.index]
            finite = norms[np.isfinite(norms) & (norms >= 0.0)]
            name = f"{take.name}: " if len(self.takes) > 1 else ""
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
        for take, curves in self.takes:
            finite = curves.loss[np.isfinite(curves.loss)]
            if finite.size:
                name = f"{take.name}: " if len(self.takes) > 1 else ""
                lines.append(f"{name}first {finite[0]:.3g}, last {finite[-1]:.3g}")
        return "Loss. " + "; ".join(lines)

    def _picture_text(self, runs: int) -> str:
        take, curves = self.takes[0]
        frames = len(curves.step) / max(1, len(take.slots))
        lines = [
            "A lane a voice: its norm as a line on a log axis, its notes below. Red triangles are "
            "faults; short strokes at the head of a lane are nan or inf, at its foot exact zero. "
            "Click, or press the arrow keys, to go somewhere."
        ]
        if runs > 1:
            lines.append("The first run is on the left and solid, the other on the right, dashed.")
        if frames > 1.5:
            lines.append(
                "Several steps share a slot here: their largest norm sounds; the line shows all."
            )
        return " ".join(lines)

    def _clock(self, seconds: float) -> str:
        if self.seconds < 60.0:
            return f"{seconds:.1f} s"
        whole = math.floor(seconds + 0.05)
        return f"{whole // 60}:{whole % 60:02d}"


def _steps(steps: np.ndarray) -> list[int] | str:
    """Pack step numbers: the first and the distance where all have the same."""
    if len(steps) > 1 and (np.diff(steps) == steps[1] - steps[0]).all():
        return [int(steps[0]), int(steps[1] - steps[0])]
    return pack.text(steps)


def _losses(values: np.ndarray, scale: tuple[float, float, bool] | None) -> str | None:
    if scale is None or not np.isfinite(values).any():
        return None
    low, high, logarithmic = scale
    return pack.text(pack.levels(np.log(values) if logarithmic else values, low, high))


def _fault_text(fault: Fault, run: str) -> str:
    where = fault.layer or "the whole run"
    of = f" of {run}" if run else ""
    return f"{fault.kind} in {where}{of} at step {fault.step}"


def _told(faults: Sequence[Mapping[str, Any]]) -> str:
    if not faults:
        return ""
    kinds: dict[str, int] = {}
    for fault in faults:
        kinds[fault["kind"]] = kinds.get(fault["kind"], 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    first = faults[0]
    return f"{_count(len(faults), 'fault')} ({counts}). The first: {first['text']}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


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
    """Write JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
