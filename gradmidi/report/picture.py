"""Pictures and films of a run: norms on a log axis above, notes as a piano roll below.

A film is the picture with a moving cursor, and the sound.
"""

import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradmidi.base.files import WholeFile
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import FAULT_VOICE, Event
from gradmidi.music.pitch import note_name
from gradmidi.music.score import Score
from gradmidi.report.curves import heard, is_logarithmic, trace
from gradmidi.report.played import PlayedRun
from gradmidi.sound.mixdown import AudioFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Film", "Labels", "Picture", "save_figure"]

FAULT_COLOUR = "#d4351c"
LABELLED_VOICES = 15
LONGEST_LABEL = 40
DPI = 120

LAST_RESORT = "Last Resort High-Efficiency"
"""A font of Matplotlib that has a box for every character."""

FILM_INCHES = (16.0, 9.0)
"""Width and height of a film; at 120 dots an inch it has 1920 by 1080 pixels."""

FRAME_RATE = 30
"""Frames per second of a film."""

CURSOR = "0x1b1f24", 4
"""Colour of a film's cursor, and its width in pixels."""


class Picture:
    """File sink for ``.png`` and ``.svg``: draws the events that it receives.

    Raises GradmidiError if Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise GradmidiError(
                f"{path.name} needs Matplotlib; install it with: pip install 'gradmidi[plot]'"
            ) from error
        self.path = path
        self._voices = score.voices
        self._log = log
        self.played = PlayedRun(log.name, score.preset.time.tick_seconds)

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events until `close` draws them."""
        self.played.send(events)

    def close(self) -> None:
        """Draw the picture, and write the file."""
        save_figure(self.draw(), self.path)

    def abort(self) -> None:
        """Write no file."""

    def draw(self, inches: tuple[float, float] = (12.0, 7.0)) -> "Figure":
        """Draw the events so far on a figure of this width and height, at 120 dots an inch.

        Its first two axes, above and below, share the time axis in seconds of the piece.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=inches, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 4])
        colours = _colours(len(self._voices))
        layers = [fault.layer for fault in self.played.faults]
        labels = Labels([self._log.name, *(voice.name for voice in self._voices), *layers])
        with labels.fonts():
            self._draw_norms(above, colours, labels)
            self._draw_notes(below, colours, labels)
            figure.suptitle(labels(self._log.name, 80), fontsize=13)
        for axes in (above, below):
            axes.grid(visible=True, color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            for spine in ("top", "right"):
                axes.spines[spine].set_visible(False)
            for mark in self.played.marks:
                seconds = self.played.seconds(mark.tick)
                axes.axvline(seconds, color="#777777", linewidth=0.8, linestyle=":")
        return figure

    def _draw_norms(self, axes: "Axes", colours: Sequence[str], labels: "Labels") -> None:
        slots = self.played.slots
        seconds = [self.played.seconds(slot.tick) for slot in slots]
        norms = heard(slots, trace(self._log.frames(), slots, self._voices, self._log.steps))
        norms[~(np.isfinite(norms) & (norms > 0.0))] = math.nan
        for voice, colour in zip(self._voices, colours, strict=True):
            axes.plot(
                seconds,
                norms[:, voice.index],
                color=colour,
                linewidth=1.4,
                marker=".",
                markersize=2,
                label=labels(voice.name),
            )
        axes.set_yscale("log")
        axes.set_ylabel("gradient norm")
        loss = [
            (at, slot.loss)
            for at, slot in zip(seconds, slots, strict=True)
            if slot.loss is not None and math.isfinite(slot.loss)
        ]
        if loss:
            other = axes.twinx()
            values = [value for _, value in loss]
            other.plot(
                [at for at, _ in loss],
                values,
                color="#999999",
                linewidth=1,
                linestyle="--",
                zorder=0,
            )
            if is_logarithmic(min(values), max(values)):
                other.set_yscale("log")
            other.set_ylabel("loss (dashed)", color="#666666")
            other.spines["top"].set_visible(False)
        for fault in self.played.faults:
            axes.axvline(self.played.seconds(fault.tick), color=FAULT_COLOUR, linewidth=0.8)
        if len(self._voices) <= LABELLED_VOICES:
            axes.legend(loc="upper left", bbox_to_anchor=(1.06, 1.0), fontsize=8, frameon=False)

    def _draw_notes(self, axes: "Axes", colours: Sequence[str], labels: "Labels") -> None:
        notes = {name: np.asarray(column) for name, column in self.played.notes.items()}
        starts, ends = (notes[edge] * self.played.tick_seconds for edge in ("start", "end"))
        for voice, colour in zip(self._voices, colours, strict=True):
            own = notes["voice"] == voice.index
            if own.any():
                axes.barh(
                    notes["pitch"][own],
                    (ends - starts)[own],
                    left=starts[own],
                    height=0.8,
                    color=colour,
                    linewidth=0,
                )
        pitches = notes["pitch"][notes["voice"] != FAULT_VOICE]
        if pitches.size:
            low, high = math.floor(pitches.min()), math.ceil(pitches.max())
            ticks = [
                note for note in range(low - low % 12, high + 13, 12) if low - 6 <= note <= high + 6
            ]
            axes.set_yticks(ticks, [note_name(note) for note in ticks])
        faults: dict[int, list[str]] = {}
        for fault in self.played.faults:
            faults.setdefault(fault.tick, []).append(f"{fault.kind} {fault.layer}".strip())
        for tick, names in faults.items():
            seconds = self.played.seconds(tick)
            axes.axvline(seconds, color=FAULT_COLOUR, linewidth=0.8)
            axes.annotate(
                labels(", ".join(dict.fromkeys(names))),
                (seconds, 1.0),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right" if tick else "left",
                fontsize=7,
                color=FAULT_COLOUR,
            )
        axes.set_ylabel("note")
        axes.set_xlabel("seconds of the piece")
        axes.set_xlim(0.0, max(self.played.end, 1e-3))


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as ``.png`` or ``.svg``, with reproducible bytes."""
    import matplotlib

    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with (
        matplotlib.rc_context({"svg.hashsalt": "gradmidi", "svg.fonttype": "none"}),
        WholeFile(path) as new,
    ):
        figure.savefig(new.file, format=kind, metadata=metadata)


