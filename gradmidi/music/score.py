"""Turn a run log into events, live and offline: detect faults, collect slots, compose.

No clock, port, file or randomness is used: the same log and preset give the same events, whether
the items come from a file or from a training run as it happens.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from gradmidi.detection.blocks import BlockWatch
from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import Finding
from gradmidi.errors import RunLogError
from gradmidi.log import End, Frame, Header, Item, Mark, RunLog
from gradmidi.log.blocks import Block
from gradmidi.midi.rig import Rig
from gradmidi.music.alarms import END, seconds_of
from gradmidi.music.composer import Composer
from gradmidi.music.events import Event
from gradmidi.music.preset import Preset, load
from gradmidi.music.slots import Slot, Slots, StepSlots, WallSlots
from gradmidi.music.values import MOST_VALUES
from gradmidi.music.valuevoices import count_updates, fitted, named, value_names
from gradmidi.music.voices import Voice, group

__all__ = [
    "LONGEST_SECONDS",
    "Score",
    "compose",
    "fit",
    "score_of",
    "voices_of",
]

USUAL_UPDATE = 1e-3
"""An update of a thousandth of the weights: common practice for a network that learns well."""

LONGEST_SECONDS = 180.0
"""By default a longer piece is fitted to this length."""


class Score:
    """Turns the items of a run log into events, item by item.

    Parameters
    ----------
    header : Header
        The run's first header.
    preset : Preset
        How norms become music.
    time : {"step", "wall"}, default "step"
        ``"step"``: one slot for every `per_slot` steps. ``"wall"``: slots on a grid of seconds.
    per_slot : int, default 1
        Steps that share a slot; for ``time="wall"``, grid cells that share a slot.
    patterns : mapping of str to str, optional
        The user's own voices: name to a pattern over layer names. By default the header's; if it
        has none, voices are made from the module tree.
    references : sequence of float, optional
        The norm at which each voice is at home.
    legend : bool, default False
        Start with a legend: each voice at home, then one, then three doublings up.
    slots : Slots, optional
        Collects frames into slots, instead of `time`.
    values : sequence of str, default ()
        Names of logged values that have a voice, besides those that the preset names without a
        wildcard. Others that it allows get a voice when they appear.
    of : {"gradients", "updates"}, default "gradients"
        What the voices of layers play. Updates are at home at `USUAL_UPDATE`; a step in which they
        were not measured has no slot.
    rig : Rig, optional
        Its controllers are played besides the notes.

    Attributes
    ----------
    voices : tuple of Voice
        Which layers sound as one.
    per_slot : int
        Steps that share a slot; for ``time="wall"``, grid cells that share a slot.
    slot_seconds : float
        Length of a slot in seconds.
    wall : WallSlots or None
        The grid of seconds, for ``time="wall"``.
    rig : Rig or None
        As given: channels and controllers of a MIDI file.
    """

    def __init__(
        self,
        header: Header,
        preset: Preset,
        *,
        time: str = "step",
        per_slot: int = 1,
        patterns: Mapping[str, str] | None = None,
        references: Sequence[float] | None = None,
        legend: bool = False,
        slots: Slots | None = None,
        values: Sequence[str] = (),
        of: str = "gradients",
        rig: Rig | None = None,
    ) -> None:
        self.header = header
        self.rig = rig
        self._of_updates = of == "updates"
        self.preset = preset = fitted(preset, header)
        # Values get channels of their own: leave room for them.
        most = max(1, preset.voices.most - len(preset.values.which))
        self.voices: tuple[Voice, ...] = group(header.layers, most, patterns or header.voices)
        if self._of_updates and references is None:
            # A voice of several layers is the root of the sum of their squares.
            references = [USUAL_UPDATE * math.sqrt(len(each.layers)) for each in self.voices]
        self.composer = Composer(
            preset,
            header.layers,
            self.voices,
            frames_per_slot=per_slot,
            references=references,
            legend=legend,
            values=list(dict.fromkeys([*named(preset), *values])),
            rig=rig,
        )
        self._closed = False
        self._watch = BlockWatch(header.layers, preset.faults, preset.values.which)
        self._history: FaultLog | None = None
        self.slot_seconds = self.composer.slot_ticks * preset.time.tick_seconds
        self.per_slot = per_slot
        seconds = self.slot_seconds * per_slot
        self.wall = (
            WallSlots(seconds, math.ceil(1.0 / (preset.time.rate * seconds) - 1e-9))
            if time == "wall"
            else None
        )
        self._slots: Slots = slots or self.wall or StepSlots(per_slot)

    @property
    def all_voices(self) -> tuple[Voice, ...]:
        """The voices of layers, then those of logged values so far."""
        return (*self.voices, *self.composer.values.voices)

    @property
    def bar_slots(self) -> int:
        """The smallest even number of slots that fills whole bars."""
        slot = self.composer.slot_ticks
        return math.lcm(2, math.lcm(slot, self.preset.time.bar_ticks) // slot)

    @property
    def value_seats(self) -> int:
        """How many voices of logged values there may be in all."""
        return MOST_VALUES if self.composer.values.grows else 0

    def fault_log(self) -> FaultLog | None:
        """Return the faults of the items to come as whole faults, found by the same detection.

        None for ``time="wall"``, where the grid decides when a stalled run is found.
        """
        if self._history is None and self.wall is None:
            preset = self.preset
            self._history = FaultLog(
                self.header.layers, preset.faults, preset.values.which, self._watch
            )
        return self._history

    def feed(self, item: Item) -> list[Event]:
        """Process the log's next item; return the events that are due."""
        # The slot that an item completes is composed before the item's norms can become
        # references: a slot sounds the same whether the clock or an item closes it.
        events: list[Event] = []
        if self.wall is not None and not isinstance(item, Header):
            events = self.advance(self.wall.index_of(item.t))
        findings = (self._history or self._watch).add(item)
        if isinstance(item, Frame):
            return events + self._judged(item, findings)
        if isinstance(item, Mark):
            self._slots.mark(item.text)
        self._closed = isinstance(item, End)
        return events + self.composer.alarm(findings)

    def _judged(self, frame: Frame, findings: Sequence[Finding]) -> list[Event]:
        heard = self._heard(frame)
        if heard is None:
            return self.composer.alarm(findings)
        self.composer.observe(heard.norms, heard.extra)
        return self._composed(self._slots.add(heard, findings))

    def feed_block(self, block: Block) -> Iterator[list[Event]]:
        """Process many frames, as `feed` does with each; yield the events that are due."""
        for begin, end, calm in (self._history or self._watch).spans(block):
            span = block.part(begin, end)
            if not calm:
                yield from map(self.feed, span.frames())
                continue
            for part in self._slots.parts(span):
                if self.wall is not None:
                    yield self.advance(self.wall.index_of(float(part.t[0])))
                if self.composer.is_settled and not self._of_updates:
                    yield from map(self._composed, self._slots.add_block(part))
                else:
                    for frame in part.frames():
                        yield self._judged(frame, ())

    def recall(self, item: Item) -> None:
        """Process an item from before playing started: it sets references but makes no events."""
        self._watch.add(item)
        if isinstance(item, Frame):
            self.learn(item)

    def learn(self, frame: Frame) -> None:
        """Find references in a frame that another score has played."""
        if (heard := self._heard(frame)) is not None:
            self.composer.observe(heard.norms, heard.extra)

    def take_over(self, other: "Score") -> None:
        """Go on with the detection of faults of another score of the same run."""
        self._watch = other._watch

    def _heard(self, frame: Frame) -> Frame | None:
        """Return a frame whose norms are what the voices play; None if it has none of that."""
        if not self._of_updates:
            return frame
        return None if frame.updates is None else replace(frame, norms=frame.updates)

    def advance(self, index: int) -> list[Event]:
        """Close the slots before slot `index`, for ``time="wall"``; return the events that are due.

        Live, the clock closes a slot; in a file, the next item does. Both give the same events.
        A stalled run sounds in the slot after the one in which it is found.
        """
        if self.wall is None:
            return []
        events: list[Event] = []
        while (due := self._watch.due) < self.wall.start_of(index):
            events += self._close(min(self.wall.index_of(due) + 1, index))
            events += self.composer.alarm(self._watch.overdue(due))
        return events + self._close(index)

    def _close(self, index: int) -> list[Event]:
        assert self.wall is not None
        events = self._composed(self.wall.until(index))
        return events + self.composer.rest(self.composer.start_of(index))

    def going_on(self) -> tuple[Finding, ...]:
        """Return what is wrong as of the last item, gravest first, with the step it began at."""
        return self._watch.going_on()

    def catch_up(self, index: int) -> list[Event]:
        """Report at slot `index` what went wrong before it and goes on; see `recall`."""
        return self.advance(index) + self.composer.alarm(self.going_on())

    def finish(self, *, running: bool = False) -> list[Event]:
        """Return the remaining events and the end. `running`: the run is still being written."""
        events = self._composed(self._slots.finish())
        if not running:
            findings = self._watch.finish() if self._history is None else self._history.end()
            events += self.composer.alarm(findings)
        return [*events, *self.composer.finish(closed=self._closed)]

    def _composed(self, slot: Slot | None) -> list[Event]:
        return [] if slot is None else self.composer.slot(slot, self._wrong(slot))

    def _wrong(self, slot: Slot) -> list[int]:
        """Return the voices of which a layer is at fault in a slot."""
        if not self._watch.has_lasting and not slot.findings:
            return []
        layers = {layer for finding in slot.findings for layer in finding.layers}
        layers.update(np.flatnonzero(self._watch.at_fault).tolist())
        return [voice.index for voice in self.voices if layers.intersection(voice.layers)]


