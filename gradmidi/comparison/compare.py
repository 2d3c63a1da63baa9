"""Compare runs, and write the comparison as sound, page or picture.

All runs share one clock, preset, gain and reference. The first run is on the left; the others are
on the right, one after another.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradmidi.base.messages import printable
from gradmidi.comparison.pairs import Layout, PairWriter, Side, lay_out, play_pair
from gradmidi.comparison.picture import draw_comparison
from gradmidi.comparison.runs import CLOCKS, RULE, Departure, departure, open_runs
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import Mark
from gradmidi.music.preset import Preset, load
from gradmidi.report.look import Look
from gradmidi.report.report import PageSound, check_length
from gradmidi.sound.recording import Encoder, Recording
from gradmidi.text.describe import fault_line, lines_of
from gradmidi.text.faults import verdict
from gradmidi.text.summary import Summary, summarize
from gradmidi.text.words import clock, count, listed

__all__ = ["ENDINGS", "Comparison", "compare"]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
PICTURES = (".png", ".svg", ".pdf")
ENDINGS = (*SOUNDS, ".html", *PICTURES)
"""Endings of the files that a comparison can be written to."""

MOST_NAMED = 3
"""Voices that are named where a run departs."""

MOST_TOLD = 20
"""Faults of a run that are listed one by one."""

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
        When each run is played, which layers had no match, the faults of each run, and finally
        where each run departs from the first, or that they have nothing in common. Each line makes
        sense on its own.
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
    size: tuple[float, float] | str | None = None,
    dpi: float = 120.0,
    theme: str = "light",
) -> Comparison:
    """Compare two or more runs, and write the comparison as sound, page or picture, or as words.

    Layers are matched by name. Layers that are not in every run are left out and listed in `lines`.
    The voices are those of the first run, including its user's own voices.

    Parameters
    ----------
    runs : sequence of RunLog or str or Path
        Two or more runs; the others are compared with the first.
    *paths : str or Path
        The files to write; the ending gives the format: ``.wav .flac .ogg .mp3 .html .png .svg
        .pdf``. Without any, only the words are returned.
    by : {"step", "examples", "time"}, default "step"
        The clock on which the runs are compared.
    preset : str or Preset, default "pentatonic"
        How norms become music, the same for all.
    length : float or "full", optional
        The longest the piece may be, in seconds; 180 by default. ``"full"`` sets no limit.
    reference : RunLog or str or Path, optional
        The run whose first norms are at home; by default the first of `runs`.
    size, dpi, theme
        Of a picture, as of `gradmidi.render`.

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
    'high departs from low at step 5, 3.0 s into the piece: fc1 is 5.06 times as large'
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
    look = Look(size=size, dpi=dpi, theme=theme)
    opened = open_runs([*runs, *([] if reference is None else [reference])], by)
    layout = lay_out(opened[: len(runs)], opened[len(runs) :], load(preset), length)
    for path in targets:
        if path.suffix.lower() == ".html":
            check_length(path, layout.seconds)
    try:
        return Comparison(targets, tuple(_write(layout, targets, by, look)))
    except OSError as error:
        if isinstance(error, GradmidiError):
            raise
        where = error.filename or ", ".join(map(str, targets))
        raise GradmidiError(f"{where} could not be written: {error.strerror or error}") from error


def _write(layout: Layout, targets: Sequence[Path], by: str, look: Look) -> Iterator[str]:
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
        writer.finish()
        found = [
            departure(left.slots.played, right.slots.played, layout.voices) for left, right in pairs
        ]
        preset = layout.preset
        summaries = [summarize(run.log, preset.faults, preset.values.which) for run in layout.runs]
        for path in targets:
            if path.suffix.lower() in PICTURES:
                sides = [pairs[0][0], *(right for _, right in pairs)]
                draw_comparison(path, layout, sides, summaries, found, by, look)
        for recording in recordings:
            recording.close()
        played = _played(pairs, by) if recordings else []
        departs = [
            _departs(layout, *pair, departed, by, heard=bool(recordings))
            for pair, departed in zip(pairs, found, strict=True)
        ]
        lines = [*played, *_left_out(layout)]
        for path in pages:
            sound = page_sound.data, writer.seconds
            _page(path, layout, pairs, found, [*lines, *departs], summaries, by, sound)
    names = [run.name for run in layout.runs]
    told = [line for pair in zip(names, summaries, strict=True) for line in _faults(*pair)]
    yield from map(printable, (*lines, *told, *departs))


# -- words ---------------------------------------------------------------------------------


def _played(pairs: Sequence[Pair], by: str) -> list[str]:
    return [
        f"from {clock(left.played.start)} on, after {number} pips on the right: "
        f"{left.run.name} left, {right.run.name} right, by {by}"
        for number, (left, right) in enumerate(pairs, 2)
    ]


def _left_out(layout: Layout) -> list[str]:
    return [
        f"not compared, because not every run has them: {listed(run.left_out)} of {run.name}"
        for run in layout.runs
        if run.left_out
    ]


def _faults(name: str, summary: Summary) -> Iterator[str]:
    """Give the verdict on a run, then each of its faults."""
    yield f"{name}: {verdict(summary.faults)}"
    for fault in summary.faults[:MOST_TOLD]:
        yield f"{name}: {fault_line(fault)}"
    if len(summary.faults) > MOST_TOLD:
        yield f"{name}: {count(len(summary.faults) - MOST_TOLD, 'more fault')}"


def _departs(
    layout: Layout, left: Side, right: Side, found: Departure | None, by: str, *, heard: bool
) -> str:
    one, other = left.run, right.run
    if {slot.index for slot in left.slots.played}.isdisjoint(s.index for s in right.slots.played):
        return f"{other.name} and {one.name} have no {COMMON[by]} in common: they were not compared"
    ended = ""
    if right.slots.played[-1].index < left.slots.played[-1].index:
        ended = f"; {other.name} ends at step {other.last_step}"
    if found is None:
        return f"{other.name} does not depart from {one.name}{ended}"
    place = f", {clock(_at(layout, right, found))} into the piece" if heard else ""
    words = ", ".join(found.words[:MOST_NAMED])
    if len(found.words) > MOST_NAMED:
        words += f", and {count(len(found.words) - MOST_NAMED, 'voice')} more"
    return f"{other.name} departs from {one.name} at step {found.step}{place}: {words}{ended}"


def _at(layout: Layout, side: Side, found: Departure) -> float:
    return side.played.start + found.index * layout.slot_seconds


# -- page and picture ----------------------------------------------------------------------


def _page(
    path: Path,
    layout: Layout,
    pairs: Sequence[Pair],
    found: Sequence[Departure | None],
    lines: Sequence[str],
    summaries: Sequence[Summary],
    by: str,
    sound: tuple[bytes, float],
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
        *sound,
        departures=tuple(
            Point(line, None if departed is None else _at(layout, right, departed))
            for line, departed, (_, right) in zip(lines[-len(pairs) :], found, pairs, strict=True)
        ),
        clock=by,
        places=places,
    ).write(path)
