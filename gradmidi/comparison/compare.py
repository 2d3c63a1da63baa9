"""Compare runs, and write the comparison as sound, page or picture.

All runs share one clock, preset, gain and reference. The first run is on the left; the others are
on the right, one after another.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradmidi.comparison.departure import RULE, Departure, departure
from gradmidi.comparison.pairs import Layout, PairWriter, Side, lay_out, play_pair
from gradmidi.comparison.runs import CLOCKS, open_runs
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import Mark
from gradmidi.music.preset import Preset, load
from gradmidi.report.fonts import Labels
from gradmidi.report.picture import save_figure
from gradmidi.report.report import PageSound, check_length
from gradmidi.sound.recording import Encoder, Recording
from gradmidi.text.describe import lines_of
from gradmidi.text.summary import summarize
from gradmidi.text.words import clock, count

__all__ = ["ENDINGS", "Comparison", "compare"]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
PICTURES = (".png", ".svg")
ENDINGS = (*SOUNDS, ".html", *PICTURES)
"""Endings of the files that a comparison can be written to."""

COLOURS = ("#1361c4", "#b34700", "#1a7f37", "#8250df", "#9a6700", "#59636e")
STYLES = ("-", "--", "-.", ":")
FAULT_COLOUR = "#c02617"

UNITS = {"step": "step", "examples": "examples", "time": "seconds"}

COMMON = {"step": "step", "examples": "number of examples", "time": "time"}

Pair = tuple[Side, Side]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing runs.

    Parameters
    ----------
    paths : tuple of Path
        The written files.
    lines : tuple of str
        When each run is played, which layers had no match, and finally where each run departs from
        the first, or that they have nothing in common. Each line makes sense on its own.
    """

    paths: tuple[Path, ...]
    lines: tuple[str, ...]


def compare(
    runs: Sequence[RunLog | str | Path],
    *paths: str | Path,
    by: str = "step",
    preset: str | Preset = "pentatonic",
    length: float | str | None = None,
    reference: RunLog | str | Path | None = None,
) -> Comparison:
    """Compare two or more runs, and write the comparison as sound, page or picture.

    Layers are matched by name. Layers that are not in every run are left out and listed in `lines`.
    The voices are those of the first run, including its user's own voices.

    Parameters
    ----------
    runs : sequence of RunLog or str or Path
        Two or more runs; the others are compared with the first.
    *paths : str or Path
        The files to write; the ending gives the format: ``.wav .flac .ogg .mp3 .html .png .svg``.
    by : {"step", "examples", "time"}, default "step"
        The clock on which the runs are compared.
    preset : str or Preset, default "pentatonic"
        How norms become music, the same for all.
    length : float or "full", optional
        The longest the piece may be, in seconds; 180 by default. ``"full"`` sets no limit.
    reference : RunLog or str or Path, optional
        The run whose first norms are at home; by default the first of `runs`.

    Returns
    -------
    Comparison

    Raises
    ------
    RunLogError, PresetError
        If a run or the preset cannot be read, or a run has no values for the clock.
    GradmidiError
        If there are fewer than two runs, no layer has the same name in all of them, an ending is
        unknown, a page would be too long, or a file cannot be written.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, rate in (("low", 1.0), ("high", 1.5)):
    ...     with gradmidi.record(folder / name, layers=["fc1"], files=()) as ears:
    ...         for step in range(20):
    ...             ears.frame({"fc1": 0.5 * rate**step})
    >>> compare([folder / "low", folder / "high"], folder / "ab.wav").lines[-1]
    'high departs from low at step 5, 2.5 s into the piece: fc1 is 5.06 times as large'
    """
    targets = tuple(Path(path) for path in paths)
    for path in targets:
        if path.suffix.lower() not in ENDINGS:
            raise GradmidiError(
                f"a comparison is not written as {path.suffix or path.name!r}; {path} may end "
                f"in: {' '.join(ENDINGS)}"
            )
    if len(runs) < 2:
        raise GradmidiError(f"{count(len(runs), 'run')} given; a comparison needs two or more")
    if by not in CLOCKS:
        raise GradmidiError(f"by={by!r}; runs are compared by: {', '.join(CLOCKS)}")
    opened = open_runs([*runs, *([] if reference is None else [reference])], by)
    layout = lay_out(opened[: len(runs)], opened[len(runs) :], load(preset), length)
    for path in targets:
        if path.suffix.lower() == ".html":
            check_length(path, layout.seconds)
    try:
        return Comparison(targets, tuple(_write(layout, targets, by)))
    except OSError as error:
        if isinstance(error, GradmidiError):
            raise
        where = error.filename or ", ".join(map(str, targets))
        raise GradmidiError(f"{where} could not be written: {error.strerror or error}") from error