def fit(steps: int, slot_seconds: float, length: float | str | None) -> int:
    """Return how many steps share a slot so that the piece is no longer than `length` seconds.

    `length` None is `LONGEST_SECONDS`; "full" gives each step its own slot.

    Examples
    --------
    >>> fit(200, 0.125, None), fit(2400, 0.125, 30.0), fit(10_000, 0.125, "full")
    (1, 10, 1)
    """
    if length == "full":
        return 1
    seconds = LONGEST_SECONDS if length is None else float(length)
    if math.isinf(seconds):
        return 1
    room = max(1, math.floor(seconds / slot_seconds + 1e-9))
    return max(1, math.ceil(steps / room))


def score_of(
    log: RunLog,
    preset: Preset,
    *,
    time: str = "step",
    length: float | str | None = None,
    patterns: Mapping[str, str] | None = None,
    legend: bool = False,
    of: str = "gradients",
    rig: Rig | None = None,
) -> Score:
    """Make the score of a run on disk, fitted to `length` seconds; raise if it has no steps."""
    if not log.steps:
        raise RunLogError(f"{log.path} holds no steps yet: there is nothing to play")
    steps = log.steps
    if of == "updates":
        steps = count_updates(log)
    values = value_names(log, preset)
    make = partial(
        Score,
        log.header,
        preset,
        time=time,
        patterns=patterns,
        legend=legend,
        values=values,
        of=of,
        rig=rig,
    )
    score = make()
    if not score.all_voices:
        raise RunLogError(
            f"{log.path} has no layers, and no logged value is a number: there is nothing to play"
        )
    slots = steps if time == "step" else math.ceil(log.seconds / score.slot_seconds)
    if length != "full":
        # The piece includes the sound of the run's end.
        tail = seconds_of(END) if preset.faults.sound else 0.0
        length = (LONGEST_SECONDS if length is None else float(length)) - tail
    per_slot = fit(slots, score.slot_seconds, length)
    return score if per_slot == 1 else make(per_slot=per_slot)


