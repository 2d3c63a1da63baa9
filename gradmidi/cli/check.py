"""Check MIDI connections: play each voice at home and one doubling up, then each fault sound.

`layout` lists the voices for setting up a DAW; `cues` composes the sounds.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradmidi.detection.kinds import KINDS, RUN, Finding
from gradmidi.log import ABSENT, Layer
from gradmidi.midi.rig import Rig
from gradmidi.music.alarms import END, Alarms
from gradmidi.music.composer import Composer
from gradmidi.music.events import FAULT_VOICE, PPQ, Event, Off, On
from gradmidi.music.pitch import note_name
from gradmidi.music.preset import Preset
from gradmidi.music.slots import Slot
from gradmidi.music.voices import Voice
from gradmidi.sinks.sink import Sink

__all__ = ["Cue", "cues", "layout", "perform"]

HOME = 1.0
"""The norm at which every voice is at home in a check."""

PAUSE_TICKS = PPQ
"""Time between two fault sounds, in the ticks of a check at 120 quarter notes per minute."""

NOTES = (("home", HOME), ("one doubling up", 2.0 * HOME))
"""The notes of each voice, with their norms."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A sound and its description.

    Parameters
    ----------
    text : str
        One line for the user, printed when the sound starts.
    events : tuple of Event
        In order of ticks.
    seconds : float
        Seconds in one tick.
    """

    text: str
    events: tuple[Event, ...]
    seconds: float


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
        A line that makes sense on its own.

    Examples
    --------
    >>> for line in layout(Rig(), ["conv1", "fc1"]):
    ...     print(line)
    voice 1: channel 1, conv1
    voice 2: channel 2, fc1
    faults: channel 10
    """
    for index, name in enumerate(names):
        yield f"voice {index + 1}: {_where(rig, rig.place(index))}, {name}"
    place = rig.fault_place
    yield "faults: off" if place is None else f"faults: {_where(rig, place)}"


def cues(preset: Preset, voices: Sequence[Voice]) -> Iterator[Cue]:
    """Compose the sounds of a check: each voice at home, then one doubling up, half a second each.

    The fault sounds follow, if the preset has them. With a preset of drums, each voice plays whole
    bars on its own key.

    Parameters
    ----------
    preset : Preset
        How norms become music.
    voices : sequence of Voice
        The voices to check.

    Yields
    ------
    Cue
    """
    steady = preset
    if not preset.style.strokes_at_home:
        pace = replace(preset.time, style="chord", slot="1/4", tempo=120.0, gate=0.9, stagger=0.0)
        steady = replace(preset, time=pace)
    layers = [Layer(voice.name, 1) for voice in voices]
    alone = [Voice(voice.index, voice.name, (voice.index,)) for voice in voices]
    composer = Composer(steady, layers, alone, references=[HOME] * len(alone))
    for index, (voice, (what, norm)) in enumerate(itertools.product(alone, NOTES)):
        norms = np.full(len(alone), ABSENT)
        norms[voice.index] = norm
        events = composer.slot(Slot(index, index + 1, 0.0, norms))
        keys = [event.note for event in events if isinstance(event, On)]
        sound = note_name(keys[0]) if keys else "no note"
        text = f"voice {voice.index + 1}, {voice.name}: {what}, {sound}"
        yield Cue(text, tuple(events), steady.time.tick_seconds)
    yield from _fault_cues(steady, layers, alone, composer.slot_ticks * 2 * len(alone))


def _fault_cues(
    preset: Preset, layers: Sequence[Layer], voices: Sequence[Voice], tick: int
) -> Iterator[Cue]:
    """Compose every fault sound, and the sound of a run's end, from `tick` on."""
    homes = [0] * len(voices)
    for kind in (*KINDS, END):
        alarms = Alarms(preset, layers, voices, homes)
        found = [Finding(kind, RUN, 0, 0.0)] if kind != END else []
        events = alarms.add(tick, found) if found else alarms.end(tick)
        pulses = [e for e in events if isinstance(e, (On, Off)) and e.voice == FAULT_VOICE]
        if pulses:
            what = "the end of a run" if kind == END else kind
            yield Cue(f"fault sound: {what}", tuple(pulses), preset.time.tick_seconds)
            tick = pulses[-1].tick + PAUSE_TICKS


def perform(
    sounds: Iterator[Cue],
    sink: Sink,
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Play cues in real time, and print each when it starts.

    Parameters
    ----------
    sounds : iterator of Cue
        The sounds to play.
    sink : Sink
        The output, which is not closed.
    tell : callable
        Called with each cue's text.
    clock, sleep : callable
        Return monotonic seconds, and wait for a number of seconds.
    """
    start = clock()
    for cue in sounds:
        for index, event in enumerate(cue.events):
            sleep(max(0.0, start + event.tick * cue.seconds - clock()))
            if not index:
                tell(cue.text)
            sink.send((event,))


def _where(rig: Rig, place: tuple[int, int]) -> str:
    port, channel = place
    return f"port {rig.ports[port]!r}, channel {channel}" if port else f"channel {channel}"