def _write(layout: Layout, targets: Sequence[Path], by: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        recordings: list[Recording | Encoder] = []
        pages = [path for path in targets if path.suffix.lower() == ".html"]
        sounds = [path for path in targets if path.suffix.lower() in SOUNDS]
        for path in sounds:
            recordings.append(Recording(path, 2, samples=layout.preset.sound.format))
            stack.callback(recordings[-1].abort)
        if pages:
            page_sound = PageSound(2, layout.seconds)
            recordings.append(page_sound)
            stack.callback(page_sound.abort)
        writer = PairWriter(recordings, layout.preset, len(layout.voices))
        pairs = [play_pair(layout, number, writer) for number in range(2, len(layout.runs) + 1)]
        found = [
            departure(left.slots.played, right.slots.played, layout.voices) for left, right in pairs
        ]
        for path in targets:
            if path.suffix.lower() in PICTURES:
                _picture(path, layout, pairs, found, by)
        for recording in recordings:
            recording.close()
        lines = list(_lines(layout, pairs, found, by))
        for path in pages:
            _page(path, layout, pairs, found, lines, by, page_sound.data, writer.seconds)
    yield from lines


# -- words ---------------------------------------------------------------------------------


def _lines(
    layout: Layout, pairs: Sequence[Pair], found: Sequence[Departure | None], by: str
) -> Iterator[str]:
    for number, (left, right) in enumerate(pairs, 2):
        yield (
            f"from {clock(left.played.start)} on, after {number} pips on the right: "
            f"{left.run.name} left, {right.run.name} right, by {by}"
        )
    for run in layout.runs:
        if run.left_out:
            names = ", ".join(run.left_out)
            yield f"not played, because not every run has them: {names} of {run.name}"
    for pair, departed in zip(pairs, found, strict=True):
        yield _departs(layout, *pair, departed, by)


def _departs(layout: Layout, left: Side, right: Side, found: Departure | None, by: str) -> str:
    one, other = left.run, right.run
    if {slot.index for slot in left.slots.played}.isdisjoint(s.index for s in right.slots.played):
        return f"{other.name} and {one.name} have no {COMMON[by]} in common: they were not compared"
    ended = ""
    if right.slots.played[-1].index < left.slots.played[-1].index:
        ended = f"; {other.name} ends at step {other.last_step}"
    if found is None:
        return f"{other.name} does not depart from {one.name}{ended}"
    return (
        f"{other.name} departs from {one.name} at step {found.step}, "
        f"{clock(_at(layout, right, found))} into the piece: {', '.join(found.words)}{ended}"
    )


def _at(layout: Layout, side: Side, found: Departure) -> float:
    return side.played.start + found.index * layout.slot_seconds


# -- page and picture ----------------------------------------------------------------------


def _page(
    path: Path,
    layout: Layout,
    pairs: Sequence[Pair],
    found: Sequence[Departure | None],
    lines: Sequence[str],
    by: str,
    sound: bytes,
    seconds: float,
) -> None:
    from gradmidi.report.curves import trace
    from gradmidi.report.page import Page, Point

    played = []
    places = []
    for left, right in pairs:
        if len(pairs) > 1:
            # At the start of the announcement, so that it does not cover a mark of the run.
            name = f"{left.run.name} left, {right.run.name} right"
            left.played.send([Mark(-left.lead, name)])
        for side in (left, right):
            frames, steps = side.run.frames(), side.run.log.steps
            curves = trace(frames, side.played.slots, layout.voices, steps)
            played.append((side.played, curves))
            if by != "step":
                ends = [((slot.index + 1) * layout.width, slot.step) for slot in side.slots.played]
                clock, last = zip(*ends, strict=True)
                places.append(np.interp(curves.step, last, clock))
    names = [run.name for run in layout.runs]
    summaries = [summarize(run.log, layout.preset.faults) for run in layout.runs]
    told = [
        f"{name}: {line}"
        for name, summary in zip(names, summaries, strict=True)
        for line in lines_of(summary)
    ]
    Page(
        f"{', '.join(names[:-1])} and {names[-1]}",
        layout.preset,
        layout.runs[0].header.layers,
        layout.voices,
        played,
        summaries,
        (f"{len(names)} runs compared", *lines, RULE, *told),
        sound,
        seconds,
        departures=tuple(
            Point(line, None if departed is None else _at(layout, right, departed))
            for line, departed, (_, right) in zip(lines[-len(pairs) :], found, pairs, strict=True)
        ),
        clock=by,
        places=places,
    ).write(path)


def _picture(
    path: Path,
    layout: Layout,
    pairs: Sequence[Pair],
    found: Sequence[Departure | None],
    by: str,
) -> None:
    """Draw a row for each voice, a line for each run, and a vertical for each departure.

    Raises GradmidiError if Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GradmidiError(
            f"{path.name} needs Matplotlib; install it with: pip install 'gradmidi[plot]'"
        ) from error
    voices = layout.voices
    figure = Figure(figsize=(12, 1.2 + 1.5 * len(voices)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(voices), 1, sharex=True, squeeze=False)[:, 0]
    start = 1.0 if by == "step" else 0.0
    sides = [pairs[0][0], *(right for _, right in pairs)]
    labels = Labels([*(run.name for run in layout.runs), *(voice.name for voice in voices)])
    with labels.fonts():
        for voice, axes in zip(voices, rows, strict=True):
            for which, side in enumerate(sides):
                places = np.array([slot.index for slot in side.slots.played]) * layout.width + start
                norms = np.array([slot.norms[voice.index] for slot in side.slots.played])
                axes.plot(
                    places,
                    np.where(norms > 0.0, norms, np.nan),
                    color=COLOURS[which % len(COLOURS)],
                    linestyle=STYLES[which % len(STYLES)],
                    linewidth=1.4,
                    marker="." if len(places) < 300 else "",
                    markersize=3,
                    label=labels(side.run.name),
                )
            for departed in found:
                if departed is not None:
                    place = departed.index * layout.width + start
                    axes.axvline(place, color=FAULT_COLOUR, linewidth=0.9)
            if axes.lines[0].axes.dataLim.height > 0.0:
                axes.set_yscale("log")
            axes.set_ylabel(labels(voice.name), rotation=0, ha="right", va="center", fontsize=9)
            axes.grid(visible=True, color="#dddddd", linewidth=0.6)
            for spine in ("top", "right"):
                axes.spines[spine].set_visible(False)
        rows[-1].margins(x=0.01)
        rows[-1].set_xlabel(UNITS[by])
        figure.legend(*rows[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    save_figure(figure, path)
