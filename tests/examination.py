"""The listening test: seeded real runs are rendered, and a plain listener says what is wrong.

One listener is given the notes of the `.mid` and nothing else of it, another the samples of
the `.wav`. Of each run in which something is wrong one answer is asked for: the gravest fault
named between the step at which it came in and the one by which it must be told. It is right
where the kind and one of the voices named with it are right.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hearing_notes
import hearing_sound
from families import FAMILIES
from hearing import EVERYONE, Named
from seeded import Made, make

from gradmidi._render import render
from gradmidi.detection.kinds import KINDS
from gradmidi.log import End, Frame, Header, RunLog, encode_end, encode_frame, encode_header
from gradmidi.music.preset import Preset, load
from gradmidi.music.score import Score

NOTHING = "nothing"

EARLY = 0.03
"""Seconds by which an ear may be early."""

SETTLES = 0.6
"""Seconds by which the sound of a fault may come later than its step: another may be sounding,
and a graver one goes first."""

Listener = Callable[[Path, Preset, float], list[Named]]


@dataclass(frozen=True)
class Piece:
    """A run as it was rendered: what the examiner knows and the listener does not."""

    made: Made
    preset: Preset
    midi: Path
    wave: Path
    begin: float
    slot: float
    voice_of: dict[int, int]


def perform(made: Made, preset: str, folder: Path, *, wave: bool = True) -> Piece:
    """Render a run with a key before it, a slot a step."""
    chosen = load(preset)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.jsonl").open("wb") as file:
        file.write(encode_header(made.header))
        for item in made.items:
            if isinstance(item, Frame):
                file.write(encode_frame(item.step, item.t, item.norms.tolist(), item.extra))
            elif isinstance(item, Header):
                file.write(encode_header(item))
            elif isinstance(item, End):
                file.write(encode_end(item))
    midi, sound = folder / "run.mid", folder / "run.wav"
    render(folder, *((midi, sound) if wave else (midi,)), preset=chosen, length="full", legend=True)
    score = Score(RunLog(folder).header, chosen, legend=True)
    return Piece(
        made,
        chosen,
        hearing_notes.strip(midi, folder / "bare.mid"),
        sound,
        score.composer.start_of(0) * chosen.time.tick_seconds,
        score.slot_seconds,
        {layer: voice.index for voice in score.voices for layer in voice.layers},
    )


def by_notes(piece: Piece) -> list[Named]:
    return hearing_notes.listen(piece.midi, piece.preset, piece.begin)


def by_sound(piece: Piece) -> list[Named]:
    return hearing_sound.listen(piece.wave, piece.preset)


def answer(piece: Piece, named: Sequence[Named]) -> tuple[str, bool]:
    """Ask what was wrong: the kind the listener says, and whether kind and voice are right."""
    truth = piece.made.truth
    assert truth is not None
    first = (truth.step - 1) * piece.slot - EARLY
    last = (truth.step + truth.within) * piece.slot
    told = [each for each in named if first <= each.at <= last]
    told = told or [each for each in named if last < each.at <= last + SETTLES][:1]
    if not told:
        return NOTHING, False
    kind = max((each.kind for each in told), key=lambda kind: KINDS[kind].gravity)
    if kind not in truth.kinds or truth.layers is None:
        return kind, kind in truth.kinds
    allowed = {piece.voice_of.get(layer, EVERYONE) for layer in truth.layers}
    return kind, any(allowed & set(each.voices) for each in told if each.kind in truth.kinds)


def false_alarms(piece: Piece, named: Sequence[Named]) -> list[Named]:
    """What was named while nothing was wrong."""
    truth = piece.made.truth
    if truth is None:
        return list(named)
    return [each for each in named if each.at < (truth.step - 1) * piece.slot - EARLY]


@dataclass
class Marks:
    """The results of one listener."""

    title: str
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    healthy_steps: int = 0
    false: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, piece: Piece, named: Sequence[Named]) -> None:
        made = piece.made
        name = f"{made.family}, {made.fault}, seed {made.seed}"
        self.healthy_steps += len(made.frames) if made.truth is None else made.truth.step - 1
        self.false += [
            f"{name}: {each.kind} of voice {each.voices} after {each.at:.1f} s"
            for each in false_alarms(piece, named)
        ]
        if made.truth is None:
            self.said["nothing wrong", named[0].kind if named else NOTHING] += 1
            return
        kind, right = answer(piece, named)
        self.asked[made.fault] += 1
        self.said[made.fault, kind] += 1
        self.right[made.fault] += right
        if not right:
            self.wrong.append(f"{name}: {kind}, of {[(n.kind, n.voices) for n in named[:4]]}")

    @property
    def share(self) -> float:
        """Of the runs with a fault, those whose fault and voice were named."""
        return self.right.total() / max(1, self.asked.total())

    def lines(self) -> Iterator[str]:
        """Write the confusion table: a row for what was done, a column for what was named."""
        columns = [kind for kind in (NOTHING, *KINDS) if any(k == kind for _, k in self.said)]
        rows = [*(["nothing wrong"] if self.healthy_steps else []), *self.asked]
        width = max(map(len, rows), default=0) + 1
        yield f"{self.title}: {self.right.total()} of {self.asked.total()} faults and voices named"
        yield f"{'':{width}}" + "".join(f"{column:>11}" for column in columns) + f"{'right':>12}"
        for row in rows:
            cells = "".join(f"{self.said[row, column] or '.':>11}" for column in columns)
            right = f"{self.right[row]} of {self.asked[row]}" if row in self.asked else ""
            yield f"{row:{width}}{cells}{right:>12}"
        yield f"false alarms: {len(self.false)} in {self.healthy_steps} healthy steps"


def examine(
    runs: Iterable[Made],
    listeners: dict[str, tuple[str, Callable[[Piece], list[Named]]]],
    folder: Path,
) -> dict[str, Marks]:
    """Let listeners hear runs; each is a preset and what it is given of the piece."""
    marks = {title: Marks(title) for title in listeners}
    presets = {preset for preset, _ in listeners.values()}
    for index, made in enumerate(runs):
        for preset in presets:
            wave = any(p == preset and hears is by_sound for p, hears in listeners.values())
            piece = perform(made, preset, folder / f"{index}-{preset}", wave=wave)
            for title, (own, hears) in listeners.items():
                if own == preset:
                    marks[title].add(piece, hears(piece))
            piece.wave.unlink(missing_ok=True)
    return marks


def runs_of(families: Iterable[str], seeds: Iterable[int]) -> Iterator[Made]:
    """Train the seeded runs, one after another."""
    for family in families:
        for seed in seeds:
            for fault in FAMILIES[family].faults:
                yield make(family, fault, seed)
