"""Runs compared: on one clock, left and right, by the same preset, gain and reference.

With more than two, the first stays on the left and the others take turns on the right.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmidi.comparison.departure import RULE, Departure, departure
from gradmidi.comparison.duet import Duet
from gradmidi.comparison.match import CLOCKS, enter
from gradmidi.comparison.plan import Plan, Side, lay_out, perform
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import Mark
from gradmidi.music.preset import Preset, load
from gradmidi.report.report import check_length
from gradmidi.sound.recording import Recording
from gradmidi.text.describe import describe

__all__ = ["ENDINGS", "Comparison", "compare"]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
PICTURES = (".png", ".svg")
ENDINGS = (*SOUNDS, ".html", *PICTURES)
"""What a comparison can be written as."""

COMMON = {"step": "step", "examples": "number of examples", "time": "time"}

Pair = tuple[Side, Side]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing runs.

    Parameters
    ----------
    paths : tuple of Path
        The files that were written.
    lines : tuple of str
        Who is heard when, which layers had no match, and last, where each run departs from the
        first, or that they had nothing in common to compare: one line each, that makes sense on
        its own.
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
    """Write two or more runs side by side, as sound, page or picture.

    Layers are matched by name; those that not every run has are left out, and told.

    Parameters
    ----------
    runs : sequence of RunLog or str or Path
        The first is the one that the others are compared with.
    *paths : str or Path
        Where to; the ending says what: ``.wav .flac .ogg .mp3 .html .png .svg``.
    by : {"step", "examples", "time"}, default "step"
        What the runs are laid side by side by.
    preset : str or Preset, default "pentatonic"
        How norms become music, the same for all.
    length : float or "full", optional
        Seconds to fit the whole to; by default it is fitted to three minutes if longer.
    reference : RunLog or str or Path, optional
        The run whose first norms are at home; by default the first of `runs`.

    Returns
    -------
    Comparison

    Raises
    ------
    RunLogError, PresetError
        If a run or the preset cannot be read, or a run holds nothing that the clock counts.
    GradmidiError
        If there are fewer than two runs, no layer has the same name in all of them, nothing
        writes such an ending, a page would be too long, or a file cannot be written.

    Examples
    --------
    >>> import gradmidi
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
        raise GradmidiError(f"{len(runs)} run given; a comparison needs two or more")
    if by not in CLOCKS:
        raise GradmidiError(f"by={by!r}; runs are compared by: {', '.join(CLOCKS)}")
    entries = enter([*runs, *([] if reference is None else [reference])], by)
    plan = lay_out(entries[: len(runs)], entries[len(runs) :], load(preset), length)
    for path in targets:
        if path.suffix.lower() == ".html":
            check_length(path, plan.seconds)
    try:
        return Comparison(targets, tuple(_write(plan, targets, by)))
    except OSError as error:
        if isinstance(error, GradmidiError):
            raise
        where = error.filename or ", ".join(map(str, targets))
        raise GradmidiError(f"{where} could not be written: {error.strerror or error}") from error


def _write(plan: Plan, targets: Sequence[Path], by: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        recordings = []
        pages = [path for path in targets if path.suffix.lower() == ".html"]
        heard = [path for path in targets if path.suffix.lower() in SOUNDS]
        if pages:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gradmidi-"))
            heard.append(Path(folder) / "sound.wav")
        for path in heard:
            recordings.append(Recording(path, 2, samples=plan.preset.sound.format))
            stack.callback(_unless_whole, recordings[-1])
        duet = Duet(recordings, plan.preset, len(plan.voices))
        pairs = [perform(plan, number, duet) for number in range(2, len(plan.entries) + 1)]
        found = [
            departure(left.slots.filled, right.slots.filled, plan.voices) for left, right in pairs
        ]
        for path in targets:
            if path.suffix.lower() in PICTURES:
                from gradmidi.comparison.picture import draw

                draw(path, plan, pairs, found, by)
        for recording in recordings:
            recording.close()
        lines = list(_lines(plan, pairs, found, by))
        for path in pages:
            _page(path, plan, pairs, found, lines, heard[-1], duet.seconds)
    yield from lines


def _unless_whole(recording: Recording) -> None:
    if not recording.closed:
        recording.abort()


# -- words ---------------------------------------------------------------------------------


def _lines(
    plan: Plan, pairs: Sequence[Pair], found: Sequence[Departure | None], by: str
) -> Iterator[str]:
    for number, (left, right) in enumerate(pairs, 2):
        yield (
            f"from {_clock(left.played.start)} on, after {number} pips on the right: "
            f"{left.entry.name} left, {right.entry.name} right, by {by}"
        )
    for entry in plan.entries:
        if entry.left_out:
            names = ", ".join(entry.left_out)
            yield f"not heard, for not every run has them: of {entry.name} {names}"
    for pair, departed in zip(pairs, found, strict=True):
        yield _departs(plan, *pair, departed, by)


def _departs(plan: Plan, left: Side, right: Side, found: Departure | None, by: str) -> str:
    one, other = left.entry, right.entry
    if {slot.index for slot in left.slots.filled}.isdisjoint(s.index for s in right.slots.filled):
        return f"{other.name} and {one.name} have no {COMMON[by]} in common: they were not compared"
    ended = ""
    if right.slots.filled[-1].index < left.slots.filled[-1].index:
        ended = f"; {other.name} ends at step {other.last_step}"
    if found is None:
        return f"{other.name} does not depart from {one.name}{ended}"
    return (
        f"{other.name} departs from {one.name} at step {found.step}, "
        f"{_clock(_at(plan, right, found))} into the piece: {', '.join(found.told)}{ended}"
    )


def _at(plan: Plan, side: Side, found: Departure) -> float:
    return side.played.start + found.index * plan.slot_seconds


def _clock(seconds: float) -> str:
    if seconds < 60.0:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


# -- the page ------------------------------------------------------------------------------


def _page(
    path: Path,
    plan: Plan,
    pairs: Sequence[Pair],
    found: Sequence[Departure | None],
    lines: Sequence[str],
    wav: Path,
    seconds: float,
) -> None:
    from gradmidi.report.curves import trace
    from gradmidi.report.page import Page, Point
    from gradmidi.report.report import mp3

    played = []
    for left, right in pairs:
        if len(pairs) > 1:
            # Where its announcement begins, so that no mark of a run stands in its place.
            name = f"{left.entry.name} left, {right.entry.name} right"
            left.played.send([Mark(-left.lead, name)])
        for side in (left, right):
            frames, steps = side.entry.frames(), side.entry.log.steps
            played.append((side.played, trace(frames, side.played.slots, plan.voices, steps)))
    names = [entry.name for entry in plan.entries]
    limits = plan.preset.faults
    told = [
        f"{entry.name}: {line}" for entry in plan.entries for line in describe(entry.log, limits)
    ]
    Page(
        f"{', '.join(names[:-1])} and {names[-1]}",
        plan.preset,
        plan.entries[0].header.layers,
        plan.voices,
        played,
        (f"{len(names)} runs compared", *lines, RULE, *told),
        mp3(wav, seconds),
        seconds,
        tuple(
            Point(line, None if departed is None else _at(plan, right, departed))
            for line, departed, (_, right) in zip(lines[-len(pairs) :], found, pairs, strict=True)
        ),
    ).write(path)