class Labels:
    """Prepares users' texts for Matplotlib, and finds fonts that have their characters.

    A character that is in no font or is not printable is shown as a question mark.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        from matplotlib import rcParams
        from matplotlib.font_manager import FontProperties, findfont, fontManager

        self._families: list[str] = list(rcParams["font.family"])
        self._missing = {character for text in texts for character in text if character > "\x7f"}
        self._missing -= _characters(findfont(FontProperties()))
        families = sorted({font.name for font in fontManager.ttflist} - {LAST_RESORT})
        for family in families if self._missing else ():
            found = self._missing & _characters(findfont(FontProperties(family=[family])))
            if found:
                self._families.append(family)
                self._missing -= found

    def fonts(self) -> AbstractContextManager[None]:
        """Return a context in which Matplotlib uses these fonts for new text."""
        from matplotlib import rc_context

        return rc_context({"font.family": self._families})

    def __call__(self, text: str, longest: int = LONGEST_LABEL) -> str:
        """Return a text that can be shown, cut to a number of characters."""
        short = text if len(text) <= longest else text[: longest - 1] + "…"
        shown = (c if c.isprintable() and c not in self._missing else "\ufffd" for c in short)
        return "".join(shown).replace("$", r"\$")


@cache
def _characters(path: str) -> frozenset[str]:
    """Return the characters of a font; the empty set if Matplotlib cannot read it."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def _colours(count: int) -> list[str]:
    import matplotlib
    from matplotlib.colors import to_hex

    palette = matplotlib.colormaps["turbo"]
    return [to_hex(palette(0.08 + 0.84 * i / max(1, count - 1))) for i in range(count)]


class Film:
    """File sink for ``.mp4``: writes the events that it receives as a film.

    The film has 1920 by 1080 pixels, H.264 and AAC, and is encoded by the program ffmpeg. Raises
    GradmidiError if ffmpeg or Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        if shutil.which("ffmpeg") is None:
            raise GradmidiError(
                f"{path.name} needs the program ffmpeg, which is not on the PATH; install it from "
                "your system's packages (apt, brew, winget) or from ffmpeg.org"
            )
        self.path = path
        self._new = WholeFile(path)
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        try:
            self._still = self._folder / "picture.png"
            self._picture = Picture(self._still, score, log)
            self._wav = self._folder / "sound.wav"
            self._sound = AudioFile(self._wav, score.preset, len(score.voices))
        except BaseException:
            self._clean()
            raise

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events for the picture, and render their sound."""
        self._picture.send(events)
        self._sound.send(events)

    def close(self) -> None:
        """Draw the picture, and combine picture, cursor and sound by ffmpeg.

        Raises GradmidiError with ffmpeg's last line if it fails.
        """
        try:
            self._sound.close()
            place = self._draw()
            done = subprocess.run(
                self._command(place), stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if done.returncode:
                said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
                raise GradmidiError(f"{self.path} could not be written by ffmpeg: {said[-1]}")
            self._new.save()
        finally:
            self._clean()

    def abort(self) -> None:
        """Write no file."""
        self._sound.abort()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._new.discard()

    def _draw(self) -> tuple[float, float, int, int]:
        """Draw the picture; return the first and last x, the top and the height of the cursor."""
        figure = self._picture.draw(FILM_INCHES)
        figure.savefig(self._still, format="png")
        above, below = figure.axes[:2]
        (begin, _), (end, _) = below.transData.transform(
            ((0.0, 60.0), (self._picture.played.end, 60.0))
        )
        height = round(figure.bbox.height)
        top = height - round(above.get_window_extent().y1)
        return begin, end, top, height - top - round(below.get_window_extent().y0)

    def _command(self, place: tuple[float, float, int, int]) -> list[str]:
        begin, end, top, height = place
        colour, width = CURSOR
        seconds = max(self._picture.played.end, 1.0 / FRAME_RATE)
        cursor = f"color=c={colour}:s={width}x{height}:r={FRAME_RATE}"
        across = f"{begin - width / 2:.2f}+{end - begin:.2f}*min(1,t/{seconds:.6f})"
        # Decode and convert the picture once, not once for each frame.
        timing = f"setpts=N/{FRAME_RATE}/TB,fps={FRAME_RATE}"
        still = f"[0:v]format=yuv420p,loop=loop=-1:size=1,{timing}[still]"
        return [
            *("ffmpeg", "-nostdin", "-y", "-loglevel", "error"),
            *("-i", str(self._still), "-f", "lavfi", "-i", cursor, "-i", str(self._wav)),
            *("-filter_complex", f"{still};[still][1:v]overlay=x='{across}':y={top}[v]"),
            *("-map", "[v]", "-map", "2:a", "-t", f"{seconds:.6f}"),
            *("-c:v", "libx264", "-preset", "veryfast", "-tune", "stillimage", "-crf", "20"),
            *("-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"),
            *("-f", "mp4", str(self._new.part)),
        ]