def voices_of(log: RunLog, preset: Preset) -> tuple[Voice, ...]:
    """Return the voices of a run on disk: of layers, then of logged values."""
    return Score(log.header, preset, values=value_names(log, preset)).all_voices


def compose(
    run: "RunLog | str",
    preset: "str | Preset" = "pentatonic",
    *,
    time: str = "step",
    length: float | str | None = None,
) -> Iterator[Event]:
    """Turn a run into events.

    Parameters
    ----------
    run : RunLog or str
        A run, or the path of its folder or its ``run.jsonl``.
    preset : str or Preset, default "pentatonic"
        How norms become music: a preset, the name of a shipped one, or the path of a TOML file.
    time : {"step", "wall"}, default "step"
        ``"step"``: each step, or every n steps, has a slot. ``"wall"``: the run's own timing.
    length : float or "full", optional
        The longest the piece may be, in seconds; several steps share a slot if it would be longer.
        Default 180; ``"full"`` sets no limit.

    Yields
    ------
    Event
        `On`, `Off`, `Control`, `Bend`, `Mark`, `Step`, `Alarm` and finally `End`, in order of
        ticks; one tick lasts ``preset.time.tick_seconds``.

    Raises
    ------
    RunLogError
        If the run cannot be read or holds no steps.
    PresetError
        If the preset cannot be read.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp() + "/a"
    >>> with gradmidi.record(folder, layers=["fc1"], files=()) as listener:
    ...     listener.frame({"fc1": 0.45})
    >>> [(e.tick, e.note) for e in gradmidi.compose(folder) if type(e).__name__ == "On"][0]
    (0, 57)
    """
    log = run if isinstance(run, RunLog) else RunLog(run)
    score = score_of(log, load(preset), time=time, length=length)
    running = log.running
    for item in log.blocks():
        if isinstance(item, Block):
            for events in score.feed_block(item):
                yield from events
        else:
            yield from score.feed(item)
    yield from score.finish(running=running)
