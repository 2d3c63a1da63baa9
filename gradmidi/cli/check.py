"""List voices and controls for setting up a studio, and play cues with their texts in real time."""

import time
from collections.abc import Callable, Iterator, Sequence

from gradmidi.base.messages import printable
from gradmidi.midi.controls import control_of
from gradmidi.midi.ports import Input
from gradmidi.midi.rig import LEVEL, Rig
from gradmidi.music.events import PPQ, Number
from gradmidi.music.lesson import Cue
from gradmidi.music.voices import Voice
from gradmidi.sinks.sink import Sink
from gradmidi.text.words import timeline

__all__ = ["layout", "learn", "perform", "sweeps"]

POLL_SECONDS = 0.01
"""How often an input is read."""

SWEEP = 16
"""Values of a controller on its way up in a sweep."""

APART = 30
"""Ticks between two of them."""


def layout(rig: Rig, names: Sequence[str]) -> Iterator[str]:
    """List the voices for setting up a DAW: number, port, channel and name.

    Parameters
    ----------
    rig : Rig
        Ports and channels of the voices.
    names : sequence of str
        Names of the voices, first to last.

    Yields
    ------
    str
        A line that makes sense on its own; then one for each controller of the rig.

    Examples
    --------
    >>> for line in layout(Rig(cc={"level": 20, "loss": 21}), ["conv1", "fc1"]):
    ...     print(line)
    voice 1: channel 1, conv1
    voice 2: channel 2, fc1
    faults: channel 10
    level of each voice: controller 20 on its channel
    loss: channel 16, controller 21
    """
    for index, name in enumerate(names):
        yield f"voice {index + 1}: {_where(rig, rig.place(index))}, {printable(name)}"
    place = rig.fault_place
    yield "faults: off" if place is None else f"faults: {_where(rig, place)}"
    for name, number in rig.cc.items():
        pair = f"controllers {number} and {number + 32}"
        which = pair if name in rig.cc_fine else f"controller {number}"
        if name == LEVEL or rig.value_place is None:
            yield f"level of each voice: {which} on its channel"
        else:
            yield f"{printable(name)}: {_where(rig, rig.value_place)}, {which}"


def sweeps(rig: Rig, voices: Sequence[Voice], last: Cue) -> Iterator[Cue]:
    """Move each controller of the rig from 0 to its top and back, one after another.

    Programs that assign a controller by moving it (MIDI learn) need one that moves alone.

    Parameters
    ----------
    rig : Rig
        The controllers.
    voices : sequence of Voice
        The voices, each of which has a controller of its level.
    last : Cue
        What is played before.
    """
    tick = max(last.tick, *(event.tick for event in last.events)) + PPQ
    knobs: list[tuple[str, int | None, str]] = []
    for name in rig.cc:
        if name == LEVEL:
            knobs += [(name, v.index, f"{v.name}: level") for v in voices if v.layers]
        else:
            knobs.append((name, None, name))
    for name, voice, text in knobs:
        fine = name in rig.cc_fine
        values = [(16383 if fine else 127) * step // SWEEP for step in range(SWEEP + 1)]
        events = [
            Number(tick + place * APART, voice, rig.cc[name], value, fine)
            for place, value in enumerate([*values, *values[-2::-1]])
        ]
        yield Cue(f"controller {rig.cc[name]}, {text}", tuple(events), last.seconds, tick)
        tick = events[-1].tick + PPQ


def perform(
    sounds: Iterator[Cue],
    sink: Sink,
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Play cues in real time, and print the text of each with its time.

    Parameters
    ----------
    sounds : iterator of Cue
        The sounds to play.
    sink : Sink
        The output, which is not closed.
    tell : callable
        Called with a line for each cue.
    clock, sleep : callable
        Return monotonic seconds, and wait for a number of seconds.
    """
    start = clock()
    for cue in sounds:
        sleep(max(0.0, start + cue.tick * cue.seconds - clock()))
        tell(printable(timeline(cue.tick * cue.seconds, cue.text)))
        for event in cue.events:
            sleep(max(0.0, start + event.tick * cue.seconds - clock()))
            sink.send((event,))


def learn(
    source: Input,
    tell: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print each control that is moved as a line of the rig's ``midi_in``, until interrupted.

    Controllers get the levels of the voices in turn, and notes their mutes.

    Parameters
    ----------
    source : Input
        The MIDI input.
    tell : callable
        Called with each line.
    sleep : callable
        Waits for a number of seconds.
    """
    seen: dict[str, str] = {}
    while True:
        message = source.read()
        if message is None:
            sleep(POLL_SECONDS)
            continue
        control = control_of(message)
        if control is not None and control not in seen:
            word = "level" if control.startswith("cc") else "mute"
            seen[control] = f"{word} {sum(text.startswith(word) for text in seen.values())}"
            tell(f'"{control}" = "{seen[control]}"')


def _where(rig: Rig, place: tuple[int, int]) -> str:
    port, channel = place
    return f"port {rig.ports[port]!r}, channel {channel}" if port else f"channel {channel}"
